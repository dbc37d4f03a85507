// The block of docs/observability.md works with the names that our messages have. OpenTelemetry itself is no dependency: a stand-in writes down what it is told.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { run } from '../e2e/helpers/cli.ts'
import { allBlocks } from './helpers/blocks.ts'
import { scriptFolder } from './helpers/folder.ts'

/** What the block uses of @opentelemetry/api 1.9; everything else is not there, and throws. */
const STAND_IN = `
export const told = { spans: [], counters: {} }
export const SpanStatusCode = { ERROR: 2 }
export const trace = {
  getTracer: () => ({
    startSpan(name, { attributes }) {
      const span = { name, attributes, events: [], ended: false }
      told.spans.push(span)
      return {
        addEvent: (event) => void span.events.push(event),
        recordException: (error) => void (span.exception = error.code),
        setStatus: ({ code }) => void (span.status = code),
        setAttributes: (more) => void Object.assign(span.attributes, more),
        end: () => void (span.ended = true),
      }
    },
  }),
}
export const metrics = {
  getMeter: () => ({
    createObservableCounter: (name) => name,
    addBatchObservableCallback(callback) {
      told.collect = () => callback({ observe: (name, value) => void (told.counters[name] = value) })
    },
  }),
}
`

const USE = `
import { told } from '@opentelemetry/api'
import { Endpoint, generateSecret } from 'paceline'

const secret = generateSecret()
const receiver = await Endpoint.listen({ host: '127.0.0.1', port: 0, secret })
const sender = await Endpoint.bind({ host: '127.0.0.1' })
observe(sender)
const serving = (async () => {
  for await (const stream of receiver) {
    stream.on('error', () => {}).resume() // it may be the broken one
    stream.end()
  }
})()
const peer = await sender.connect('127.0.0.1', receiver.address.port, { secret })
const stream = peer.openStream()
await stream.writer.write(Buffer.alloc(8_000_000))
await stream.close()
const broken = peer.openStream()
broken.on('error', () => {})
broken.destroy(new Error('enough'))
await Promise.all([sender.close(), receiver.close()])
await serving
told.collect()
console.log(JSON.stringify(told))
`

interface Span {
  readonly name: string
  readonly attributes: Readonly<Record<string, number>>
  readonly events: readonly string[]
  readonly status?: number
  readonly ended: boolean
}

const folder = scriptFolder()

test('the block for OpenTelemetry makes spans and counters', async (t) => {
  const block = allBlocks().find(({ id }) => id === 'opentelemetry')
  const api = join(folder, 'node_modules', '@opentelemetry', 'api')
  mkdirSync(api, { recursive: true })
  writeFileSync(join(api, 'package.json'), '{ "type": "module", "exports": "./index.js" }')
  writeFileSync(join(api, 'index.js'), STAND_IN)
  writeFileSync(join(folder, 'use.mjs'), `${block?.text}${USE}`)
  const ended = await run(t, process.execPath, [join(folder, 'use.mjs')]).ended
  t.is(ended.code, 0, ended.stderr)
  const { spans, counters } = JSON.parse(ended.stdout) as { spans: Span[]; counters: Record<string, number> }
  const [whole, ...others] = spans.filter(({ name }) => name === 'paceline stream')
  t.like(whole, { ended: true, status: undefined, attributes: { 'paceline.acknowledged': 8_000_000, 'paceline.undelivered': 0 } })
  t.true(whole?.events.includes('blocked'))
  t.like(others, [{ ended: true, status: 2 }])
  t.true(spans.some(({ name, ended }) => name === 'paceline accepted stream' && ended))
  t.true((counters['paceline.sent'] ?? 0) > 8_000_000)
  t.true((counters['paceline.retransmitted'] ?? -1) >= 0)
})

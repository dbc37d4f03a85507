import { spawnSync } from 'node:child_process'
import { channel, subscribe, unsubscribe } from 'node:diagnostics_channel'
import { PerformanceObserver, performance, type PerformanceEntry } from 'node:perf_hooks'
import test, { type ExecutionContext } from 'ava'
import { Event, FailureNumber } from '../../packages/paceline/src/driver.js'
import { channels } from '../../packages/paceline/src/diagnostics.js'
import { EndpointError, generateSecret, measurePerformance, type DiagnosticMessages } from '../../packages/paceline/src/index.js'
import { join, joinStreams, turns, until } from '../support/endpoints.js'

type Name = keyof DiagnosticMessages
type Heard = { [N in Name]: [name: N, message: DiagnosticMessages[N]] }[Name]

/** What is published on these channels from now on to the end of the test. */
function listen(t: ExecutionContext, ...names: Name[]): Heard[] {
  const heard: Heard[] = []
  for (const name of names) {
    const listener = (message: unknown): void => {
      heard.push([name, message] as Heard)
    }
    subscribe(name, listener)
    t.teardown(() => {
      unsubscribe(name, listener)
    })
  }
  return heard
}

const ALL = [
  'paceline:endpoint.open', 'paceline:endpoint.error', 'paceline:endpoint.closed', 'paceline:peer.connecting', 'paceline:peer.open',
  'paceline:peer.error', 'paceline:peer.closed', 'paceline:stream.created', 'paceline:stream.opened', 'paceline:stream.reset', 'paceline:stream.error',
  'paceline:stream.closed', 'paceline:stream.blocked', 'paceline:stream.unblocked', 'paceline:offload.fallback',
] as const satisfies readonly Name[]

test.serial('the documented channels are those there are', (t) => {
  t.deepEqual(Object.values(channels).map((each) => (each as unknown as { name: string }).name), [...ALL])
})

test.serial('a life without trouble, in order', async (t) => {
  const heard = listen(t, ...ALL)
  const { sender, receiver, peer, local, remote } = await joinStreams(t)
  remote.resume()
  remote.end()
  local.resume()
  await local.close()
  await peer.close()
  await sender.close()
  const names = heard.map(([name]) => name)
  t.deepEqual(names.filter((name) => name.startsWith('paceline:endpoint')), ['paceline:endpoint.open', 'paceline:endpoint.open', 'paceline:endpoint.closed'])
  t.deepEqual(names.filter((name) => name.startsWith('paceline:peer')), ['paceline:peer.connecting', 'paceline:peer.open', 'paceline:peer.open', 'paceline:peer.closed'])
  t.deepEqual(names.filter((name) => name.startsWith('paceline:stream')), ['paceline:stream.created', 'paceline:stream.opened', 'paceline:stream.closed', 'paceline:stream.closed'])
  const of = <N extends Name>(wanted: N): DiagnosticMessages[N][] => heard.filter(([name]) => name === wanted).map(([, message]) => message as DiagnosticMessages[N])
  t.deepEqual(of('paceline:endpoint.open').map(({ endpoint, address }) => [endpoint, address]), [[receiver, receiver.address], [sender, sender.address]])
  t.deepEqual(of('paceline:endpoint.closed'), [{ endpoint: sender, address: sender.address }])
  t.deepEqual(of('paceline:peer.connecting'), [{ endpoint: sender, address: '127.0.0.1', port: 4433 }])
  t.deepEqual(of('paceline:peer.open').map(({ accepted }) => accepted).sort(), [false, true])
  t.deepEqual(of('paceline:peer.closed'), [{ peer, error: undefined }])
  t.is(of('paceline:stream.created')[0]?.stream, local)
  t.is(of('paceline:stream.opened')[0]?.stream, remote)
  t.deepEqual(of('paceline:stream.closed').find(({ stream }) => stream === local), { stream: local, acknowledged: 1, undelivered: 0 })
})

test.serial('a reset is told on both sides, and the error where it is one', async (t) => {
  const heard = listen(t, 'paceline:stream.reset', 'paceline:stream.error')
  const { local, remote } = await joinStreams(t)
  local.reset(300)
  await until(t, () => heard.some(([name]) => name === 'paceline:stream.error'), 'the other side has an error')
  t.deepEqual(heard.filter(([name]) => name === 'paceline:stream.reset').map(([, message]) => message), [
    { stream: local, code: 300, remote: false },
    { stream: remote, code: 300, remote: true },
  ])
  const [, message] = heard.find(([name]) => name === 'paceline:stream.error') as ['paceline:stream.error', DiagnosticMessages['paceline:stream.error']]
  t.is(message.stream, remote)
  t.like(message.error, { code: 'ERR_PACELINE_STREAM_RESET', errorCode: 300 })
})

test.serial('backpressure has a beginning and an end', async (t) => {
  const heard = listen(t, 'paceline:stream.blocked', 'paceline:stream.unblocked')
  const { local, remote } = await joinStreams(t, { window: 64 * 1024 }, { sendBufferBytes: 64 * 1024 })
  await local.writer.write(Buffer.alloc(1_000))
  t.deepEqual(heard, [], 'nothing waits')
  const writing = local.writer.write(Buffer.alloc(1 << 20))
  await turns(5)
  t.is(heard.length, 1)
  t.is(heard[0]?.[0], 'paceline:stream.blocked')
  const blocked = heard[0]?.[1] as DiagnosticMessages['paceline:stream.blocked']
  t.is(blocked.stream, local)
  t.true(blocked.waiting >= (1 << 20) - 128 * 1024 && blocked.waiting < 1 << 20)
  remote.resume()
  await writing
  t.is(heard.length, 2, 'once, however often it waited')
  const unblocked = heard[1]?.[1] as DiagnosticMessages['paceline:stream.unblocked']
  t.is(unblocked.stream, local)
  t.true(unblocked.blockedFor > 0 && unblocked.blockedFor < 60_000)
})

test.serial('handshakes that fail, peers that go, endpoints that break', async (t) => {
  const heard = listen(t, 'paceline:peer.error', 'paceline:peer.closed', 'paceline:endpoint.error', 'paceline:endpoint.closed')
  const { sender, peer, senderDriver } = await join(t)
  await t.throwsAsync(sender.connect('127.0.0.1', 9, { secret: generateSecret(), handshakeTimeout: 20 }))
  senderDriver.failPeer(peer.id, FailureNumber.PeerRestarted)
  await t.throwsAsync(peer.closed)
  const error = new EndpointError('ERR_PACELINE_INTERNAL', 'planted')
  sender.destroy(error)
  t.deepEqual(heard.map(([name]) => name), ['paceline:peer.error', 'paceline:peer.error', 'paceline:peer.closed', 'paceline:endpoint.error', 'paceline:endpoint.closed'])
  t.like(heard[0]?.[1], { peer: undefined, address: '127.0.0.1', port: 9, error: { code: 'ERR_PACELINE_HANDSHAKE_TIMEOUT' } })
  t.like(heard[1]?.[1], { peer, port: 4433, error: { code: 'ERR_PACELINE_PEER_RESTARTED' } })
  t.like(heard[2]?.[1], { peer, error: { code: 'ERR_PACELINE_PEER_RESTARTED' } })
  t.deepEqual(heard[3]?.[1], { endpoint: sender, address: sender.address, error })
})

test.serial('refused offload is told with how often it was since', async (t) => {
  const heard = listen(t, 'paceline:offload.fallback')
  const { sender, senderDriver } = await join(t)
  senderDriver.tell([Event.Offload, 3, 2])
  senderDriver.tell([Event.Offload, 3, 5])
  await turns(3)
  t.deepEqual(heard.map(([, message]) => message), [
    { endpoint: sender, count: 2, total: 2 },
    { endpoint: sender, count: 3, total: 5 },
  ])
})

test.serial('without a subscriber nothing is published', async (t) => {
  // A channel hands publish() to its prototype of one without subscribers: whoever called it would be seen here.
  let published = 0
  const prototype = Object.getPrototypeOf(channel('paceline:test')) as { publish(message: unknown): void }
  const { publish } = prototype
  prototype.publish = function (message) {
    published += 1
    publish.call(this, message)
  }
  t.teardown(() => {
    prototype.publish = publish
  })
  const { local, remote, sender } = await joinStreams(t)
  remote.resume()
  remote.end()
  await local.writer.write(Buffer.alloc(1 << 20))
  local.reset(300)
  await turns(3)
  sender.destroy(new EndpointError('ERR_PACELINE_INTERNAL'))
  t.is(published, 0)
  channel('paceline:test').publish({})
  t.is(published, 1, 'it would have been seen')
})

const PROGRAM = `
import { Endpoint } from './packages/paceline/src/index.ts'
import { MemoryNetwork } from './__test__/support/memory-driver.ts'
const network = new MemoryNetwork()
const secret = new Uint8Array(32).fill(7).map((byte, at) => byte + at * 5)
const receiver = await Endpoint.create(network.factory, { port: 4433, secret }, true)
const sender = await Endpoint.create(network.factory, {}, false)
void (async () => { for await (const stream of receiver) stream.resume().end() })()
const peer = await sender.connect('127.0.0.1', 4433, { secret })
const stream = peer.openStream()
await stream.writer.write('x')
stream.reset(300)
await sender.close()
receiver.destroy()
`

function run(debugging: string) {
  return spawnSync(process.execPath, ['--import', '@oxc-node/core/register', '--input-type=module', '--eval', PROGRAM], {
    encoding: 'utf8',
    env: { ...process.env, NODE_DEBUG: debugging },
  })
}

test.serial('NODE_DEBUG=paceline tells the same story on stderr', (t) => {
  const { stderr, status } = run('paceline')
  t.is(status, 0, stderr)
  const lines = stderr.split('\n').filter((line) => line.startsWith('PACELINE ')).map((line) => line.replace(/^PACELINE \d+: /, ''))
  const story = [
    /^endpoint 0\.0\.0\.0:4433 open$/, /^endpoint 0\.0\.0\.0:\d+ open$/, /^peer 1: connecting to 127\.0\.0\.1:4433$/, /^peer 1 open \(connected\)$/,
    /^stream \d+ created$/, /^stream \d+ reset with code 300$/, /^stream \d+ closed$/, /^endpoint 0\.0\.0\.0:\d+ closed$/,
  ]
  let at = 0
  for (const line of lines) if (story[at]?.test(line) === true) at += 1
  t.is(at, story.length, `in this order, as far as ${story[at]?.source}: ${lines.join(' | ')}`)
  t.false(run('http').stderr.includes('PACELINE'))
})

type Measured = PerformanceEntry & { detail: unknown }

test.serial('handshakes and streams are measured while somebody asked for it, and the timeline keeps nothing', async (t) => {
  const entries: Measured[] = []
  const observer = new PerformanceObserver((list) => entries.push(...(list.getEntries() as Measured[])))
  observer.observe({ type: 'measure' })
  t.teardown(() => {
    observer.disconnect()
    measurePerformance(false)
  })
  const life = async () => {
    const { local, remote, network, receiver } = await joinStreams(t)
    remote.resume()
    remote.end()
    local.resume()
    await local.close()
    // The other side is over a little later.
    await until(t, () => receiver.peers.every(({ streams }) => streams.length === 0), 'both sides are over')
    network.drivers.clear()
    return local
  }
  await life()
  // What was measured is told a turn later.
  await turns(50)
  t.deepEqual(entries, [])
  measurePerformance(true)
  const local = await life()
  await until(t, () => entries.length >= 3, 'it was measured')
  await turns(50)
  const of = (name: string) => entries.filter((entry) => entry.name === name)
  t.deepEqual(of('paceline:connect').map(({ detail }) => detail), [{ address: '127.0.0.1', port: 4433 }])
  const streams = of('paceline:stream')
  t.is(streams.length, 2)
  t.true(streams.some(({ detail }) => (detail as { id: number }).id === local.id))
  for (const { duration, startTime } of entries) t.true(duration > 0 && duration < 60_000 && startTime <= performance.now())
  t.deepEqual(performance.getEntriesByType('measure'), [])
})


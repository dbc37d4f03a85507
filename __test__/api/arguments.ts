// Every public method looks at its arguments, and says what is wrong in one form: `name: expected …, got …`.
import type { Writable } from 'node:stream'
import test from 'ava'
import { Endpoint, formatSecret, generateSecret, measurePerformance, OptionError, parseSecret, type Peer, type Stream } from '../../packages/paceline/src/index.js'
import { join } from '../support/endpoints.js'
import { MemoryNetwork } from '../support/memory-driver.js'

interface Objects {
  sender: Endpoint
  receiver: Endpoint
  peer: Peer
  stream: Stream
}

/** As JavaScript would call it, whatever the types say. */
type Call = (objects: Record<keyof Objects, Record<string, (...args: unknown[]) => unknown>>) => unknown

const network = new MemoryNetwork()
const create = Endpoint.create as (...args: unknown[]) => unknown
const secret = generateSecret()
const AN_OBJECT = 'expected an object, got'
const A_SIGNAL = 'options.signal: expected an AbortSignal, got'
const A_DEADLINE = 'options.deadline: expected a number of at least 0 ms, got'
const MAX = Number.MAX_SAFE_INTEGER
const BITRATE = `expected a number from 8000 to ${MAX} bits per second, or 0 for no cap, got`

const table: [string, Call, string][] = [
  // Endpoint
  ['Endpoint.create(1)', () => create(1, {}, false), 'factory: expected a function that makes a driver, got 1'],
  ['Endpoint.create(f, "x")', () => create(network.factory, 'x', false), `options: ${AN_OBJECT} "x"`],
  ['Endpoint.create(f, null)', () => create(network.factory, null, false), `options: ${AN_OBJECT} null`],
  ['Endpoint.create(f, { pathSecret })', () => create(network.factory, { pathSecret: {} }, false), 'options.pathSecret: expected nothing here but in connect() or listen(), got an object'],
  ['connect()', ({ sender }) => sender.connect?.(), 'host: expected a host name or IP address, got undefined'],
  ['connect(7)', ({ sender }) => sender.connect?.(7, 1), 'host: expected a host name or IP address, got 7'],
  ['connect(h)', ({ sender }) => sender.connect?.('127.0.0.1'), 'port: expected an integer from 1 to 65535, got undefined'],
  ['connect(h, "1")', ({ sender }) => sender.connect?.('127.0.0.1', '1'), 'port: expected an integer from 1 to 65535, got "1"'],
  ['connect(h, p, 1)', ({ sender }) => sender.connect?.('127.0.0.1', 1, 1), `options: ${AN_OBJECT} 1`],
  ['connect handshakeTimeout', ({ sender }) => sender.connect?.('127.0.0.1', 1, { secret, handshakeTimeout: 1 }), 'options.handshakeTimeout: expected a number from 10 to 600000 ms, got 1'],
  ['connect maxBitrate', ({ sender }) => sender.connect?.('127.0.0.1', 1, { secret, maxBitrate: 10 }), `options.maxBitrate: ${BITRATE} 10`],
  ['connect signal', ({ sender }) => sender.connect?.('127.0.0.1', 1, { secret, signal: {} }), `${A_SIGNAL} an object`],
  ['connect signal that is none', ({ sender }) => sender.connect?.('127.0.0.1', 1, { secret, signal: { aborted: false } }), `${A_SIGNAL} an object`],
  ['connect both secrets', ({ sender }) => sender.connect?.('127.0.0.1', 1, { secret, pathSecret: {} }), 'options.pathSecret: expected nothing beside options.secret, got an object'],
  ['streams(1)', ({ receiver }) => receiver.streams?.(1), `options: ${AN_OBJECT} 1`],
  ['streams({ signal })', ({ receiver }) => receiver.streams?.({ signal: 'x' }), `${A_SIGNAL} "x"`],
  ['endpoint.close(5000)', ({ sender }) => sender.close?.(5000), `options: ${AN_OBJECT} 5000`],
  ['endpoint.close({ deadline })', ({ sender }) => sender.close?.({ deadline: '1s' }), `${A_DEADLINE} "1s"`],
  ['endpoint.close({ signal })', ({ sender }) => sender.close?.({ signal: 1 }), `${A_SIGNAL} 1`],
  ['endpoint.destroy("x")', ({ sender }) => sender.destroy?.('x'), 'error: expected an Error, got "x"'],
  // Peer
  ['openStream(1)', ({ peer }) => peer.openStream?.(1), `options: ${AN_OBJECT} 1`],
  ['openStream priority', ({ peer }) => peer.openStream?.({ priority: '1' }), 'options.priority: expected an integer from 1 to 7, got "1"'],
  ['openStream signal', ({ peer }) => peer.openStream?.({ signal: null }), `${A_SIGNAL} null`],
  ['openStream high-water mark', ({ peer }) => peer.openStream?.({ readableHighWaterMark: -1 }), 'options.readableHighWaterMark: expected an integer from 0 to 1073741824 (bytes), got -1'],
  ['openStream allowHalfOpen', ({ peer }) => peer.openStream?.({ allowHalfOpen: 0 }), 'options.allowHalfOpen: expected true or false, got 0'],
  ['peer.close(1)', ({ peer }) => peer.close?.(1), `options: ${AN_OBJECT} 1`],
  ['peer.close({ deadline })', ({ peer }) => peer.close?.({ deadline: -1 }), `${A_DEADLINE} -1`],
  ['peer.maxBitrate', ({ peer }) => Reflect.set(peer, 'maxBitrate', 7_999), `maxBitrate: ${BITRATE} 7999`],
  ['peer.maxBitrate without', ({ peer }) => Reflect.set(peer, 'maxBitrate', undefined), 'maxBitrate: expected a number, got undefined'],
  // Stream
  ['stream.close("x")', ({ stream }) => stream.close?.('x'), `options: ${AN_OBJECT} "x"`],
  ['stream.close({ deadline })', ({ stream }) => stream.close?.({ deadline: NaN }), `${A_DEADLINE} NaN`],
  ['flush(1)', ({ stream }) => stream.flush?.(1), `options: ${AN_OBJECT} 1`],
  ['flush({ signal })', ({ stream }) => stream.flush?.({ signal: true }), `${A_SIGNAL} true`],
  ['completions(1)', ({ stream }) => stream.completions?.(1), `options: ${AN_OBJECT} 1`],
  ['completions({ signal })', ({ stream }) => stream.completions?.({ signal: 1 }), `${A_SIGNAL} 1`],
  ['endpoint.completions({ signal })', ({ sender }) => sender.completions?.({ signal: 'x' }), `${A_SIGNAL} "x"`],
  ['qlog(1)', ({ stream }) => stream.qlog?.(1), 'writable: expected a Writable of node:stream, got 1'],
  ['chunks(null)', ({ stream }) => stream.chunks?.(null), `options: ${AN_OBJECT} null`],
  ['chunks({ signal })', ({ stream }) => stream.chunks?.({ signal: 5n }), `${A_SIGNAL} 5n`],
  ['reset(1)', ({ stream }) => stream.reset?.(1), `code: expected an integer from 256 to ${MAX}, got 1`],
  ['reset("x")', ({ stream }) => stream.reset?.('x'), `code: expected an integer from 256 to ${MAX}, got "x"`],
  ['setPriority()', ({ stream }) => stream.setPriority?.(), 'priority: expected an integer from 1 to 7, got undefined'],
  ['setPriority(0)', ({ stream }) => stream.setPriority?.(0), 'priority: expected an integer from 1 to 7, got 0'],
  ['measurePerformance(1)', () => (measurePerformance as (value: unknown) => unknown)(1), 'enabled: expected true or false, got 1'],
  ['measurePerformance()', () => (measurePerformance as (value?: unknown) => unknown)(), 'enabled: expected true or false, got undefined'],
  // Secrets
  ['formatSecret("x")', () => (formatSecret as (value: unknown) => unknown)('x'), 'secret: expected a Uint8Array of 32 to 1024 random bytes, got a string (make one with generateSecret() or `openssl rand 32`; a password or another string is never a secret)'],
  ['parseSecret(1)', () => (parseSecret as (value: unknown) => unknown)(1), 'secret: expected paceline1: and base64url of 32 bytes, got number (make one with: npx paceline secret)'],
]

const writes: [string, (writer: Record<string, (...args: unknown[]) => unknown>) => unknown, string][] = [
  ['write()', (writer) => writer.write?.(), 'chunk: expected a Uint8Array or a string, got undefined'],
  ['write({})', (writer) => writer.write?.({}), 'chunk: expected a Uint8Array or a string, got an object'],
  ['write(x, "utf8")', (writer) => writer.write?.('x', 'utf8'), `options: ${AN_OBJECT} "utf8"`],
  ['write(x, { signal })', (writer) => writer.write?.('x', { signal: 1 }), `${A_SIGNAL} 1`],
  ['writev("x")', (writer) => writer.writev?.('x'), 'chunks: expected an iterable of Uint8Arrays or strings, got "x"'],
  ['writev(1)', (writer) => writer.writev?.(1), 'chunks: expected an iterable of Uint8Arrays or strings, got 1'],
  ['writev(bytes)', (writer) => writer.writev?.(Buffer.from('x')), 'chunks: expected an iterable of Uint8Arrays or strings, got an object'],
  ['writev([1])', (writer) => writer.writev?.([1]), 'chunks: expected Uint8Arrays or strings, got 1'],
  ['writev([x], 1)', (writer) => writer.writev?.(['x'], 1), `options: ${AN_OBJECT} 1`],
  ['end(1)', (writer) => writer.end?.(1), `options: ${AN_OBJECT} 1`],
  ['end({ signal })', (writer) => writer.end?.({ signal: 'x' }), `${A_SIGNAL} "x"`],
]

for (const [name, call, message] of [
  ...table,
  ...writes.map(([name, call, message]): [string, Call, string] => [`writer.${name}`, ({ stream }) => call(stream.writer as unknown as Parameters<typeof call>[0]), message]),
]) {
  test(`${name}: ${message.slice(0, 60)}`, async (t) => {
    const { sender, receiver, peer } = await join(t)
    const stream = peer.openStream()
    const objects: Objects = { sender, receiver, peer, stream }
    // A method that returns a promise rejects it; none does both.
    const error = await t.throwsAsync(async () => call(objects as unknown as Parameters<Call>[0]))
    t.true(error instanceof OptionError, String(error))
    t.is(error?.message, message)
    t.true(error instanceof OptionError && (error.code === 'ERR_PACELINE_OPTION' || error.code === 'ERR_PACELINE_SECRET'))
    // Nothing has happened to what it was called on.
    t.false(stream.destroyed)
    t.is(await Promise.race([sender.closed.then(() => 'closed'), Promise.resolve('open')]), 'open')
    t.is(stream.stats().bytesWritten, 0)
  })
}

test('what returns a promise never throws', async (t) => {
  const { sender, peer } = await join(t)
  const stream = peer.openStream()
  const wrong = 'x' as unknown as undefined
  for (const [name, call] of [
    ['connect', () => sender.connect(wrong as unknown as string, 1)],
    ['endpoint.close', () => sender.close(wrong)],
    ['peer.close', () => peer.close(wrong)],
    ['stream.close', () => stream.close(wrong)],
    ['flush', () => stream.flush(wrong)],
    ['write', () => stream.writer.write(7 as unknown as string)],
    ['writev', () => stream.writer.writev(wrong as unknown as string[])],
    ['end', () => stream.writer.end(wrong)],
    ['qlog', () => stream.qlog(wrong as unknown as Writable)],
  ] as const) {
    let promise: Promise<unknown> | undefined
    t.notThrows(() => {
      promise = call()
    }, name)
    await t.throwsAsync(async () => promise, { instanceOf: OptionError }, name)
  }
})

test('writev: what its iterable throws is a rejection, and nothing was written', async (t) => {
  const { peer } = await join(t)
  const stream = peer.openStream()
  const mine = new Error('mine')
  const chunks = (function* () {
    yield 'x'
    throw mine
  })()
  let promise: Promise<void> | undefined
  t.notThrows(() => {
    promise = stream.writer.writev(chunks)
  })
  await t.throwsAsync(async () => promise, { is: mine })
  t.is(stream.stats().bytesWritten, 0)
  t.false(stream.destroyed)
})

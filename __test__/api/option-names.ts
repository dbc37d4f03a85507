import { createWriteStream } from 'node:fs'
import { devNull } from 'node:os'
import { Duplex } from 'node:stream'
import test from 'ava'
import { Endpoint, generateSecret, OptionError } from '../../packages/paceline/src/index.js'
import { Network } from '../../packages/paceline/src/testing.js'
import { joinSockets } from '../support/endpoints.ts'

const secret = generateSecret()
const exportSecret = generateSecret()
/** As JavaScript may call it: options that the types would refuse. */
const untyped = (options: object): object => options

const ENDPOINT_NAMES = 'host, port, secret, resetKey, pathSecret, preset, maxInFlightTransmissions, congestionControl, cipher, application, idleTimeout, keepAlive, ' +
  'maxIncomingStreams, maxStreams, maxBitrate, poolBytes, sendBufferBytes, endpointSendBufferBytes, initialWindow, maxWindow, maxScheduleAhead, maxDatagramSize, ' +
  'disableGso, disableGro, highWaterMark, readableHighWaterMark, writableHighWaterMark, allowHalfOpen'

const refused = (message: string) => ({ instanceOf: OptionError, code: 'ERR_PACELINE_OPTION', message })
const near = (name: string, meant: string, of = 'options') => refused(`${of}.${name}: expected a known option, got ${name}; did you mean ${meant}?`)

test('names that no call knows are refused, with the one that was meant', async (t) => {
  const { sender, receiver, peer } = await joinSockets(t, () => undefined)
  await t.throwsAsync(Endpoint.bind(untyped({ hots: '127.0.0.1' })), near('hots', 'host'))
  await t.throwsAsync(Endpoint.listen({ port: 0, secret, ...untyped({ maxBitRate: 1e6 }) }), near('maxBitRate', 'maxBitrate'))
  await t.throwsAsync(Endpoint.bind(untyped({ timeout: 1_000 })), refused(`options.timeout: expected one of ${ENDPOINT_NAMES}, got timeout`))
  await t.throwsAsync(sender.connect('127.0.0.1', 1, { secret, ...untyped({ handshakeTimeOut: 10 }) }), near('handshakeTimeOut', 'handshakeTimeout'))
  await t.throwsAsync(
    sender.connect('127.0.0.1', 1, { pathSecret: { exportSecret, role: 'client', cipherSuite: 'aes-128-gcm', ...untyped({ firstKeyID: 7 }) } }),
    near('firstKeyID', 'firstKeyId', 'options.pathSecret'),
  )
  t.throws(() => peer.openStream(untyped({ prio: 1 })), near('prio', 'priority'))
  t.throws(() => peer.stats(untyped({ sinse: undefined })), near('sinse', 'since'))
  t.throws(() => sender.stats(untyped({ until: undefined })), refused('options.until: expected one of since, got until'))
  t.throws(() => receiver.completions(untyped({ sigal: undefined })), near('sigal', 'signal'))
  t.throws(() => receiver.streams(untyped({ signals: undefined })), near('signals', 'signal'))
  const stream = peer.openStream()
  t.throws(() => stream.stats(untyped({ snice: undefined })), near('snice', 'since'))
  t.throws(() => stream.completions(untyped({ signa: undefined })), near('signa', 'signal'))
  t.throws(() => stream.chunks(untyped({ sginal: undefined })), near('sginal', 'signal'))
  // The signal itself, instead of in an object.
  await t.throwsAsync(stream.flush(untyped(AbortSignal.timeout(1_000))), { instanceOf: OptionError, message: /^options\.\w+: expected one of signal, got \w+$/ })
  await t.throwsAsync(stream.writer.write('x', untyped({ singal: undefined })), near('singal', 'signal'))
  await t.throwsAsync(stream.close(untyped({ deadlien: 5 })), near('deadlien', 'deadline'))
  await t.throwsAsync(peer.close(untyped({ timeout: 5 })), refused('options.timeout: expected one of deadline, signal, got timeout'))
  await t.throwsAsync(sender.close(untyped({ deadLine: 5 })), near('deadLine', 'deadline'))
  const log = createWriteStream(devNull)
  await t.throwsAsync(stream.qlog(log, untyped({ titel: 'x' })), near('titel', 'title'))
  log.destroy()
  // None of them did anything.
  t.false(stream.destroyed)
  t.deepEqual(peer.streams, [stream])
  stream.destroy()
})

test('and in the test network', async (t) => {
  t.throws(() => new Network(untyped({ los: 0.1 })), near('los', 'loss'))
  const network = new Network()
  const [a, b] = [await network.bind(), await network.bind()]
  t.throws(() => { network.configure(untyped({ deley: 3 })) }, near('deley', 'delay'))
  t.throws(() => { network.partition(a, b, untyped({ oneway: true })) }, near('oneway', 'oneWay'))
  t.throws(() => { network.link(a, b, {}, { oneWay: 1 as unknown as boolean }) }, refused('options.oneWay: expected true or false, got 1'))
  await t.throwsAsync(network.runUntil(Promise.resolve(), untyped({ limits: 3 })), near('limits', 'limit'))
  await t.throwsAsync(network.bind(untyped({ prot: 1 })), near('prot', 'port'))
  await network.close()
})

test('a value under a wrong name is not shown: it may be a secret', async (t) => {
  const error = await t.throwsAsync(Endpoint.bind(untyped({ sercet: secret.toString('hex'), host: '127.0.0.1' })))
  t.is(error?.message, 'options.sercet: expected a known option, got sercet; did you mean secret?')
})

test('options that were made for any Duplex are taken as they are', async (t) => {
  const duplex = { highWaterMark: 1024, decodeStrings: true, emitClose: true, autoDestroy: true, objectMode: false }
  new Duplex(duplex).destroy()
  const { peer } = await joinSockets(t, () => undefined, { bind: duplex })
  const stream = peer.openStream({ ...duplex, signal: undefined })
  t.is(stream.readableHighWaterMark, 1024)
  stream.destroy()
})

test('names of a prototype count, symbols do not', async (t) => {
  class Settings {
    host = '127.0.0.1'
    get port(): number {
      return 0
    }
    shout(): string {
      return this.host.toUpperCase()
    }
  }
  const endpoint = await Endpoint.bind(Object.assign(new Settings(), { [Symbol('mine')]: 1 }))
  t.is(endpoint.address.address, '127.0.0.1')
  endpoint.destroy()
  await t.throwsAsync(Endpoint.bind(untyped(Object.create({ hots: '127.0.0.1' }) as object)), near('hots', 'host'))
})

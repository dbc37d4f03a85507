import test from 'ava'
import { Endpoint, generateSecret, OptionError, PRESETS } from '../../packages/paceline/src/index.js'
import { endpointSettings } from '../../packages/paceline/src/options.js'
import { join } from '../support/endpoints.js'

const secret = generateSecret()

const wrong: [object, string][] = [
  [{ port: '4433' }, 'options.port: expected an integer from 0 to 65535, got "4433"'],
  [{ port: 65_536 }, 'options.port: expected an integer from 0 to 65535, got 65536'],
  [{ port: undefined }, 'options.port: expected an integer from 0 to 65535, got undefined'],
  [{ host: '' }, 'options.host: expected a host name or IP address, got ""'],
  [{ host: 7 }, 'options.host: expected a host name or IP address, got 7'],
  [{ preset: 'moon' }, "options.preset: expected 'datacenter' or 'internet' or 'satellite', got \"moon\""],
  [{ congestionControl: 'reno' }, "options.congestionControl: expected 'bbr' or 'cubic', got \"reno\""],
  [{ cipher: 'none' }, "options.cipher: expected 'aes-128-gcm' or 'aes-256-gcm', got \"none\""],
  [{ maxInFlightTransmissions: 0 }, 'options.maxInFlightTransmissions: expected an integer from 1 to 256, got 0'],
  [{ maxInFlightTransmissions: 1.5 }, 'options.maxInFlightTransmissions: expected an integer from 1 to 256, got 1.5'],
  [{ application: '' }, 'options.application: expected a string of 1 to 255 characters, got ""'],
  [{ idleTimeout: 10 }, 'options.idleTimeout: expected a number from 1000 to 600000 ms, got 10'],
  [{ idleTimeout: NaN }, 'options.idleTimeout: expected a number from 1000 to 600000 ms, got NaN'],
  [{ keepAlive: 1 }, 'options.keepAlive: expected true or false, got 1'],
  [{ maxIncomingStreams: 0 }, 'options.maxIncomingStreams: expected an integer from 1 to 65536, got 0'],
  [{ maxBitrate: 100 }, `options.maxBitrate: expected a number from 8000 to ${Number.MAX_SAFE_INTEGER} bits per second, or 0 for no cap, got 100`],
  [{ poolBytes: 1n }, 'options.poolBytes: expected an integer from 2097152 to 4294967295 (bytes), got 1n'],
  [{ sendBufferBytes: {} }, 'options.sendBufferBytes: expected an integer from 65536 to 4294967295 (bytes), got an object'],
  [{ initialWindow: [] }, 'options.initialWindow: expected an integer from 65536 to 4294967295 (bytes), got an array'],
  [{ initialWindow: 1 << 20, maxWindow: 1 << 19 }, 'options.maxWindow: expected an integer from 1048576 to 4294967295 (bytes), got 524288'],
  [{ maxScheduleAhead: 0 }, 'options.maxScheduleAhead: expected a number from 0.1 to 1000 ms, got 0'],
  [{ maxDatagramSize: 100 }, 'options.maxDatagramSize: expected 0 or an integer from 1200 to 32768 (bytes), got 100'],
  [{ disableGso: () => true }, 'options.disableGso: expected true or false, got a function'],
]

for (const [options, message] of wrong) {
  test(message, (t) => {
    const error = t.throws(() => endpointSettings({ port: 1, secret, ...options }, true))
    t.true(error instanceof OptionError)
    t.like(error, { code: 'ERR_PACELINE_OPTION', message })
  })
}

test('options that are no object', async (t) => {
  // @ts-expect-error what JavaScript may do
  await t.throwsAsync(Endpoint.listen(), { message: 'options: expected an object, got undefined' })
  // @ts-expect-error what JavaScript may do
  await t.throwsAsync(Endpoint.bind('0.0.0.0'), { message: 'options: expected an object, got "0.0.0.0"' })
})

test('defaults, presets, and options that override them', (t) => {
  t.like(endpointSettings({}, false), {
    host: '0.0.0.0', port: 0, secrets: [], congestionControl: 'bbr', cipher: 'aes-128-gcm', idleTimeout: 30_000, keepAlive: true,
    maxIncomingStreams: 1024, maxStreams: 65_536, maxBitrate: 0, sendBufferBytes: 4 << 20, endpointSendBufferBytes: 64 << 20,
    maxDatagramSize: 0, ...PRESETS.internet,
  })
  t.like(endpointSettings({ preset: 'satellite', maxScheduleAhead: 9 }, false), { ...PRESETS.satellite, maxScheduleAhead: 9 })
  t.is(endpointSettings({ initialWindow: 20 << 20 }, false).maxWindow, 20 << 20)
})

test.serial('the environment can turn offloads off', (t) => {
  t.false(endpointSettings({}, false).disableGso)
  process.env['PACELINE_DISABLE_GSO'] = '1'
  t.teardown(() => delete process.env['PACELINE_DISABLE_GSO'])
  t.true(endpointSettings({}, false).disableGso)
  t.false(endpointSettings({ disableGso: false }, false).disableGso)
})

test('arguments of methods have the same form of message', async (t) => {
  const { sender, peer } = await join(t)
  const stream = peer.openStream()
  t.throws(() => peer.openStream({ priority: 0 }), { message: 'options.priority: expected an integer from 1 to 7, got 0' })
  // @ts-expect-error what JavaScript may do
  t.throws(() => peer.openStream({ signal: 1 }), { message: 'options.signal: expected an AbortSignal, got 1' })
  t.throws(() => stream.setPriority(8), { message: 'priority: expected an integer from 1 to 7, got 8' })
  t.throws(() => stream.reset(3), { message: `code: expected an integer from 256 to ${Number.MAX_SAFE_INTEGER}, got 3` })
  await t.throwsAsync(stream.close({ deadline: -1 }), { message: 'options.deadline: expected a number of at least 0 ms, got -1' })
  await t.throwsAsync(sender.connect('127.0.0.1', 0), { message: 'port: expected an integer from 1 to 65535, got 0' })
  await t.throwsAsync(sender.connect('127.0.0.1', 1), { code: 'ERR_PACELINE_SECRET' })
  // @ts-expect-error what JavaScript may do
  await t.throwsAsync(stream.writer.write('x', { signal: 'now' }), { message: 'options.signal: expected an AbortSignal, got "now"' })
  // @ts-expect-error what JavaScript may do
  await t.throwsAsync(stream.flush({ signal: null }), { message: 'options.signal: expected an AbortSignal, got null' })
})

import { inspect } from 'node:util'
import test from 'ava'
import { Endpoint, generateSecret, OptionError, type PathSecret } from '../../packages/paceline/src/index.js'
import { checkConnectPath, checkListenPaths } from '../../packages/paceline/src/path-secret.js'
import { MemoryNetwork } from '../support/memory-driver.js'

const exportSecret = generateSecret()
const good = { exportSecret, role: 'client', cipherSuite: 'aes-128-gcm' } as const
const peerAddress = { address: '127.0.0.1', port: 4433 }
const HOW = '(make one with generateSecret() or `openssl rand 32`; a password or another string is never a secret)'
const SAFE = Number.MAX_SAFE_INTEGER

const wrong: [object, string][] = [
  [{ role: undefined }, "role: expected 'client' or 'server', got undefined"],
  [{ role: 'peer' }, "role: expected 'client' or 'server', got \"peer\""],
  [{ cipherSuite: undefined }, "cipherSuite: expected 'aes-128-gcm' or 'aes-256-gcm', got undefined"],
  [{ cipherSuite: 'rot13' }, "cipherSuite: expected 'aes-128-gcm' or 'aes-256-gcm', got \"rot13\""],
  [{ firstKeyId: -1 }, `firstKeyId: expected an integer from 0 to ${SAFE}, got -1`],
  [{ firstKeyId: 7n }, `firstKeyId: expected an integer from 0 to ${SAFE}, got 7n`],
  [{ remoteMaxData: 0 }, `remoteMaxData: expected an integer from 1 to ${SAFE} (bytes), got 0`],
  [{ remoteMaxStreams: 1.5 }, 'remoteMaxStreams: expected an integer from 0 to 1048576, got 1.5'],
  [{ remoteIdleTimeout: 10 }, 'remoteIdleTimeout: expected a number from 1000 to 600000 ms, got 10'],
  [{ maxDatagramSize: 1_199 }, 'maxDatagramSize: expected an integer from 1200 to 32768 (bytes), got 1199'],
  [{ peerAddress: undefined }, 'peerAddress: expected an object with address and port, got undefined'],
  [{ peerAddress: { address: 'localhost', port: 1 } }, 'peerAddress.address: expected an IP address, got "localhost"'],
  [{ peerAddress: { address: '::1' } }, 'peerAddress.port: expected an integer from 1 to 65535, got undefined'],
  [{ peerAddress: { address: '::1', port: 0 } }, 'peerAddress.port: expected an integer from 1 to 65535, got 0'],
]
for (const [options, message] of wrong) {
  test(message, (t) => {
    const error = t.throws(() => checkListenPaths('options.pathSecret', { ...good, peerAddress, ...options }))
    t.true(error instanceof OptionError)
    t.like(error, { code: 'ERR_PACELINE_OPTION', message: `options.pathSecret.${message}` })
  })
}

const secrets: [object, string][] = [
  [{ exportSecret: undefined }, 'exportSecret: expected a Uint8Array of 32 random bytes, got undefined'],
  [{ exportSecret: null }, 'exportSecret: expected a Uint8Array of 32 random bytes, got null'],
  [{ exportSecret: exportSecret.toString('hex') }, 'exportSecret: expected a Uint8Array of 32 random bytes, got a value of type string'],
  [{ exportSecret: exportSecret.subarray(1) }, 'exportSecret: expected a Uint8Array of 32 random bytes, got 31 bytes'],
  [{ exportSecret: Buffer.alloc(32, 'secret') }, 'exportSecret: expected random bytes, got a placeholder with 5 different byte values'],
  [{ peerResetToken: exportSecret }, 'peerResetToken: expected a Uint8Array of 16 random bytes, got 32 bytes'],
]
for (const [options, message] of secrets) {
  test(message, (t) => {
    const error = t.throws(() => checkListenPaths('options.pathSecret', { ...good, peerAddress, ...options }))
    t.like(error, { name: 'OptionError', code: 'ERR_PACELINE_SECRET', message: `options.pathSecret.${message} ${HOW}` })
  })
}

test('defaults are those of the transport, and what is secret is copied', (t) => {
  const path = checkConnectPath('pathSecret', good)
  t.like(path, {
    role: 'client', cipherSuite: 'aes-128-gcm', peerResetToken: undefined, firstKeyId: 0, remoteMaxData: 256 << 10, remoteMaxStreams: 1024,
    remoteIdleTimeout: 30_000, maxDatagramSize: 1472,
  })
  t.not(path.exportSecret.buffer, exportSecret.buffer)
  t.deepEqual(Buffer.from(path.exportSecret), exportSecret)
  t.throws(() => checkListenPaths('pathSecret', []), { message: 'pathSecret: expected at least one path secret, got an array' })
  t.throws(() => checkListenPaths('pathSecret', [{ ...good, peerAddress }, good]), {
    message: 'pathSecret[1].peerAddress: expected an object with address and port, got undefined',
  })
})

test('where a path secret cannot be is said', async (t) => {
  const network = new MemoryNetwork()
  const endpoint = await Endpoint.create(network.factory, {}, false)
  t.teardown(() => {
    endpoint.destroy()
  })
  const connect = (options: object) => endpoint.connect('127.0.0.1', 1, options)
  await t.throwsAsync(connect({ pathSecret: exportSecret }), { message: 'options.pathSecret: expected an object with exportSecret, got an object' })
  const text = await t.throwsAsync(connect({ pathSecret: exportSecret.toString('hex') }))
  t.false(inspect(text, { depth: 9, showHidden: true }).includes(exportSecret.toString('hex').slice(0, 16)))
  await t.throwsAsync(connect({ pathSecret: good, secret: exportSecret }), { message: 'options.pathSecret: expected nothing beside options.secret, got an object' })
  await t.throwsAsync(connect({ pathSecret: { ...good, peerAddress } }), {
    message: 'options.pathSecret.peerAddress: expected nothing beside host and port, got an object',
  })
  await t.throwsAsync(Endpoint.bind({ pathSecret: good } as object), {
    message: 'options.pathSecret: expected nothing here but in connect() or listen(), got an object',
  })
  t.deepEqual(network.drivers.get(endpoint.address.port)?.injected, [])
})

test('the driver gets the bytes, and nothing is left of them in JavaScript', async (t) => {
  const network = new MemoryNetwork()
  const seen: Buffer[] = []
  const options: Uint8Array[] = []
  const factory: typeof network.factory = (settings) => {
    const driver = network.factory(settings)
    const inject = driver.inject.bind(driver)
    driver.inject = (id, address, port, given) => {
      seen.push(Buffer.from(given.exportSecret), Buffer.from(given.peerResetToken ?? []))
      options.push(given.exportSecret, given.peerResetToken ?? new Uint8Array())
      inject(id, address, port, given)
    }
    return driver
  }
  const pathSecret: PathSecret = { ...good, peerResetToken: generateSecret().subarray(0, 16), firstKeyId: 70_000 }
  const listener = await Endpoint.create(factory, { port: 4433, pathSecret: { ...pathSecret, peerAddress } }, true)
  const connecter = await Endpoint.create(factory, {}, false)
  t.teardown(() => {
    listener.destroy()
    connecter.destroy()
  })
  const peer = await connecter.connect('127.0.0.1', 9, { pathSecret, handshakeTimeout: 100, maxBitrate: 1e6 })
  t.deepEqual(seen, [1, 2].flatMap(() => [Buffer.from(pathSecret.exportSecret), Buffer.from(pathSecret.peerResetToken ?? [])]))
  for (const bytes of options) t.true(bytes.every((byte) => byte === 0), 'wiped')
  t.true(exportSecret.some((byte) => byte !== 0), "the caller's own bytes are the caller's")
  t.like(network.drivers.get(connecter.address.port)?.injected[0], { address: '127.0.0.1', port: 9, options: { firstKeyId: 70_000, handshakeTimeout: 100, maxBitrate: 1e6 } })
  t.false(peer.accepted)
  t.is(listener.peers.length, 1)
  const shown = inspect({ listener, connecter, peer }, { depth: 12, showHidden: true }).replaceAll(/\s/g, '')
  t.false(shown.includes(exportSecret.toString('hex').slice(0, 16)) || shown.includes([...exportSecret.subarray(0, 6)].join(',')))
})

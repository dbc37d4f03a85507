// Every code of the table, provoked by its real cause where a test can make it.
import { spawn, spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { once } from 'node:events'
import { join as joinPath } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { FailureNumber } from '../../packages/paceline/src/driver.js'
import {
  AbortError,
  Endpoint,
  EndpointError,
  ERROR_CODES,
  generateSecret,
  OptionError,
  PacelineError,
  PeerError,
  StreamError,
  type BindOptions,
  type ErrorCode,
  type Peer,
  type PathSecret,
  type Stream,
} from '../../packages/paceline/src/index.js'
import { Network } from '../../packages/paceline/src/testing.js'
import { ROOT, temporaryFolder } from '../e2e/helpers/cli.ts'
import { joinStreams, until } from '../support/endpoints.js'

const LOCAL = '127.0.0.1'

interface Provocation {
  /** `false`: the cause cannot be made here, so a driver in memory says it. */
  readonly isReal: boolean
  readonly error: unknown
  readonly like: object
}

type Provoke = (t: ExecutionContext) => Promise<Provocation>

function keep<E extends Endpoint>(t: ExecutionContext, endpoint: E): E {
  t.teardown(() => {
    endpoint.destroy()
  })
  return endpoint
}

/** What a promise rejects with. */
async function rejection(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise
  } catch (error) {
    return error
  }
  throw new Error('nothing was thrown')
}

/** It may have failed before anybody saw it. */
const failure = async (stream: Stream): Promise<unknown> => stream.errored ?? ((await once(stream, 'error')) as [unknown])[0]
const real = async (error: unknown, like: object = {}): Promise<Provocation> => ({ isReal: true, error: await error, like })

async function listening(t: ExecutionContext, options: BindOptions = {}): Promise<{ receiver: Endpoint; sender: Endpoint; secret: Buffer; accepted: Promise<Stream>; connect: () => ReturnType<Endpoint['connect']> }> {
  const secret = generateSecret()
  const receiver = keep(t, await Endpoint.listen({ ...options, host: LOCAL, port: 0, secret }))
  const sender = keep(t, await Endpoint.bind({ ...options, host: LOCAL }))
  const accepted = receiver.streams().next().then(({ value }) => value as Stream)
  accepted.catch(() => undefined)
  const { port } = receiver.address
  return { receiver, sender, secret, accepted, connect: () => sender.connect(LOCAL, port, { secret }) }
}

/** Both ends of a stream over real sockets. */
async function streams(t: ExecutionContext, options: BindOptions = {}) {
  const ends = await listening(t, options)
  const peer = await ends.connect()
  const local = peer.openStream()
  await local.writer.write('!')
  const remote = await ends.accepted
  // Nor may an end that is not looked at be collected, and reset for that.
  t.teardown(() => void [local, remote])
  return { ...ends, peer, local, remote }
}

/** Sides that were given a path secret, and do not agree on what may be sent. */
async function injected(t: ExecutionContext, over: Partial<PathSecret>, options: BindOptions) {
  const sender = keep(t, await Endpoint.bind({ host: LOCAL }))
  const pathSecret: PathSecret = { exportSecret: generateSecret(), role: 'client', cipherSuite: 'aes-128-gcm' }
  const receiver = keep(
    t,
    await Endpoint.listen({ ...options, host: LOCAL, port: 0, pathSecret: { ...pathSecret, role: 'server', peerAddress: { address: LOCAL, port: sender.address.port } } }),
  )
  const accepted = receiver.streams().next().then(({ value }) => value as Stream)
  const peer = await sender.connect(LOCAL, receiver.address.port, { pathSecret: { ...pathSecret, ...over } })
  return { sender, receiver, accepted, peer, pathSecret }
}

/** More than the receiver takes, because the sender was told wrong. */
async function tooMuch(t: ExecutionContext): Promise<{ sending: unknown; receiving: unknown }> {
  const { accepted, peer } = await injected(t, { remoteMaxData: 64 << 20 }, { initialWindow: 64 << 10, maxWindow: 64 << 10 })
  const local = peer.openStream()
  const sending = failure(local)
  local.writer.write(Buffer.alloc(4 << 20)).catch(() => undefined)
  const receiving = failure(await accepted)
  return { sending: await sending, receiving: await receiving }
}

const PROVOCATIONS: Record<ErrorCode, Provoke> = {
  ERR_PACELINE_OPTION: () => real(rejection(Endpoint.bind({ port: -1 }))),
  ERR_PACELINE_SECRET: () => real(rejection(Endpoint.listen({ port: 0, secret: Buffer.alloc(32) }))),
  async ERR_PACELINE_NATIVE_MISSING(t) {
    const folder = temporaryFolder(t)
    const own = joinPath(folder, 'node_modules', 'paceline')
    mkdirSync(own, { recursive: true })
    for (const name of ['dist', 'package.json']) cpSync(joinPath(ROOT, 'packages', 'paceline', name), joinPath(own, name), { recursive: true })
    const script = `require('paceline').Endpoint.bind().catch(({ name, code }) => console.log(JSON.stringify({ name, code })))`
    const { stdout } = spawnSync(process.execPath, ['-e', script], { cwd: folder, encoding: 'utf8' })
    const { name, code } = JSON.parse(stdout) as { name: string; code: ErrorCode }
    t.is(name, 'EndpointError')
    return real(new EndpointError(code))
  },
  async ERR_PACELINE_BIND(t) {
    const { receiver } = await listening(t)
    const { port } = receiver.address
    return real(rejection(Endpoint.bind({ host: LOCAL, port })), { address: LOCAL, port, syscall: 'bind', errno: process.platform === 'linux' ? -98 : undefined })
  },
  async ERR_PACELINE_RESOLVE(t) {
    const endpoint = keep(t, await Endpoint.bind({ host: LOCAL }))
    return real(rejection(endpoint.connect('no-such-name.invalid', 1, { secret: generateSecret() })), { syscall: 'getaddrinfo' })
  },
  async ERR_PACELINE_ENDPOINT_CLOSED(t) {
    const { sender, connect } = await listening(t)
    await sender.close()
    return real(rejection(connect()))
  },
  async ERR_PACELINE_HANDSHAKE_TIMEOUT(t) {
    const { sender, receiver } = await listening(t)
    const { port } = receiver.address
    return real(rejection(sender.connect(LOCAL, port, { secret: generateSecret(), handshakeTimeout: 100 })), { address: LOCAL, port })
  },
  async ERR_PACELINE_HANDSHAKE_REFUSED(t) {
    const { receiver, secret } = await listening(t, { application: 'one' })
    const other = keep(t, await Endpoint.bind({ host: LOCAL, application: 'another' }))
    return real(rejection(other.connect(LOCAL, receiver.address.port, { secret })), { errorCode: 2 })
  },
  async ERR_PACELINE_HANDSHAKE_LIMIT(t) {
    const sender = keep(t, await Endpoint.bind({ host: LOCAL }))
    const secret = generateSecret()
    // 16,384 attempts that nobody answers are as many as an endpoint has.
    const attempts = Array.from({ length: 16_385 }, (_, index) => sender.connect(LOCAL, 1 + (index % 65_000), { secret, handshakeTimeout: 600_000 }))
    const first = await Promise.race(attempts.map((attempt) => rejection(attempt)))
    for (const attempt of attempts) attempt.catch(() => undefined)
    return real(first)
  },
  async ERR_PACELINE_PATH_UNCONFIRMED(t) {
    const sender = keep(t, await Endpoint.bind({ host: LOCAL }))
    const pathSecret: PathSecret = { exportSecret: generateSecret(), role: 'client', cipherSuite: 'aes-128-gcm' }
    const peer = await sender.connect(LOCAL, 9, { pathSecret, handshakeTimeout: 100 })
    const stream = peer.openStream()
    stream.write('x')
    return real(failure(stream), { address: LOCAL, port: 9 })
  },
  async ERR_PACELINE_PATH_SECRET_USED(t) {
    const sender = keep(t, await Endpoint.bind({ host: LOCAL }))
    const pathSecret: PathSecret = { exportSecret: generateSecret(), role: 'client', cipherSuite: 'aes-128-gcm' }
    await sender.connect(LOCAL, 9, { pathSecret })
    return real(rejection(sender.connect(LOCAL, 9, { pathSecret })))
  },
  async ERR_PACELINE_PEER_RESTARTED(t) {
    const { receiver, local, secret } = await streams(t)
    const { port } = receiver.address
    receiver.destroy()
    keep(t, await Endpoint.listen({ host: LOCAL, port, secret }))
    const failed = failure(local)
    local.write('anybody there?')
    return real(failed, { address: LOCAL, port })
  },
  async ERR_PACELINE_PEER_CLOSED(t) {
    const { peer } = await streams(t)
    peer.destroy()
    return real(rejection((async () => peer.openStream())()))
  },
  async ERR_PACELINE_IDLE_TIMEOUT(t) {
    const { receiver, local } = await streams(t, { idleTimeout: 1_000 })
    const { port } = receiver.address
    receiver.destroy()
    const failed = failure(local)
    local.write('anybody there?')
    return real(failed, { address: LOCAL, port })
  },
  async ERR_PACELINE_STREAM_RESET(t) {
    const { local, remote } = await streams(t)
    local.reset(4321)
    return real(failure(remote), { errorCode: 4321 })
  },
  async ERR_PACELINE_STREAM_ABORTED(t) {
    const { local } = await streams(t)
    local.reset(4321)
    return real(rejection(local.writer.write('x')), { errorCode: 4321 })
  },
  async ERR_PACELINE_STREAM_REFUSED(t) {
    const secret = generateSecret()
    const receiver = keep(t, await Endpoint.listen({ host: LOCAL, port: 0, secret }))
    const sender = keep(t, await Endpoint.bind({ host: LOCAL }))
    const stream = (await sender.connect(LOCAL, receiver.address.port, { secret })).openStream()
    stream.write('nobody iterates')
    return real(failure(stream))
  },
  async ERR_PACELINE_STREAM_LIMIT(t) {
    const { peer } = await streams(t, { maxStreams: 1 })
    return real(failure(peer.openStream()))
  },
  async ERR_PACELINE_STREAM_CLOSED(t) {
    const { remote } = await streams(t)
    remote.stopReading()
    return real(rejection(remote.chunks().next()))
  },
  async ERR_PACELINE_WRITE_AFTER_END(t) {
    const { local } = await streams(t)
    await local.writer.end()
    return real(rejection(local.writer.write('x')))
  },
  async ERR_PACELINE_PROTOCOL(t) {
    // FLOW_CONTROL_ERROR, RFC 9000, section 20.1.
    return real((await tooMuch(t)).sending, { errorCode: 3 })
  },
  async ERR_PACELINE_PEER_VIOLATION(t) {
    return real((await tooMuch(t)).receiving, { errorCode: 3 })
  },
  async ERR_PACELINE_SEND(t) {
    // The system refuses broadcasts to whoever has not asked for them: EACCES with every attempt. A machine without a network has
    // a route to its own.
    const broadcast = process.platform === 'linux' ? '127.255.255.255' : '255.255.255.255'
    const sender = keep(t, await Endpoint.bind({ host: '0.0.0.0' }))
    const pathSecret: PathSecret = { exportSecret: generateSecret(), role: 'client', cipherSuite: 'aes-128-gcm' }
    const stream = (await sender.connect(broadcast, 9, { pathSecret, handshakeTimeout: 60_000 })).openStream()
    stream.write('x')
    return real(failure(stream), { syscall: 'sendmsg', errno: -13, address: broadcast, port: 9 })
  },
  async ERR_PACELINE_KEY_REJECTED(t) {
    const stream = (await injectedTwice(t)).openStream()
    stream.write('the same key again')
    return real(failure(stream))
  },
  // 2^23 packets in every key phase that a stream may have: hours.
  ERR_PACELINE_KEY_LIMIT: (t) => told(t, FailureNumber.KeyLimit),
  // A fault of ours by definition.
  async ERR_PACELINE_INTERNAL(t) {
    const { local, remote, receiverDriver } = await joinStreams(t)
    receiverDriver.drain = () => {
      throw Object.assign(new Error('the worker thread panicked'), { code: 'ERR_PACELINE_INTERNAL' })
    }
    const reading = rejection(remote.chunks().next())
    await local.writer.write('x')
    return { isReal: false, error: await reading, like: { message: 'the worker thread panicked' } }
  },
  async ERR_PACELINE_TEST_LIMIT(t) {
    const network = new Network({ seed: 1 })
    t.teardown(() => network.close())
    return real(rejection(network.runUntil(new Promise(() => undefined), { limit: 10 })))
  },
  async ABORT_ERR(t) {
    const { local } = await streams(t)
    const reason = new Error('enough')
    const reading = rejection(local.chunks({ signal: AbortSignal.timeout(10) }).next())
    t.is((await reading as Error).name, 'AbortError')
    return real(rejection(local.chunks({ signal: AbortSignal.abort(reason) }).next()), { cause: reason })
  },
}

async function told(t: ExecutionContext, number: number): Promise<Provocation> {
  const { local, senderDriver } = await joinStreams(t)
  const failed = failure(local)
  senderDriver.failStream(local.id, number)
  return { isReal: false, error: await failed, like: {} }
}

/** A peer whose path secret another process has used before. */
async function injectedTwice(t: ExecutionContext): Promise<Peer> {
  const sender = keep(t, await Endpoint.bind({ host: LOCAL }))
  const pathSecret: PathSecret = { exportSecret: generateSecret(), role: 'client', cipherSuite: 'aes-128-gcm' }
  const receiver = keep(
    t,
    await Endpoint.listen({ host: LOCAL, port: 0, idleTimeout: 1_000, pathSecret: { ...pathSecret, role: 'server', peerAddress: { address: LOCAL, port: sender.address.port } } }),
  )
  const accepted = receiver.streams().next()
  void accepted.then(({ value }) => value?.resume().end())
  const { port } = receiver.address
  const child = spawn(process.execPath, [joinPath(ROOT, '__test__', 'support', 'inject.mjs'), String(port), Buffer.from(pathSecret.exportSecret).toString('hex')], { stdio: ['ignore', 'ignore', 'inherit'] })
  const [code] = (await once(child, 'exit')) as [number]
  t.is(code, 0)
  t.truthy((await accepted).value)
  // While the old stream is there, and remembered for its idle timeout, it would take it for a packet of its own.
  await until(t, () => receiver.stats().streams === 0, 'the first stream is over')
  await sleep(2_000)
  return sender.connect(LOCAL, port, { pathSecret })
}

const CLASSES: Record<string, typeof PacelineError | typeof AbortError> = { PacelineError, OptionError, EndpointError, PeerError, StreamError, AbortError }

for (const [code, provoke] of Object.entries(PROVOCATIONS)) {
  test.serial(`${code} can be provoked`, async (t) => {
    const { error, like, isReal } = await provoke(t)
    t.true(error instanceof PacelineError, String(error))
    if (!(error instanceof PacelineError)) return
    t.like(error, { ...like, code })
    t.true(error.message.length > 10)
    const Class = CLASSES[error.name]
    t.true(Class !== undefined && error instanceof Class, error.name)
    if (!isReal) t.log('from a driver in memory: its cause cannot be made here')
  })
}

test('no code is without its provocation', (t) => {
  t.deepEqual(Object.keys(PROVOCATIONS).sort(), Object.keys(ERROR_CODES).sort())
})

test('every code in the sources of package and addon stands in the table', (t) => {
  const folders = ['packages/paceline/src', 'crates/node/src']
  const used = new Set<string>()
  for (const folder of folders) {
    const files = readdirSync(joinPath(ROOT, folder), { recursive: true, encoding: 'utf8' }).filter((file) => /\.(ts|cts|mts|rs)$/.test(file))
    for (const file of files) for (const [code] of readFileSync(joinPath(ROOT, folder, file), 'utf8').matchAll(/ERR_PACELINE_[A-Z_]*[A-Z]/g)) used.add(code)
  }
  t.true(used.size >= Object.keys(ERROR_CODES).length - 1)
  t.deepEqual([...used].filter((code) => !(code in ERROR_CODES)), [])
})

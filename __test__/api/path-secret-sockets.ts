import { createHash, randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { inspect } from 'node:util'
import test, { type ExecutionContext } from 'ava'
import { Endpoint, generateSecret, resetToken, type ConnectOptions, type PathSecret, type Stream } from '../../packages/paceline/src/index.js'

const MEGABYTE = 1_000_000
const LOCAL = '127.0.0.1'
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

function kept(t: ExecutionContext, endpoint: Endpoint): Endpoint {
  t.teardown(() => {
    endpoint.destroy()
  })
  return endpoint
}

const secretOf = (over: Partial<PathSecret> = {}): PathSecret => ({ exportSecret: generateSecret(), role: 'client', cipherSuite: 'aes-128-gcm', ...over })
const opposite = (given: PathSecret): PathSecret => ({ ...given, role: given.role === 'client' ? 'server' : 'client' })

/** A listener that has `theirs` for the connecter's address, and the connecter. */
async function pair(t: ExecutionContext, theirs: PathSecret) {
  const connecter = kept(t, await Endpoint.bind({ host: LOCAL }))
  const pathSecret = { ...theirs, peerAddress: { address: LOCAL, port: connecter.address.port } }
  const listener = kept(t, await Endpoint.listen({ host: LOCAL, port: 0, pathSecret }))
  const connect = (ours: PathSecret, options: ConnectOptions = {}) => connecter.connect(LOCAL, listener.address.port, { ...options, pathSecret: ours })
  return { connecter, listener, connect }
}

async function read(stream: Stream): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(Buffer.from(chunk as Uint8Array))
  return Buffer.concat(chunks)
}

/** Writes a megabyte and reads one; both sides of a stream do so. */
async function exchange(stream: Stream, sent: Buffer): Promise<string> {
  stream.end(sent)
  return sha256(await read(stream))
}

for (const role of ['client', 'server'] as const) {
  for (const cipherSuite of ['aes-128-gcm', 'aes-256-gcm'] as const) {
    test.serial(`a megabyte each way without a handshake: ${role}, ${cipherSuite}`, async (t) => {
      const ours = secretOf({ role, cipherSuite, firstKeyId: 70_000 })
      const { connecter, listener, connect } = await pair(t, opposite(ours))
      // Before anybody opens one, or it is refused.
      const accepted = listener.streams().next()
      const peer = await connect(ours)
      const forth = randomBytes(MEGABYTE)
      const back = randomBytes(MEGABYTE)
      const opened = peer.openStream()
      const heard = exchange(opened, forth)
      const other = (await accepted).value
      if (other === undefined) throw new Error('no stream came')
      t.is(await exchange(other, back), sha256(forth))
      t.is(await heard, sha256(back))
      t.is(other.peer, listener.peers[0])
      t.is(peer.stats()?.cipher, cipherSuite)
      for (const endpoint of [connecter, listener]) {
        // A late acknowledgement makes a copy, which is no fault.
        const { duplicate: _, ...dropped } = endpoint.stats().dropped
        t.deepEqual(dropped, Object.fromEntries(Object.keys(dropped).map((reason) => [reason, 0])) as typeof dropped)
      }
    })
  }
}

test.serial('who listens opens streams to who connected', async (t) => {
  const ours = secretOf()
  const { connecter, listener, connect } = await pair(t, opposite(ours))
  // The listener may open, too: nobody is the one who connected.
  const accepted = connecter.streams().next()
  await connect(ours)
  const opened = listener.peers[0]?.openStream()
  opened?.end('hello')
  const stream = (await accepted).value
  t.is(stream === undefined ? '' : (await read(stream)).toString(), 'hello')
})

test.serial('the wrong secret fails with a code', async (t) => {
  const theirs = secretOf({ role: 'server' })
  const { listener, connect } = await pair(t, theirs)
  void listener.streams().next()
  const peer = await connect({ ...opposite(theirs), exportSecret: generateSecret() }, { handshakeTimeout: 2_000 })
  const stream = peer.openStream()
  const failed = new Promise<Error>((resolve) => stream.once('error', resolve))
  stream.write('hello')
  t.like(await failed, { name: 'PeerError', code: 'ERR_PACELINE_PATH_UNCONFIRMED' })
  await t.throwsAsync(peer.closed, { code: 'ERR_PACELINE_PATH_UNCONFIRMED' })
  t.true(listener.stats().packetsDropped > 0, 'the packets came, and were dropped')
})

// Between processes it is ERR_PACELINE_PATH_UNCONFIRMED (`npm run interop`); one process sees it at once.
test.serial('the role that the other end of this process has is refused', async (t) => {
  const theirs = secretOf({ role: 'server' })
  const { connect } = await pair(t, theirs)
  await t.throwsAsync(connect(theirs), { code: 'ERR_PACELINE_PATH_SECRET_USED' })
})

test.serial('a secret is taken once in each role, by whatever endpoint, and no error shows it', async (t) => {
  const ours = secretOf()
  const { connecter, connect } = await pair(t, opposite(ours))
  const peer = await connect(ours)
  peer.destroy()
  const refused = [
    await t.throwsAsync(connect(ours)),
    await t.throwsAsync((await Endpoint.bind({ host: LOCAL }).then((endpoint) => kept(t, endpoint))).connect(LOCAL, 9, { pathSecret: ours })),
    await t.throwsAsync(Endpoint.listen({ host: LOCAL, port: 0, pathSecret: [{ ...opposite(ours), peerAddress: { address: LOCAL, port: 9 } }] })),
  ]
  for (const error of refused) {
    t.like(error, { name: 'OptionError', code: 'ERR_PACELINE_PATH_SECRET_USED' })
    const shown = inspect(error, { depth: 12, showHidden: true })
    t.false(shown.includes(Buffer.from(ours.exportSecret).toString('hex').slice(0, 16)))
    t.false(shown.includes([...ours.exportSecret.subarray(0, 4)].join(', ')))
  }
  // What the address forbids is refused before the secret is used up.
  const fresh = secretOf()
  await t.throwsAsync(connecter.connect('::1', 9, { pathSecret: fresh }), { code: 'ERR_PACELINE_OPTION' })
  t.truthy(await connecter.connect(LOCAL, 9, { pathSecret: fresh }))
})

test.serial('a peer that was restarted without the path secret proves it with its reset key, and nobody else can', async (t) => {
  const resetKey = generateSecret()
  for (const [proof, expected] of [[resetKey, 'ERR_PACELINE_PEER_RESTARTED'], [generateSecret(), undefined]] as const) {
    const ours = secretOf()
    const connecter = kept(t, await Endpoint.bind({ host: LOCAL }))
    const pathSecret = { ...opposite(ours), peerAddress: { address: LOCAL, port: connecter.address.port } }
    const first = await Endpoint.listen({ host: LOCAL, port: 0, pathSecret, resetKey })
    const { port } = first.address
    const accepted = first.streams().next()
    const peer = await connecter.connect(LOCAL, port, { pathSecret: { ...ours, peerResetToken: await resetToken(proof, ours) } })
    const stream = peer.openStream()
    const failed = new Promise<Error & { code?: string }>((resolve) => stream.once('error', resolve))
    await stream.writer.write('hello')
    await accepted
    first.destroy()
    kept(t, await Endpoint.bind({ host: LOCAL, port, resetKey }))
    // Copies of what was not acknowledged may have been answered before.
    if (!stream.destroyed) stream.write('anybody there?')
    const heard = await (expected === undefined ? Promise.race([failed, sleep(1_500, undefined)]) : failed)
    t.is(heard?.code, expected)
    connecter.destroy()
  }
})

test('a reset token needs a key of 32 bytes and a whole path secret, and is the same for both roles', async (t) => {
  const ours = secretOf()
  const key = generateSecret()
  const token = await resetToken(key, ours)
  t.is(token.length, 16)
  t.deepEqual(await resetToken(key, opposite(ours)), token)
  t.notDeepEqual(await resetToken(generateSecret(), ours), token)
  t.notDeepEqual(await resetToken(key, secretOf()), token)
  t.notDeepEqual(await resetToken(key, { ...ours, cipherSuite: 'aes-256-gcm' }), token)
  const refused = { code: 'ERR_PACELINE_SECRET' }
  await t.throwsAsync(resetToken(key.subarray(1), ours), { ...refused, message: /^resetKey: expected a Uint8Array of 32 random bytes, got 31 bytes/ })
  await t.throwsAsync(resetToken(key, { ...ours, exportSecret: Buffer.alloc(31, 'secret') }), { ...refused, message: /^pathSecret\.exportSecret: .*got 31 bytes/ })
  await t.throwsAsync(Endpoint.bind({ resetKey: Buffer.alloc(32) }), { ...refused, message: /^options\.resetKey: expected random bytes, got a placeholder with 1 different byte values/ })
  await t.throwsAsync(Endpoint.bind({ resetKey: Buffer.alloc(3) }), { ...refused, message: /^options\.resetKey: expected .*, got 3 bytes/ })
})

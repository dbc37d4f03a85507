// `await using`: what a scope leaves behind when it ends, also by an exception.
import test from 'ava'
import { Endpoint, generateSecret } from '../../packages/paceline/src/index.js'
import { closed, join, joinStreams, readAll } from '../support/endpoints.js'

test('endpoint, peer and stream, over real sockets', async (t) => {
  const secret = generateSecret()
  const outer: Endpoint[] = []
  let got: Promise<Buffer> | undefined
  {
    await using receiver = await Endpoint.listen({ host: '127.0.0.1', port: 0, secret })
    const accepted = receiver.streams().next()
    {
      await using sender = await Endpoint.bind({ host: '127.0.0.1' })
      outer.push(sender, receiver)
      await using peer = await sender.connect('127.0.0.1', receiver.address.port, { secret })
      await using stream = peer.openStream()
      await stream.writer.write('scoped')
      got = readAll((await accepted).value!)
    }
    // The scope has ended only when everything was acknowledged.
    t.is((await got).toString(), 'scoped')
  }
  for (const endpoint of outer) await endpoint.closed
})

test('a stream is closed by an exception, too, and what was written gets there', async (t) => {
  const { local, remote } = await joinStreams(t)
  const reading = readAll(remote)
  await t.throwsAsync(
    async () => {
      await using stream = local
      await stream.writer.write('before')
      throw new Error('in the scope')
    },
    { message: 'in the scope' },
  )
  t.is((await reading).toString(), 'before')
  remote.end()
  await closed(local)
  t.is(local.errored, null)
})

test('a writer ends its stream', async (t) => {
  const { local, remote } = await joinStreams(t)
  const reading = readAll(remote)
  {
    await using writer = local.writer
    await writer.write('w')
  }
  t.true(local.writableFinished)
  t.is((await reading).toString(), 'w')
})

test('chunks leave the stream as it is', async (t) => {
  const { local, remote } = await joinStreams(t)
  await local.writer.write('one')
  {
    await using chunks = remote.chunks()
    t.is((await chunks.next()).value?.toString(), 'one')
  }
  await local.writer.write('two')
  t.is((await remote.chunks().next()).value?.toString(), 'two')
})

test('disposing twice, and of what has failed', async (t) => {
  const { sender, peer, local, remote } = await joinStreams(t)
  remote.reset(300)
  await closed(local)
  await local[Symbol.asyncDispose]()
  await local[Symbol.asyncDispose]()
  await peer[Symbol.asyncDispose]()
  await peer[Symbol.asyncDispose]()
  await sender[Symbol.asyncDispose]()
  await sender[Symbol.asyncDispose]()
  t.true(local.destroyed)
})

test('a peer that leaves its scope takes its streams with it', async (t) => {
  const { sender, receiver } = await join(t)
  const accepted = receiver.streams().next()
  const { port } = receiver.address
  t.is(sender.peers.length, 1)
  const [peer] = sender.peers
  {
    await using scoped = peer!
    scoped.openStream().end('x')
  }
  t.is((await readAll((await accepted).value!)).toString(), 'x')
  t.is(sender.peers.length, 0)
  await peer!.closed
  t.true(port > 0)
})

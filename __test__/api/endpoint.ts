import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import test from 'ava'
import { FailureNumber, Op } from '../../packages/paceline/src/driver.js'
import { Endpoint, generateSecret, type Stream } from '../../packages/paceline/src/index.js'
import { join, joinStreams, readAll, state, turns, until } from '../support/endpoints.js'
import { collectUntil } from '../support/gc.js'
import { MemoryNetwork, type MemoryDriver } from '../support/memory-driver.js'

test('streams are let in only while somebody iterates', async (t) => {
  const { peer, receiver, receiverDriver } = await join(t, {}, { maxIncomingStreams: 7 })
  const refused = peer.openStream()
  await refused.writer.write('x')
  await t.throwsAsync(readAll(refused), { code: 'ERR_PACELINE_STREAM_REFUSED' })
  const streams = receiver.streams()
  const first = streams.next()
  await turns(2)
  t.is(receiverDriver.acceptLimit, 7)
  const opened = [peer.openStream(), peer.openStream()]
  for (const stream of opened) await stream.writer.write('y')
  t.truthy((await first).value)
  await turns(5)
  await streams.return?.()
  await turns(2)
  t.is(receiverDriver.acceptLimit, 0)
  // The second came before the end of the loop and waits for the next one.
  const again = await receiver[Symbol.asyncIterator]().next()
  t.is((await again.value?.chunks().next())?.value?.toString(), 'y')
})

test('the iterator ends when the endpoint is closed or destroyed', async (t) => {
  for (const end of ['close', 'destroy'] as const) {
    const { receiver } = await join(t)
    const loop = (async () => {
      let count = 0
      for await (const _ of receiver) count += 1
      return count
    })()
    t.is(await state(loop), 'pending')
    void receiver[end]()
    t.is(await loop, 0)
    t.deepEqual(await receiver.streams().next(), { done: true, value: undefined })
    await receiver.closed
  }
})

test('close() ends every stream, reports the sum, and ends the driver', async (t) => {
  const { sender, receiver, peer, senderDriver } = await join(t)
  const got: Promise<Buffer>[] = []
  void (async () => {
    for await (const stream of receiver) got.push(readAll(stream))
  })()
  await turns(2)
  for (let count = 0; count < 5; count += 1) await peer.openStream().writer.write(Buffer.alloc(1000))
  const unread = peer.openStream()
  await unread.writer.write(Buffer.alloc(1000))
  t.deepEqual(await sender.close(), { acknowledged: 6000, undelivered: 0 })
  t.true(senderDriver.closed)
  t.deepEqual(senderDriver.commands.filter((op) => op === Op.Shutdown), [Op.Shutdown])
  t.deepEqual((await Promise.all(got)).map(({ length }) => length), [1000, 1000, 1000, 1000, 1000, 1000])
  t.throws(() => peer.openStream(), { code: 'ERR_PACELINE_PEER_CLOSED' })
  t.is(sender.stats().failed, 0)
  await t.throwsAsync(sender.connect('127.0.0.1', 4433, { secret: generateSecret() }), { code: 'ERR_PACELINE_ENDPOINT_CLOSED' })
  t.deepEqual(await sender.close(), { acknowledged: 6000, undelivered: 0 })
  await peer.closed
})

test('close() with a deadline does not wait for a reader that does not read', async (t) => {
  const { sender, local } = await joinStreams(t, { window: 64 * 1024 })
  await local.writer.write(Buffer.alloc(1 << 20))
  const { acknowledged, undelivered } = await sender.close({ deadline: 30 })
  t.is(acknowledged + undelivered, (1 << 20) + 1)
  t.true(undelivered > 0)
})

test('destroy() rejects every wait', async (t) => {
  const { sender, peer, local } = await joinStreams(t, { window: 64 * 1024 }, { sendBufferBytes: 64 * 1024 })
  const network = new MemoryNetwork()
  const lonely = await Endpoint.create(network.factory, {}, false)
  const connecting = lonely.connect('127.0.0.1', 9, { secret: generateSecret() })
  const waits: Promise<unknown>[] = [local.writer.write(Buffer.alloc(1 << 20)), local.flush(), local.chunks().next(), local.writer.end()]
  for (const wait of waits) t.is(await state(wait), 'pending')
  sender.destroy()
  for (const wait of waits) await t.throwsAsync(wait, { code: 'ERR_PACELINE_ENDPOINT_CLOSED' })
  t.deepEqual(await local.close(), { acknowledged: local.stats().bytesAcknowledged, undelivered: (1 << 20) + 1 - local.stats().bytesAcknowledged })
  await peer.closed
  lonely.destroy()
  await t.throwsAsync(connecting, { code: 'ERR_PACELINE_ENDPOINT_CLOSED' })
})

test('peers: address, rate, streams, close', async (t) => {
  const { peer, local, senderDriver, receiver, remote } = await joinStreams(t)
  t.deepEqual(peer.remoteAddress, { address: '0.0.0.0', port: 4433, family: 'IPv4' })
  t.false(peer.accepted)
  await peer.opened
  peer.maxBitrate = 10e6
  await turns(1)
  t.is(senderDriver.maxBitrateOf(peer.id), 10e6)
  t.throws(() => (peer.maxBitrate = 1), { code: 'ERR_PACELINE_OPTION' })
  local.setPriority(1)
  await turns(1)
  t.is(senderDriver.priorityOf(local.id), 1)
  t.deepEqual(peer.streams, [local])
  t.true(remote.peer.accepted)
  t.deepEqual(receiver.peers, [remote.peer])
  const reading = readAll(remote)
  t.deepEqual(await peer.close(), { acknowledged: 1, undelivered: 0 })
  t.is((await reading).length, 0)
  await peer.closed
  t.throws(() => peer.openStream(), { code: 'ERR_PACELINE_PEER_CLOSED' })
})

test.serial('a peer that fails rejects `closed`, and an unobserved one ends nothing', async (t) => {
  const rejections: unknown[] = []
  const listener = (error: unknown): void => void rejections.push(error)
  process.on('unhandledRejection', listener)
  t.teardown(() => process.off('unhandledRejection', listener))
  const { peer, senderDriver } = await join(t)
  senderDriver.failPeer(peer.id, FailureNumber.PeerRestarted)
  await turns(5)
  t.deepEqual(rejections, [])
  const error = await t.throwsAsync(peer.closed, { code: 'ERR_PACELINE_PEER_RESTARTED' })
  t.is(error?.name, 'PeerError')
})

test('a wrong secret is never answered', async (t) => {
  const { sender } = await join(t)
  const error = await t.throwsAsync(sender.connect('127.0.0.1', 4433, { secret: generateSecret(), handshakeTimeout: 30 }), {
    code: 'ERR_PACELINE_HANDSHAKE_TIMEOUT',
  })
  t.like(error, { address: '127.0.0.1', port: 4433 })
})

test('names are looked up; families that cannot be reached are refused', async (t) => {
  const { sender } = await join(t)
  await t.throwsAsync(sender.connect('no-such-name.invalid', 4433, { secret: generateSecret() }), { code: 'ERR_PACELINE_RESOLVE' })
  await t.throwsAsync(sender.connect('::1', 4433, { secret: generateSecret() }), {
    message: "host: expected an IPv4 address (the endpoint is bound to 0.0.0.0, bind '::' for this one), got \"::1\"",
  })
  const network = new MemoryNetwork()
  const local = await Endpoint.create(network.factory, { host: 'localhost' }, false)
  t.regex(local.address.address, /^127\.0\.0\.1$|^::1$/)
  local.destroy()
})

test('bind does not let in peers, listen does', async (t) => {
  const network = new MemoryNetwork()
  const secret = generateSecret()
  const bound = await Endpoint.create(network.factory, { port: 1, secret }, false)
  const other = await Endpoint.create(network.factory, { secret }, false)
  await t.throwsAsync(other.connect('127.0.0.1', 1, { handshakeTimeout: 20 }), { code: 'ERR_PACELINE_HANDSHAKE_TIMEOUT' })
  bound.destroy()
  const listening = await Endpoint.create(network.factory, { port: 1, secret }, true)
  t.truthy(await other.connect('127.0.0.1', 1))
  listening.destroy()
  other.destroy()
})

test('a driver that breaks ends the endpoint and rejects every wait', async (t) => {
  const { receiver, receiverDriver, remote, local } = await joinStreams(t)
  const reading = remote.chunks().next()
  const accepting = receiver.streams().next()
  receiverDriver.drain = () => {
    throw Object.assign(new Error('the worker thread panicked'), { code: 'ERR_PACELINE_INTERNAL' })
  }
  const broken = t.throwsAsync(reading, { code: 'ERR_PACELINE_INTERNAL', message: 'the worker thread panicked', name: 'EndpointError' })
  await local.writer.write('x')
  await broken
  // Who only accepts must not take it for an end.
  await t.throwsAsync(accepting, { code: 'ERR_PACELINE_INTERNAL', message: 'the worker thread panicked' })
  await t.throwsAsync(receiver.streams().next(), { code: 'ERR_PACELINE_INTERNAL' })
  await t.throwsAsync(remote.peer.closed, { code: 'ERR_PACELINE_INTERNAL' })
  await receiver.closed
  t.true(receiverDriver.closed)
})

test('destroy(error): whatever waits is rejected with it; a plain Error will do', async (t) => {
  const { receiver, remote } = await joinStreams(t)
  const waits = [receiver.streams().next(), remote.chunks().next(), remote.peer.closed]
  const why = new Error('the disk is full')
  receiver.destroy(why)
  for (const wait of waits) t.is(await t.throwsAsync<Error>(wait as Promise<unknown>), why)
  t.throws(() => remote.peer.openStream(), { code: 'ERR_PACELINE_PEER_CLOSED' })
  await t.throwsAsync(receiver.connect('127.0.0.1', 1, { secret: generateSecret() }), { code: 'ERR_PACELINE_ENDPOINT_CLOSED' })
})

test('a loop that was left takes no stream from the next one', async (t) => {
  const { peer, receiver } = await join(t)
  const left = receiver.streams()
  const waiting = left.next()
  await left.return?.()
  t.deepEqual(await waiting, { done: true, value: undefined })
  const next = receiver.streams().next()
  await turns(2)
  await peer.openStream().writer.write('x')
  t.is((await (await next).value?.chunks().next())?.value?.toString(), 'x')
})

test('no connect and no stream while it is being closed', async (t) => {
  const { local, sender, peer } = await joinStreams(t, {}, { sendBufferBytes: 64 << 10 })
  local.write(Buffer.alloc(1 << 20))
  const closing = sender.close({ deadline: 60_000 })
  t.is(await state(closing), 'pending')
  await t.throwsAsync(sender.connect('127.0.0.1', 4433, { secret: generateSecret() }), { code: 'ERR_PACELINE_ENDPOINT_CLOSED' })
  t.throws(() => peer.openStream(), { code: 'ERR_PACELINE_ENDPOINT_CLOSED' })
  await sender.close({ deadline: 0 })
  await closing
})

test('what a driver refuses is an error of the package', async (t) => {
  const { sender, senderDriver } = await join(t)
  senderDriver.connect = () => {
    throw Object.assign(new Error('no such address'), { code: 'ERR_PACELINE_OPTION' })
  }
  const error = await t.throwsAsync(sender.connect('127.0.0.1', 1, { secret: generateSecret() }), { code: 'ERR_PACELINE_OPTION' })
  t.is(error?.name, 'OptionError')
})

test('ref and unref reach the driver', async (t) => {
  const { sender, senderDriver } = await join(t)
  t.is(sender.unref(), sender)
  t.false(senderDriver.referenced)
  sender.ref()
  t.true(senderDriver.referenced)
})

test('await using: asyncDispose closes', async (t) => {
  const { sender, senderDriver } = await join(t)
  await sender[Symbol.asyncDispose]()
  t.true(senderDriver.closed)
  await sender[Symbol.asyncDispose]()
})

test('diagnostics channels tell of streams and of errors nobody listens for', async (t) => {
  const seen: string[] = []
  const onCreated = (): void => void seen.push('created')
  const onOpened = (): void => void seen.push('opened')
  const mine = new Set<Stream>()
  const onError = (message: unknown): void => {
    const { stream, error } = message as { stream: Stream; error: { code: string } }
    if (mine.has(stream)) seen.push(error.code)
  }
  subscribe('paceline:stream.error', onError)
  t.teardown(() => {
    unsubscribe('paceline:stream.error', onError)
  })
  subscribe('paceline:stream.created', onCreated)
  subscribe('paceline:stream.opened', onOpened)
  const { local, remote } = await joinStreams(t)
  unsubscribe('paceline:stream.created', onCreated)
  unsubscribe('paceline:stream.opened', onOpened)
  mine.add(remote)
  local.reset(400)
  await until(t, () => seen.includes('ERR_PACELINE_STREAM_RESET'), 'the error was published')
  t.true(seen.includes('created') && seen.includes('opened'))
})

test('streams that are over are forgotten', async (t) => {
  const { peer, receiver } = await join(t)
  void (async () => {
    for await (const stream of receiver) stream.pipe(stream)
  })()
  await turns(2)
  for (let count = 0; count < 50; count += 1) {
    const stream = peer.openStream()
    stream.end(`request ${count}`)
    t.is((await readAll(stream)).toString(), `request ${count}`)
  }
  await until(t, () => peer.streams.length === 0 && receiver.peers.every(({ streams }) => streams.length === 0), 'no stream is left')
})

test.serial('a forgotten endpoint is collected and its driver closed; a busy one stays', async (t) => {
  const network = new MemoryNetwork()
  const secret = generateSecret()
  const drivers: MemoryDriver[] = []
  const factory = (...args: Parameters<typeof network.factory>): MemoryDriver => {
    const driver = network.factory(...args)
    drivers.push(driver)
    return driver
  }
  await (async () => {
    const busy = await Endpoint.create(factory, { port: 4433, secret }, true)
    void (async () => {
      for await (const stream of busy) stream.resume()
    })()
    const forgotten = await Endpoint.create(factory, { secret }, false)
    const peer = await forgotten.connect('127.0.0.1', 4433)
    const stream = peer.openStream()
    await stream.writer.write('x')
    await stream.close()
  })()
  const [busy, forgotten] = drivers
  t.true(await collectUntil(() => forgotten?.closed === true))
  t.false(busy?.closed)
})

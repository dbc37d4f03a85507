import { once } from 'node:events'
import test from 'ava'
import { AbortError, Endpoint, generateSecret, PacelineError } from '../../packages/paceline/src/index.js'
import { closed, join, joinStreams, listenerCount, readAll, state, turns } from '../support/endpoints.js'
import { MemoryNetwork } from '../support/memory-driver.js'

const KiB = 1024
const reason = Object.assign(new Error('enough'), { errorCode: 999 })
const abortion = { instanceOf: AbortError, name: 'AbortError', code: 'ABORT_ERR' } as const

test('write: a chunk that waits whole is taken back, and the stream goes on', async (t) => {
  const { local, remote } = await joinStreams(t, { window: 64 * KiB }, { sendBufferBytes: 64 * KiB })
  const filler = Buffer.alloc(128 * KiB - 1, 'f')
  await local.writer.write(filler)
  const { signal } = new AbortController()
  const controller = new AbortController()
  const aborted = local.writer.write(Buffer.alloc(10_000, 'x'), { signal: controller.signal })
  const kept = local.writer.write(Buffer.alloc(10_000, 'k'), { signal })
  t.is(await state(aborted), 'pending')
  controller.abort(reason)
  const error = await t.throwsAsync(aborted, abortion)
  t.is(error?.cause, reason)
  t.is((error as PacelineError).errorCode, 999)
  t.false(local.destroyed)
  const [got] = await Promise.all([readAll(remote), kept.then(() => local.writer.end())])
  t.is(got.length, filler.length + 10_000)
  t.false(got.includes('x'))
})

test('write: a chunk of which a part has gone resets the stream with the code of the reason', async (t) => {
  const { local, remote } = await joinStreams(t, { window: 64 * KiB }, { sendBufferBytes: 64 * KiB })
  const failed = once(remote, 'error') as Promise<[Error]>
  const controller = new AbortController()
  const writing = local.writer.write(Buffer.alloc(1 << 20), { signal: controller.signal })
  t.is(await state(writing), 'pending')
  controller.abort(reason)
  await t.throwsAsync(writing, abortion)
  t.like((await failed)[0], { errorCode: 999 })
  t.true(local.destroyed)
})

test('write: a signal that was aborted before hands nothing over', async (t) => {
  const { local } = await joinStreams(t)
  const { bytesWritten } = local.stats()
  await t.throwsAsync(local.writer.write('x', { signal: AbortSignal.abort(reason) }), abortion)
  t.is(local.stats().bytesWritten, bytesWritten)
  t.false(local.destroyed)
})

test('end: aborted behind a write that waits, the stream is reset', async (t) => {
  const { local, remote } = await joinStreams(t, { window: 64 * KiB }, { sendBufferBytes: 64 * KiB })
  const failed = once(remote, 'error') as Promise<[Error]>
  const writing = local.writer.write(Buffer.alloc(1 << 20))
  const controller = new AbortController()
  const ending = local.writer.end({ signal: controller.signal })
  t.is(await state(ending), 'pending')
  controller.abort(reason)
  await t.throwsAsync(ending, abortion)
  await t.throwsAsync(writing, abortion)
  t.like((await failed)[0], { errorCode: 999 })
})

test('flush: only the waiting ends', async (t) => {
  const { local, remote } = await joinStreams(t)
  await local.writer.write(Buffer.alloc(1 << 20))
  const controller = new AbortController()
  const flushing = local.flush({ signal: controller.signal })
  t.is(await state(flushing), 'pending')
  controller.abort()
  await t.throwsAsync(flushing, abortion)
  local.end()
  t.is((await readAll(remote)).length, 1 << 20)
  await local.flush()
})

test('close: the stream is reset', async (t) => {
  const { local, remote } = await joinStreams(t)
  const failed = once(remote, 'error') as Promise<[Error]>
  await local.writer.write(Buffer.alloc(1 << 20))
  const controller = new AbortController()
  const closing = local.close({ signal: controller.signal })
  t.is(await state(closing), 'pending')
  controller.abort(reason)
  await t.throwsAsync(closing, abortion)
  t.like((await failed)[0], { errorCode: 999 })
})

test('chunks: only the waiting ends, in both lanes, and no byte is lost', async (t) => {
  const { local, remote } = await joinStreams(t)
  for (const lane of ['fast', 'stock']) {
    const controller = new AbortController()
    const next = remote.chunks({ signal: controller.signal }).next()
    t.is(await state(next), 'pending', lane)
    controller.abort(reason)
    await t.throwsAsync(next, abortion)
    await local.writer.write(lane)
    const { value } = await remote.chunks().next()
    t.is(value?.toString(), lane)
    remote.read(0)
  }
  t.is(remote.listenerCount('readable'), 0)
})

test('openStream: the signal lives as long as the stream', async (t) => {
  const { peer } = await join(t)
  t.throws(() => peer.openStream({ signal: AbortSignal.abort(reason) }), abortion)
  const controller = new AbortController()
  const { local, remote } = await joinStreams(t, {}, {}, { signal: controller.signal })
  const failed = once(remote, 'error') as Promise<[Error]>
  const reading = local.chunks().next()
  controller.abort(reason)
  await t.throwsAsync(reading, abortion)
  await t.throwsAsync(local.writer.write('x'), abortion)
  t.like((await failed)[0], { errorCode: 999 })
  await closed(local)
})

test('connect: aborted during the handshake; timeouts work', async (t) => {
  const network = new MemoryNetwork()
  const secret = generateSecret()
  const sender = await Endpoint.create(network.factory, {}, false)
  t.teardown(() => sender.destroy())
  await t.throwsAsync(sender.connect('127.0.0.1', 4433, { secret, signal: AbortSignal.timeout(20) }), abortion)
  await t.throwsAsync(sender.connect('127.0.0.1', 4433, { secret, signal: AbortSignal.abort() }), abortion)
  await t.throwsAsync(sender.connect('127.0.0.1', 4433, { secret, handshakeTimeout: 20 }), {
    code: 'ERR_PACELINE_HANDSHAKE_TIMEOUT',
    message: /127\.0\.0\.1:4433/,
  })
})

test('accepting: aborted while waiting, streams are let in no more', async (t) => {
  const { receiver, receiverDriver } = await join(t)
  const controller = new AbortController()
  const next = receiver.streams({ signal: controller.signal }).next()
  await turns(2)
  t.is(receiverDriver.acceptLimit, 1024)
  controller.abort()
  await t.throwsAsync(next, abortion)
  await turns(2)
  t.is(receiverDriver.acceptLimit, 0)
})

test('writer.fail resets, with 256 if the reason has no code', async (t) => {
  const { local, remote } = await joinStreams(t)
  const failed = once(remote, 'error') as Promise<[Error]>
  local.writer.fail('no reason')
  t.like((await failed)[0], { errorCode: 256 })
  t.is(local.writer.desiredSize, null)
  await t.throwsAsync(local.writer.write('x'), { code: 'ERR_PACELINE_STREAM_ABORTED' })
})

test('signals are let go: no listener is left on a signal that lives long', async (t) => {
  const { local, remote } = await joinStreams(t)
  const controller = new AbortController()
  const { signal } = controller
  const listeners = listenerCount(signal)
  const reading = (async () => {
    for await (const chunk of remote.chunks({ signal })) t.true(chunk.length > 0)
  })()
  for (let count = 0; count < 10; count += 1) {
    await local.writer.write(Buffer.alloc(600 * KiB), { signal })
    await local.flush({ signal })
  }
  await local.writer.end({ signal })
  await reading
  await local.close({ signal })
  t.is(listeners(), 0)
})

test('one signal for everything is one listener', async (t) => {
  const { local, remote, peer } = await joinStreams(t, { window: 64 * KiB }, { sendBufferBytes: 64 * KiB })
  const controller = new AbortController()
  const { signal } = controller
  let added = 0
  const add = signal.addEventListener.bind(signal)
  signal.addEventListener = (...args: Parameters<typeof add>) => ((added += 1), add(...args))
  const waits: Promise<unknown>[] = [local.writer.write(Buffer.alloc(1 << 20), { signal }), remote.chunks({ signal }).next()]
  for (let count = 0; count < 20; count += 1) waits.push(local.flush({ signal }))
  const stream = peer.openStream({ signal })
  await waits[1]
  controller.abort(reason)
  for (const [index, wait] of waits.entries()) if (index !== 1) await t.throwsAsync(wait, abortion)
  t.true(stream.destroyed)
  t.is(added, 1)
})

import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import { PassThrough } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import test from 'ava'
import { FailureNumber } from '../../packages/paceline/src/driver.js'
import type { Stream } from '../../packages/paceline/src/index.js'
import { closed, join, joinSockets, joinStreams, pattern, readAll, state, turns, until } from '../support/endpoints.js'

const KiB = 1024

test('close() resolves when everything is acknowledged, and lets the stream go on both sides', async (t) => {
  const { local, remote } = await joinStreams(t)
  const reading = readAll(remote)
  await local.writer.write(Buffer.alloc(500_000))
  t.deepEqual(await local.close(), { acknowledged: 500_001, undelivered: 0 })
  t.is((await reading).length, 500_000)
  await Promise.all([closed(local), closed(remote)])
  t.is(remote.errored, null)
})

test('over sockets: a complete close() is no error for whoever listens, also if the peer never ends its half', async (t) => {
  const { peer } = await joinSockets(t, (stream) => void (stream as Stream).resume())
  const stream = peer.openStream()
  const errors: unknown[] = []
  stream.on('error', (error) => errors.push(error))
  const told: unknown[] = []
  const channel = (message: unknown): void => void told.push(message)
  subscribe('paceline:stream.error', channel)
  t.teardown(() => unsubscribe('paceline:stream.error', channel))
  await stream.writer.write(Buffer.alloc(1_000_000))
  t.deepEqual(await stream.close(), { acknowledged: 1_000_000, undelivered: 0 })
  await closed(stream)
  t.deepEqual(errors, [])
  t.deepEqual(told.filter((message) => (message as { stream: Stream }).stream === stream), [])
})

test('close() of a stream that carried nothing', async (t) => {
  const { receiver, peer } = await join(t)
  const accepted = receiver.streams().next()
  await turns(2)
  const stream = peer.openStream()
  t.deepEqual(await stream.close(), { acknowledged: 0, undelivered: 0 })
  const remote = (await accepted).value
  t.is((await remote?.chunks().next())?.done, true)
})

test('at the deadline the rest is reset and reported', async (t) => {
  const { local, remote } = await joinStreams(t, { window: 64 * KiB }, { sendBufferBytes: 64 * KiB })
  const failed = once(remote, 'error') as Promise<[Error]>
  const writing = local.writer.write(Buffer.alloc(500_000))
  const waiting = t.throwsAsync(writing, { code: 'ERR_PACELINE_STREAM_ABORTED' })
  local.write(Buffer.alloc(1000))
  local.write(Buffer.alloc(2000))
  const begin = performance.now()
  const result = await local.close({ deadline: 50 })
  const took = performance.now() - begin
  t.true(took >= 45 && took < 1000, `${took} ms`)
  t.is(result.acknowledged, 64 * KiB + 1)
  t.is(result.acknowledged + result.undelivered, 1 + 500_000 + 3000)
  await waiting
  t.like((await failed)[0], { errorCode: 256 })
})

test('a dead network: the deadline holds, nothing hangs, everything is undelivered', async (t) => {
  const { local, network } = await joinStreams(t)
  await local.flush()
  network.blackHole = true
  await local.writer.write(Buffer.alloc(10_000))
  t.deepEqual(await local.close({ deadline: 20 }), { acknowledged: 1, undelivered: 10_000 })
  t.true(network.swallowed > 0)
  await closed(local)
})

test('close() of a stream that has failed reports instead of throwing', async (t) => {
  const { local, senderDriver, network } = await joinStreams(t)
  await local.flush()
  network.blackHole = true
  await local.writer.write(Buffer.alloc(10_000))
  const closing = local.close()
  t.is(await state(closing), 'pending')
  senderDriver.failStream(local.id, FailureNumber.IdleTimeout)
  t.deepEqual(await closing, { acknowledged: 1, undelivered: 10_000 })
  t.deepEqual(await local.close(), { acknowledged: 1, undelivered: 10_000 })
  await t.throwsAsync(local.flush(), { code: 'ERR_PACELINE_IDLE_TIMEOUT' })
})

test('a rejected key: what was thought acknowledged is undelivered', async (t) => {
  const { local, senderDriver } = await joinStreams(t)
  await local.writer.write(Buffer.alloc(1000))
  await local.flush()
  senderDriver.failStream(local.id, FailureNumber.KeyRejected)
  t.deepEqual(await local.close(), { acknowledged: 0, undelivered: 1001 })
})

test('flush() resolves when what was written so far is acknowledged, in any order of waits', async (t) => {
  const { local, remote } = await joinStreams(t, { window: 64 * KiB }, { sendBufferBytes: 64 * KiB })
  await local.flush()
  t.is(local.stats().bytesAcknowledged, 1)
  const order: string[] = []
  const waits: Promise<unknown>[] = [
    local.writer.write(pattern(100_000)).then(() => order.push('written')),
    local.flush().then(() => order.push('first')),
  ]
  local.write(Buffer.alloc(50_000))
  waits.push(local.flush().then(() => order.push('second')))
  local.end('end')
  waits.push(local.flush().then(() => order.push('third')))
  t.is(await state(Promise.all(waits)), 'pending')
  const got = await readAll(remote)
  await Promise.all(waits)
  t.is(got.length, 150_003)
  t.deepEqual(order, ['written', 'first', 'second', 'third'])
  t.is(local.stats().bytesAcknowledged, 150_004)
})

test('a stream that fails after the last byte has come can still be read', async (t) => {
  const { local, remote, receiverDriver } = await joinStreams(t)
  await local.writer.write('complete')
  await local.writer.end()
  await until(t, () => remote.stats().bytesReceived === 9, 'everything has come')
  await turns(3)
  const ownWrite = remote.writer.write('lost')
  receiverDriver.failStream(remote.id, FailureNumber.IdleTimeout)
  await turns(3)
  await ownWrite
  await t.throwsAsync(remote.writer.write('x'), { code: 'ERR_PACELINE_IDLE_TIMEOUT' })
  t.is((await readAll(remote)).toString(), 'complete')
  await closed(remote)
  t.like(remote.errored, { code: 'ERR_PACELINE_IDLE_TIMEOUT' })
})

test('a stream that fails before the last byte has come is an error for its reader', async (t) => {
  const { local, remote, receiverDriver } = await joinStreams(t)
  await local.writer.write('part')
  await until(t, () => remote.stats().bytesReceived === 5, 'a part has come')
  receiverDriver.failStream(remote.id, FailureNumber.IdleTimeout)
  await turns(3)
  await t.throwsAsync(readAll(remote), { code: 'ERR_PACELINE_IDLE_TIMEOUT' })
})

test('destroying with bytes unread never looks like an end', async (t) => {
  const { local, remote } = await joinStreams(t)
  await local.writer.write('unread')
  await local.writer.end()
  await until(t, () => remote.stats().bytesReceived === 7, 'everything has come')
  await turns(3)
  remote.destroy()
  await t.throwsAsync(readAll(remote), { code: 'ERR_PACELINE_STREAM_CLOSED' })
})

test('the peer closes while something of ours is missing there: an error', async (t) => {
  const { local, remote, receiverDriver, network } = await joinStreams(t)
  await local.writer.end()
  await readAll(remote)
  network.blackHole = true
  await remote.writer.write('will not come')
  receiverDriver.failStream(remote.id, FailureNumber.PeerReset, 0)
  await closed(remote)
  t.like(remote.errored, { code: 'ERR_PACELINE_STREAM_RESET', errorCode: 0 })
  t.deepEqual(await remote.close(), { acknowledged: 0, undelivered: 13 })
})

test('after the peer has closed: writes fail, the end does not', async (t) => {
  const { local, remote } = await joinStreams(t)
  await local.close()
  await turns(10)
  await t.throwsAsync(remote.writer.write('x'), { code: 'ERR_PACELINE_STREAM_CLOSED', message: 'the peer has closed the stream' })
  await readAll(remote)
  await closed(remote)
  t.deepEqual(await remote.close(), { acknowledged: 0, undelivered: 0 })
})

test('stopReading() drops what comes and lets the sending half go on', async (t) => {
  const { local, remote, receiverDriver } = await joinStreams(t)
  remote.stopReading()
  await t.throwsAsync(remote.chunks().next(), { code: 'ERR_PACELINE_STREAM_CLOSED' })
  await local.writer.write(Buffer.alloc(1 << 20))
  await local.flush()
  t.is(remote.stats().bytesRead, 1)
  t.true(receiverDriver.maxUnconsumed <= 256 * KiB)
  await remote.writer.write('still here')
  t.is((await local.chunks().next()).value?.toString(), 'still here')
})

test('await using: asyncDispose closes', async (t) => {
  const { local, remote } = await joinStreams(t)
  const reading = readAll(remote)
  await local.writer.write('x')
  await local[Symbol.asyncDispose]()
  t.is((await reading).toString(), 'x')
  await local[Symbol.asyncDispose]()
})

test('closing while somebody reads: an error for the reader, never an end that looks like all', async (t) => {
  for (const lane of ['iterator', 'pipeline'] as const) {
    const { local, remote } = await joinStreams(t)
    const reading: Promise<unknown> = lane === 'iterator' ? readAll(remote) : pipeline(remote, new PassThrough().resume())
    await local.writer.write('not all')
    t.is(await state(reading), 'pending')
    const expected = t.throwsAsync(reading, { code: 'ERR_PACELINE_STREAM_CLOSED' }, lane)
    t.deepEqual(await remote.close(), { acknowledged: 0, undelivered: 0 })
    await expected
    await Promise.all([closed(remote), closed(local)])
  }
})

test('a driver that only says Closed, without a failure, leaves no stream hanging', async (t) => {
  const { local, remote, receiverDriver } = await joinStreams(t)
  await local.writer.end()
  await until(t, () => local.stats().bytesWritten === 1, 'the byte has gone')
  await turns(3)
  receiverDriver.closeStream(remote.id)
  await turns(3)
  t.is((await readAll(remote)).length, 0)
  await closed(remote)
  t.is(remote.errored, null)
})

import test from 'ava'
import { SendBudget, type Spender } from '../../packages/paceline/src/budget.js'
import { join, joinStreams, pattern, readAll, state, turns, until } from '../support/endpoints.js'

const KiB = 1024

test('a write waits when the send buffer is full, and the driver never holds more', async (t) => {
  const sendBufferBytes = 256 * KiB
  const { local, remote, senderDriver } = await joinStreams(t, { window: 64 * KiB }, { sendBufferBytes })
  let done = 0
  const total = 4 << 20
  const bytes = pattern(total)
  const writing = (async () => {
    for (let at = 0; at < total; at += 32 * KiB) {
      await local.writer.write(bytes.subarray(at, at + 32 * KiB))
      done += 32 * KiB
    }
    await local.writer.end()
  })()
  await turns(20)
  // Nobody reads: what is done fits into window and send buffer, and nothing moves.
  t.true(done >= sendBufferBytes / 2 && done <= 64 * KiB + sendBufferBytes, `${done} done`)
  t.is(await state(writing), 'pending')
  const got = await readAll(remote)
  await writing
  t.true(got.equals(bytes))
  t.true(senderDriver.maxUnsealed <= sendBufferBytes, `${senderDriver.maxUnsealed} unsealed`)
})

test('a chunk larger than the send buffer goes in parts', async (t) => {
  const { local, remote, senderDriver } = await joinStreams(t, { window: 64 * KiB }, { sendBufferBytes: 64 * KiB })
  const bytes = pattern(1_000_003)
  const [got] = await Promise.all([readAll(remote), local.writer.write(bytes).then(() => local.writer.end())])
  t.true(got.equals(bytes))
  t.true(senderDriver.maxUnsealed <= 64 * KiB)
})

test('a waiting write costs nothing while there is room: one shared promise', async (t) => {
  const { local } = await joinStreams(t)
  const first = local.writer.write('a')
  t.is(local.writer.write('b'), first)
  const before = local.writer.desiredSize ?? 0
  await local.writer.write(Buffer.alloc(1000))
  t.is(local.writer.desiredSize, before - 1000)
})

for (const lane of ['nobody', 'iterator', 'paused', 'readable'] as const) {
  test(`a reader that does not read closes the window (${lane})`, async (t) => {
    const window = 128 * KiB
    const { local, remote, receiverDriver } = await joinStreams(t, { window }, { sendBufferBytes: 64 * KiB })
    if (lane === 'iterator') {
      const chunks = remote.chunks()
      void local.writer.write(Buffer.alloc(1))
      await chunks.next()
    } else if (lane === 'paused') {
      remote.on('data', () => undefined)
      remote.pause()
    } else if (lane === 'readable') {
      remote.on('readable', () => undefined)
    }
    const writing = local.writer.write(Buffer.alloc(2 << 20))
    await turns(60)
    t.is(await state(writing), 'pending')
    t.true(receiverDriver.maxUnconsumed <= window, `${receiverDriver.maxUnconsumed} unconsumed`)
    // What the Readable has taken is bounded by its high-water mark and one chunk.
    const { bytesReceived } = remote.stats()
    t.true(bytesReceived <= window + remote.readableHighWaterMark + 256 * KiB, `${bytesReceived} received`)
    t.true(remote.readableLength <= remote.readableHighWaterMark + 64 * KiB, `${remote.readableLength} in the Readable`)
    remote.removeAllListeners('readable')
    remote.resume()
    await writing
  })
}

test('a small chunk kept unread does not pin its slab', async (t) => {
  const { peer, receiver, local, remote } = await joinStreams(t)
  const accepted = receiver.streams().next()
  const slow = peer.openStream()
  await slow.writer.write('kept')
  const slowRemote = (await accepted).value
  if (slowRemote === undefined) throw new Error('no stream came')
  await until(t, () => slowRemote.stats().bytesReceived === 4, 'the small chunk has come')
  // Enough through the same slab that it is replaced.
  const [, got] = await Promise.all([local.writer.write(Buffer.alloc(1 << 20)).then(() => local.writer.end()), readAll(remote)])
  t.is(got.length, 1 << 20)
  const { value } = await slowRemote.chunks().next()
  t.is(value?.toString(), 'kept')
  t.is(value?.buffer.byteLength, 4)
})

test('all streams together stay within the budget of the endpoint, and all get on', async (t) => {
  const endpointSendBufferBytes = 256 * KiB
  const { peer, receiver, senderDriver } = await join(t, { window: 64 * KiB }, { endpointSendBufferBytes })
  const bytes = pattern(200_000)
  const received: Buffer[] = []
  const receiving = (async () => {
    const reads: Promise<unknown>[] = []
    for await (const stream of receiver) {
      reads.push(readAll(stream).then((got) => received.push(got)))
      if (reads.length === 20) break
    }
    await Promise.all(reads)
  })()
  await turns(2)
  await Promise.all(
    Array.from({ length: 20 }, async () => {
      const stream = peer.openStream()
      await stream.writer.write(bytes)
      await stream.writer.end()
      await stream.flush()
    }),
  )
  await receiving
  t.is(received.length, 20)
  for (const got of received) t.true(got.equals(bytes))
  t.true(senderDriver.maxUnsealedInAll <= endpointSendBufferBytes, `${senderDriver.maxUnsealedInAll} unsealed`)
})

test('streams that are stuck leave room for others', async (t) => {
  const { peer, receiver, senderDriver } = await join(t, { window: 64 * KiB }, { endpointSendBufferBytes: 512 * KiB, sendBufferBytes: 512 * KiB })
  const streams = receiver.streams()
  const first = streams.next()
  await turns(2)
  const stuck = Array.from({ length: 10 }, () => peer.openStream())
  const waiting = stuck.map((stream) => stream.writer.write(Buffer.alloc(1 << 20)))
  for (const wait of waiting) wait.catch(() => undefined)
  await first
  await turns(20)
  for (const wait of waiting) t.is(await state(wait), 'pending')
  for (let count = 1; count < 10; count += 1) await streams.next()
  const free = peer.openStream()
  const accepted = streams.next()
  await free.writer.write('through')
  const stream = (await accepted).value
  t.is((await stream?.chunks().next())?.value?.toString(), 'through')
  t.true(senderDriver.maxUnsealedInAll <= 512 * KiB)
})

test('the budget asks everybody before it lets somebody starve', (t) => {
  const budget = new SendBudget(100)
  const asked: string[] = []
  class Holder implements Spender {
    unsealed = 0
    retries = 0
    constructor(readonly name: string) {}
    retry(): void {
      this.retries += 1
    }
    refresh(): void {
      asked.push(this.name)
    }
    take(bytes: number): void {
      budget.take(this, bytes)
      this.unsealed += bytes
    }
    release(bytes: number): void {
      this.unsealed -= bytes
      budget.release(this, bytes)
    }
  }
  const [a, b, c] = [new Holder('a'), new Holder('b'), new Holder('c')]
  t.is(budget.room(0), 50)
  a.take(50)
  t.is(budget.room(50), 0)
  b.take(25)
  b.take(25)
  t.is(budget.room(0), 0)
  budget.starve(c)
  budget.starve(c)
  t.deepEqual(asked, ['a', 'b'])
  t.is(c.retries, 0)
  a.release(10)
  t.is(c.retries, 1)
  t.is(budget.used, 90)
  a.release(40)
  budget.starve(c)
  t.deepEqual(asked, ['a', 'b', 'b'])
})

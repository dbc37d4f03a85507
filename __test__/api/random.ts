import { pipeline } from 'node:stream/promises'
import { Readable } from 'node:stream'
import test from 'ava'
import { FailureNumber } from '../../packages/paceline/src/driver.js'
import { AbortError, PacelineError, type Stream } from '../../packages/paceline/src/index.js'
import { join, pattern, turns } from '../support/endpoints.js'

/** xorshift32: the same seed makes the same choices. */
function random(seed: number): (below: number) => number {
  let state = seed * 2_654_435_761 || 1
  return (below) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % below
  }
}

const BYTES = pattern(400_000)
const STREAMS = 24

/** Every way to write, and every way to end, by chance. What is counted: bytes promised as acknowledged. */
async function write(stream: Stream, choose: (below: number) => number): Promise<number> {
  const controller = new AbortController()
  let at = 0
  const next = (): Buffer => {
    const size = choose(10) === 0 ? choose(150_000) : choose(5_000)
    const chunk = BYTES.subarray(at, Math.min(BYTES.length, at + size))
    at += chunk.length
    return chunk
  }
  for (let count = choose(30); count > 0; count -= 1) {
    switch (choose(7)) {
      case 0:
        stream.write(next())
        break
      case 1:
        await stream.writer.writev([next(), next()])
        break
      case 2:
        await stream.flush()
        break
      case 3:
        await turns(choose(3))
        break
      case 4:
        await stream.writer.write(next(), { signal: controller.signal })
        break
      default:
        await stream.writer.write(next())
    }
  }
  switch (choose(7)) {
    case 0:
      stream.reset(256 + choose(10))
      return 0
    case 1:
      stream.destroy()
      return 0
    case 2: {
      const writing = stream.writer.write(next(), { signal: controller.signal })
      controller.abort()
      await writing
      break
    }
    case 3:
      await pipeline(Readable.from([next(), next()]), stream)
      break
    case 4:
      return (await stream.close({ deadline: choose(30) })).acknowledged
    default:
      stream.end(next())
  }
  await stream.flush()
  return at
}

async function read(stream: Stream, choose: (below: number) => number): Promise<number> {
  let at = 0
  const check = (chunk: Buffer): void => {
    if (!chunk.equals(BYTES.subarray(at, at + chunk.length))) throw new Error(`wrong bytes at ${at}`)
    at += chunk.length
  }
  const way = choose(6)
  if (way === 0) stream.reset()
  else if (way === 1) stream.stopReading()
  else if (way === 2) {
    stream.on('data', check)
    stream.on('error', () => undefined)
    // It may have been reset before anybody saw it.
    if (!stream.closed) await new Promise<void>((resolve) => stream.once('end', resolve).once('close', resolve))
  } else {
    for await (const chunk of stream) {
      check(chunk)
      if (choose(20) === 0) await turns(1)
    }
  }
  if (choose(3) > 0) stream.end()
  else await stream.close({ deadline: 100 })
  return at
}

/** Errors of this package and Node's own about streams that are over are what is expected; anything else is a fault. */
function expected(error: unknown): boolean {
  return (
    error instanceof PacelineError ||
    error instanceof AbortError ||
    ['ERR_STREAM_DESTROYED', 'ERR_STREAM_UNABLE_TO_PIPE', 'ERR_STREAM_PREMATURE_CLOSE', 'ERR_STREAM_WRITE_AFTER_END'].includes((error as { code?: string }).code ?? '')
  )
}

for (let seed = 1; seed <= 30; seed += 1) {
  test(`seed ${seed}: everything settles, no byte is wrong, no bound is passed`, async (t) => {
    const choose = random(seed)
    const { sender, receiver, peer, senderDriver, receiverDriver } = await join(
      t,
      { window: 32_768 << choose(3), delay: choose(3) === 0 ? 1 : 0 },
      { sendBufferBytes: 65_536 << choose(3), endpointSendBufferBytes: 65_536 << choose(6) },
    )
    const reading: Promise<number>[] = []
    const faults: unknown[] = []
    const settle = (wait: Promise<number>): Promise<number> =>
      wait.catch((error: unknown) => {
        if (!expected(error)) faults.push(error)
        return -1
      })
    const accepting = (async () => {
      for await (const stream of receiver) reading.push(settle(read(stream, choose)))
    })()
    await turns(2)
    const local: Stream[] = []
    const writing = Array.from({ length: STREAMS }, async () => {
      await turns(choose(20))
      const stream = peer.openStream()
      local.push(stream)
      if (choose(2) === 0) stream.resume()
      const way = choose(12)
      if (way === 0) setTimeout(() => senderDriver.failStream(stream.id, FailureNumber.IdleTimeout), choose(20))
      if (way === 1) setTimeout(() => receiverDriver.failStream(2 + 2 * choose(STREAMS), FailureNumber.Protocol, 1), choose(20))
      return write(stream, choose)
    })
    const acknowledged = await Promise.all(writing.map(settle))
    const result = await sender.close({ deadline: 200 })
    t.true(result.acknowledged >= 0 && result.undelivered >= 0)
    await receiver.close({ deadline: 200 })
    await accepting
    await Promise.all(reading)
    t.deepEqual(faults, [])
    t.true(acknowledged.some((bytes) => bytes > 0), 'somebody got through')
    for (const stream of local) {
      const { bytesAcknowledged, bytesWritten } = stream.stats()
      t.true(bytesAcknowledged <= bytesWritten)
    }
    t.true(senderDriver.maxUnsealed <= senderDriver.settings.sendBufferBytes)
    t.true(senderDriver.maxUnsealedInAll <= senderDriver.settings.endpointSendBufferBytes)
    t.true(receiverDriver.maxUnconsumed <= 32_768 << 2)
  })
}

import test from 'ava'
import { Event } from '../../packages/paceline/src/driver.js'
import { EventPump, SLAB_BYTES, type EventSink } from '../../packages/paceline/src/events.js'

type Drain = (events: Float64Array, slab: Uint8Array, offset: number) => number

/** Calls of the sink as arrays; a method can be replaced. */
function sink(calls: unknown[][], replaced: Partial<EventSink> = {}): EventSink {
  return new Proxy(replaced as EventSink, {
    get: (target, name: keyof EventSink) =>
      target[name] ??
      ((...args: unknown[]) => {
        calls.push([name, ...args.map((arg) => (arg instanceof Float64Array ? [...arg] : Buffer.isBuffer(arg) ? arg.toString() : arg))])
      }),
  })
}

function batches(...list: (number[] | Drain)[]): { drain: Drain; drains: () => number } {
  let drains = 0
  return {
    drain: (events, slab, offset) => {
      const batch = list[drains]
      drains += 1
      if (batch === undefined) return 0
      if (typeof batch === 'function') return batch(events, slab, offset)
      events.set(batch)
      return batch.length
    },
    drains: () => drains,
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

test('every event reaches its method with its numbers', (t) => {
  const calls: unknown[][] = []
  const driver = batches((events, slab, offset) => {
    slab.set(Buffer.from('hello'), offset)
    const news = [
      [Event.PeerOpen, 4, 2, 1],
      [Event.PeerClosed, 5, 2, 5, 0],
      [Event.StreamAccepted, 4, 4, 2],
      [Event.Data, 5, 4, offset, 5],
      [Event.End, 3, 4],
      [Event.Progress, 6, 1, 100, 50, 1],
      [Event.Failed, 5, 1, 6, 300],
      [Event.Closed, 6, 1, 9, 2, 77],
      [Event.Completion, 11, 1, 0, 1.5, 2.5, 0, 7, 0, 1408, 8],
      [Event.Skipped, 4, 1, 3],
      [Event.Drained, 2],
      [99, 4, 1, 1],
      [Event.End, 3, 6],
    ].flat()
    events.set(news)
    return news.length
  })
  new EventPump(driver, sink(calls)).wake()
  t.deepEqual(calls, [
    ['peerOpen', 2, true],
    ['peerClosed', 2, 5, 0],
    ['streamAccepted', 4, 2],
    ['data', 4, 'hello'],
    ['end', 4],
    ['progress', 1, 100, 50, true],
    ['failed', 1, 6, 300],
    ['streamClosed', 1, 9, 2, 77],
    ['completion', 1, [0, 1.5, 2.5, 0, 7, 0, 1408, 8]],
    ['skipped', 1, 3],
    ['drained'],
    ['end', 6],
  ])
})

test('the driver is drained once per turn of the event loop, until it has nothing', async (t) => {
  const calls: unknown[][] = []
  const driver = batches([Event.End, 3, 1], [Event.End, 3, 3])
  const pump = new EventPump(driver, sink(calls))
  pump.wake()
  pump.wake()
  t.is(driver.drains(), 1)
  await turn()
  t.is(driver.drains(), 2)
  await turn()
  t.is(driver.drains(), 3)
  await turn()
  await turn()
  t.is(driver.drains(), 3)
  t.deepEqual(calls, [['end', 1], ['end', 3]])
  pump.wake()
  t.is(driver.drains(), 4)
})

test('a listener that throws costs no event and no drain', async (t) => {
  const ended: number[] = []
  const driver = batches([Event.End, 3, 1, Event.End, 3, 3, Event.End, 3, 5], [Event.End, 3, 7])
  const pump = new EventPump(
    driver,
    sink([], {
      end: (id) => {
        ended.push(id)
        if (id === 1) throw new Error('from a listener')
      },
    }),
  )
  t.throws(() => pump.wake(), { message: 'from a listener' })
  t.deepEqual(ended, [1])
  await turn()
  t.deepEqual(ended, [1, 3, 5])
  t.is(driver.drains(), 1)
  await turn()
  t.deepEqual(ended, [1, 3, 5, 7])
})

test('a record without length is refused once instead of read for ever', async (t) => {
  const driver = batches([Event.End, 0, 1])
  const faults: unknown[] = []
  const pump = new EventPump(driver, sink([], { broken: (error) => faults.push(error) }))
  pump.wake()
  t.true(faults[0] instanceof RangeError)
  await turn()
  t.is(faults.length, 1)
})

test('received bytes stay what they are when the slab is replaced', async (t) => {
  const chunks: Buffer[] = []
  const retired: Buffer[] = []
  let value = 0
  const fill: Drain = (events, slab, offset) => {
    const size = Math.min(100_000, slab.length - offset)
    slab.fill((value += 1), offset, offset + size)
    events.set([Event.Data, 5, 1, offset, size])
    return 5
  }
  const driver = batches(fill, fill, fill, fill, fill)
  const pump = new EventPump(driver, sink([], { data: (_id, chunk) => chunks.push(chunk), slabRetired: (slab) => retired.push(slab) }))
  pump.wake()
  for (let count = 0; count < 8; count += 1) await turn()
  t.is(chunks.length, 5)
  for (const [index, chunk] of chunks.entries()) t.true(chunk.every((byte) => byte === index + 1))
  t.is(retired.length, 1)
  t.is(retired[0]?.length, SLAB_BYTES)
})

test('nothing is delivered after close()', async (t) => {
  const calls: unknown[][] = []
  const driver = batches([Event.End, 3, 1], [Event.End, 3, 3])
  const pump = new EventPump(driver, sink(calls))
  pump.wake()
  pump.close()
  await turn()
  pump.wake()
  t.deepEqual(calls, [['end', 1]])
})

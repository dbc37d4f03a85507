// R12 and check 4: what remains after so many streams. Each carries a request and a reply of 1 KiB.
import { Faults, MiB, NOTHING_ALIVE, growth, nativeLiveness, numbers, pair, pinned, report, settle, sleep, sockets, threads, until } from './common.mjs'

pinned()
const { streams, warm, windows, maxHeap, maxSlope, at } = numbers({
  streams: 10_000,
  /** Streams before the first sample: what V8 compiles and the addon keeps. */
  warm: 1_000,
  windows: 10,
  /** Bytes that may remain after the last one. */
  maxHeap: MiB,
  /** Bytes by which resident memory, and what V8 knows of it, may grow from the middle to the end. */
  maxSlope: 2 * MiB,
  at: 64,
})
const faults = new Faults()
const before = { sockets: sockets(), threads: threads() }
// What is over is remembered for as long as the idle timeout: short, so that it is not what is measured.
const options = { idleTimeout: 1_000 }
const { sender, receiver, peer, accepted } = await pair(options, options)
const bytes = Buffer.alloc(1024, 'x')
void (async () => {
  for await (const stream of accepted) {
    void (async () => {
      let got = 0
      for await (const chunk of stream) got += chunk.length
      stream.end(Buffer.alloc(got, 'y'))
    })()
  }
})()

async function one() {
  const stream = peer.openStream()
  stream.end(bytes)
  let got = 0
  for await (const chunk of stream) got += chunk.length
  faults.expect(got === bytes.length, `expected a reply of ${bytes.length} bytes, got ${got}`)
}

async function many(count) {
  let left = count
  await Promise.all(
    Array.from({ length: Math.min(at, count) }, async () => {
      while (left-- > 0) await one()
    }),
  )
}

async function sample(done) {
  await until(() => sender.stats().streams === 0 && receiver.stats().streams === 0)
  await sleep(1_200)
  await settle()
  const { heapUsed, external, rss } = process.memoryUsage()
  const live = nativeLiveness()
  return { done, heapUsed, external, rss, lent: live.lentDescriptors, poolBytes: live.poolBytes, streams: sender.stats().streams + receiver.stats().streams, threads: threads(), sockets: sockets() }
}

await many(warm)
const samples = [await sample(0)]
const begin = performance.now()
let busy = 0
for (let window = 1; window <= windows; window += 1) {
  const start = performance.now()
  await many(streams / windows)
  busy += performance.now() - start
  samples.push(await sample((streams / windows) * window))
}
const first = samples[0]
const last = samples.at(-1)
const heapGrowth = last.heapUsed - first.heapUsed
const late = samples.slice(samples.length >> 1)
const slopes = Object.fromEntries(['rss', 'heapUsed', 'external'].map((kind) => [kind, Math.round(growth(late.map((sample) => sample[kind])))]))
faults.expect(last.lent === 0, `expected no descriptor out, got ${last.lent}`)
faults.expect(last.streams === 0, `expected no stream, got ${last.streams}`)
// It has as much as was ever out at once: a step is no leak.
const poolGrowth = growth(late.map(({ poolBytes }) => poolBytes))
faults.expect(poolGrowth <= 64 * 1024, `expected the pool to grow by at most 64 KiB in the second half, got ${poolGrowth} bytes`)
faults.expect(heapGrowth <= maxHeap, `expected the heap within ${maxHeap} bytes of before, got ${heapGrowth} bytes more`)
for (const [kind, slope] of Object.entries(slopes)) {
  faults.expect(slope <= maxSlope, `expected ${kind} to grow by at most ${maxSlope} bytes in the second half, got ${slope}`)
}
faults.expect(last.threads === first.threads, `expected ${first.threads} threads, got ${last.threads}`)
faults.expect(last.sockets === first.sockets, `expected ${first.sockets} descriptors, got ${last.sockets}`)
await sender.close({ deadline: 1_000 })
await receiver.close({ deadline: 1_000 })
await settle()
const alive = nativeLiveness()
faults.expect(JSON.stringify(alive) === JSON.stringify(NOTHING_ALIVE), `expected nothing alive, got ${JSON.stringify(alive)}`)
faults.expect(sockets() === before.sockets, `expected ${before.sockets} descriptors after close(), got ${sockets()}`)
report(faults, {
  streams,
  seconds: (performance.now() - begin) / 1000,
  streamsPerSecond: Math.round((streams / busy) * 1000),
  heapGrowth,
  slopes,
  poolBytes: last.poolBytes,
  before,
  samples: samples.map(({ done, heapUsed, external, rss }) => ({ done, heapUsed, external, rss })),
})

// What remains of test networks that were closed, in mid-transfer too.
import { Network } from 'paceline/testing'
import { Faults, MiB, nativeLiveness, numbers, pinned, report, settle } from './common.mjs'

pinned()
const { networks, first, maxGrowth } = numbers({
  networks: 1_000,
  /** As many as fill what is recycled, and what V8 takes for itself. */
  first: 500,
  maxGrowth: 4 * MiB,
})
const CONTENT = Buffer.alloc(20_000, 'paceline')
const faults = new Faults()
const before = nativeLiveness()
let baseline = 0
let largest = 0
let lost = 0
const begin = performance.now()
for (let count = 1; count <= networks; count += 1) {
  const network = new Network({ seed: count, loss: 0.02 })
  const { secret } = network
  const receiver = await network.listen({ port: 4433, secret })
  const sender = await network.bind()
  const peer = await network.runUntil(sender.connect(receiver.address.address, 4433, { secret }))
  const read = (async () => {
    for await (const stream of receiver) {
      let bytes = 0
      for await (const chunk of stream) bytes += chunk.length
      stream.end()
      return bytes
    }
  })()
  peer.openStream().end(CONTENT)
  const bytes = await network.runUntil(read)
  faults.expect(bytes === CONTENT.length, `expected ${CONTENT.length} bytes through network ${count}, got ${bytes}`)
  const live = nativeLiveness()
  faults.expect(live.drivers === before.drivers + 2, `expected two endpoints alive in network ${count}, got ${live.drivers - before.drivers}`)
  largest = Math.max(largest, live.poolBytes)
  if (count % 2 === 0) peer.openStream().on('error', () => undefined).write(CONTENT)
  lost += network.stats().lost
  await network.close()
  if (count === first) {
    await settle()
    baseline = process.memoryUsage.rss()
  }
}
await settle()
const growth = process.memoryUsage.rss() - baseline
const after = nativeLiveness()
faults.expect(largest > before.poolBytes, 'expected packet memory in use while a network was there')
faults.expect(lost > 0, 'expected lost datagrams')
faults.expect(JSON.stringify(after) === JSON.stringify(before), `expected what was alive before, ${JSON.stringify(before)}, got ${JSON.stringify(after)}`)
faults.expect(growth <= maxGrowth, `expected RSS to grow by at most ${maxGrowth} bytes after the first ${first}, got ${growth}`)
report(faults, { networks, growth, lost, seconds: (performance.now() - begin) / 1000 })

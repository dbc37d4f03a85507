import test from 'ava'
import addonFile from '../../packages/paceline/src/addon.cjs'
import { collect, pair } from '../support/network-transfer.ts'
import { pattern } from '../support/endpoints.ts'
import { gc } from '../support/gc.ts'

interface Liveness {
  drivers: number
  pools: number
  lentDescriptors: number
  poolBytes: number
}

const { addon } = addonFile.requireAddon()
const { nativeLiveness } = addon as { nativeLiveness(): Liveness }

/** As many as fill what is recycled. */
const FIRST = 200
const ALL = 1_000
const CONTENT = pattern(20_000)
const MOST_GROWTH = 16 << 20

test.serial('1,000 test networks leave nothing behind', async (t) => {
  const before = nativeLiveness()
  const rss = (): number => {
    gc()
    return process.memoryUsage.rss()
  }
  let first = 0
  for (let count = 1; count <= ALL; count += 1) {
    const { network, receiver, peer } = await pair({ seed: count, loss: 0.02 })
    const collected = collect(receiver)
    const stream = peer.openStream()
    stream.end(CONTENT)
    await network.runUntil(collected.done)
    if (count === 1) t.true(nativeLiveness().drivers === before.drivers + 2 && nativeLiveness().poolBytes > before.poolBytes)
    if (count % 2 === 0) peer.openStream().on('error', () => undefined).write(CONTENT)
    await network.close()
    if (count === FIRST) first = rss()
  }
  const growth = rss() - first
  t.deepEqual(nativeLiveness(), before)
  t.log(`resident memory grew by ${(growth / (1 << 20)).toFixed(1)} MiB after the first ${FIRST}`)
  t.true(growth < MOST_GROWTH, `${growth} bytes`)
})

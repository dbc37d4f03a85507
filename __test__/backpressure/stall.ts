import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ExecutionContext } from 'ava'
import test from 'ava'
import { temporaryFolder } from '../e2e/helpers/cli.ts'
import { Capture, type Burst } from '../e2e/helpers/capture.ts'
import { testWith } from '../e2e/helpers/needs.ts'
import { Side } from '../e2e/helpers/sides.ts'

const MiB = 1 << 20
const BITRATE = 100e6
const STALL_MS = 300
const QUEUED = 6 * MiB
/** Of the time before the stall, without the beginning of the transfer. */
const SETTLED_MS = 200
const MAX_GAP_MS = 5
/** A sixth of the stall, however busy the host is. */
const MOST_GAP_MS = 50
const MIN_BYTES_IN_STALL = 3_000_000
/** design.md section 5, item 8: a burst is what the rate carries in 1 ms. */
const QUANTUM_BYTES = BITRATE / 8 / 1000
/** design.md section 4: after a late wake a train has at most two bursts; headers, tags and rounding up to a packet come on top. */
const MAX_TRAIN_BYTES = 2 * (QUANTUM_BYTES * 1.05 + 1472)
/** A tenth of what a sender that waits for JavaScript would make up for. */
const MOST_TRAIN_BYTES = (BITRATE / 8_000) * STALL_MS * 0.1

/** Bursts that leave closer together than a third of their schedule are one train. */
function longestTrain(bursts: readonly Burst[]): number {
  const together = 1000 / 3 / (BITRATE / 8 / QUANTUM_BYTES)
  let longest = 0
  let train = 0
  let before = Number.NEGATIVE_INFINITY
  for (const { at, bytes } of bursts) {
    train = at - before < together ? train + bytes : bytes
    longest = Math.max(longest, train)
    before = at
  }
  return longest
}

function longestGap(bursts: readonly Burst[]): number {
  return bursts.slice(1).reduce((longest, { at }, index) => Math.max(longest, at - (bursts[index]?.at ?? at)), 0)
}

async function measure(t: ExecutionContext) {
  const secret = randomBytes(32).toString('hex')
  const receiver = new Side(t, 'receive', { secret, bytesPerSecond: 0 })
  const { port } = await receiver.told('listening')
  const capture = await Capture.start(t, temporaryFolder(t), port)
  const sender = new Side(t, 'stall', { secret, port, maxBitrate: BITRATE, queued: QUEUED, settleMs: 300, stallMs: STALL_MS, afterwards: 4 * MiB })
  const stalled = await sender.told('stalled')
  t.deepEqual(await Promise.all([sender.ended(), receiver.ended()]), [0, 0])
  const bursts = (await capture.stop()).filter(({ firstByte }) => firstByte < 0x40)
  // JavaScript has nothing to do then.
  const before = bursts.filter(({ at }) => at >= stalled.begin - SETTLED_MS && at < stalled.begin)
  const during = bursts.filter(({ at }) => at >= stalled.begin && at <= stalled.end)
  const after = bursts.filter(({ at }) => at > stalled.end)
  return { stalled, before, during, after }
}

/** A busy host can hold any process back for longer than the bounds; a fault of ours would show in every attempt. */
const ATTEMPTS = 8
/** ms that attempts may take together: ava waits two minutes. */
const PATIENCE = 70_000

testWith(['linux', 'tcpdump'], 'JavaScript blocked for 300 ms stops nothing, and nothing is made up for afterwards', async (t) => {
  t.timeout(120_000)
  const began = performance.now()
  for (let attempt = 1; ; attempt++) {
    const { stalled, before, during, after } = await measure(t)
    t.true(stalled.end - stalled.begin >= STALL_MS - 10, 'it was blocked')
    const bytes = during.reduce((sum, burst) => sum + burst.bytes, 0)
    const [gap, train] = [longestGap(during), longestTrain(after)]
    const figures = `${bytes} bytes left during the stall (${during.length} bursts, ${after.length} afterwards), longest gap ${gap.toFixed(2)} ms, longest train ${train} bytes`
    // What the host did to the same thread just before, it may do again. That is far from what a sender does that waits for JavaScript.
    const [usualGap, usualTrain] = [Math.min(2 * longestGap(before), MOST_GAP_MS), Math.min(2 * longestTrain(before), MOST_TRAIN_BYTES)]
    t.log(`${figures}; before ${longestGap(before).toFixed(2)} ms and ${longestTrain(before)} bytes`)
    const seen = during.length > 0 && after.length > 0
    if (seen && bytes >= MIN_BYTES_IN_STALL && gap <= Math.max(MAX_GAP_MS, usualGap) && train <= Math.max(MAX_TRAIN_BYTES, usualTrain)) return
    if (attempt === ATTEMPTS || performance.now() - began > PATIENCE) {
      t.fail(`${attempt} attempts, the last: ${figures}`)
      return
    }
    // What others do here comes in bouts of seconds.
    await sleep(attempt * 1_000)
  }
})

test('a train and a gap would have been seen', (t) => {
  const even = Array.from({ length: 100 }, (_, at) => ({ at, bytes: QUANTUM_BYTES, firstByte: 0 }))
  t.is(longestTrain(even), QUANTUM_BYTES)
  t.is(longestGap(even), 1)
  // A sender that waits for JavaScript, and then sends everything at once.
  const stalled = even.map((burst) => ({ ...burst, at: burst.at < 50 || burst.at >= 60 ? burst.at : 59 + burst.at / 1000 }))
  t.true(longestTrain(stalled) > MAX_TRAIN_BYTES)
  t.true(longestGap(stalled) > MAX_GAP_MS)
})

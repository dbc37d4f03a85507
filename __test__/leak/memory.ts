import { randomBytes } from 'node:crypto'
import test, { type ExecutionContext } from 'ava'
import { Side } from '../e2e/helpers/sides.ts'

const MiB = 1 << 20
const LONG = process.env['PACELINE_LONG_TESTS'] === '1'
const LIMIT = 64 * MiB
/** 4 GiB shows a leak of 2 % of what passes; 512 MiB one of an eighth. `npm run test:long` has the time. */
const BYTES = LONG ? 4096 * MiB : 512 * MiB

async function transfer(t: ExecutionContext, bytes: number, bytesPerSecond: number) {
  const secret = randomBytes(32).toString('hex')
  const receiver = new Side(t, 'receive', { secret, bytesPerSecond })
  const { port } = await receiver.told('listening')
  const sender = new Side(t, 'send', { secret, port, bytes })
  const [sent, received] = await Promise.all([sender.told('done'), receiver.told('done')])
  t.deepEqual(await Promise.all([sender.ended(), receiver.ended()]), [0, 0])
  t.is(received.bytes, bytes)
  t.is(received.wrong, 0)
  t.log(`memory grew by ${(sent.memoryGrowth / MiB).toFixed(1)} MiB (sender), ${(received.memoryGrowth / MiB).toFixed(1)} MiB (receiver)`)
  t.true(sent.memoryGrowth < LIMIT, `sender: ${sent.memoryGrowth}`)
  t.true(received.memoryGrowth < LIMIT, `receiver: ${received.memoryGrowth}`)
  return { sent, received }
}

test.serial(`${BYTES / MiB} MiB from a generator grow neither side by 64 MiB`, async (t) => {
  t.timeout(300_000)
  await transfer(t, BYTES, 0)
})

test.serial('a receiver that reads at 10 MB/s slows the sender instead of growing anything', async (t) => {
  t.timeout(120_000)
  const rate = 10_000_000
  const bytes = (LONG ? 400 : 80) * 1_000_000
  const { sent } = await transfer(t, bytes, rate)
  // What may be under way: send buffer, receive window, and the slab the receiver is at.
  const underWay = 4 * MiB + 16 * MiB + MiB
  t.true(sent.milliseconds >= ((bytes - underWay) / rate) * 1000 * 0.95, `the sender was done after ${sent.milliseconds} ms`)
})

import { inspect } from 'node:util'
import test from 'ava'
import { MAX_WAITING_RECORDS, OWN_RECORDS, Recorder, type RecordBudget } from '../../packages/paceline/src/completions.js'
import type { Completion, Completions } from '../../packages/paceline/src/index.js'
import { joinStreams, state, turns } from '../support/endpoints.js'
import { collectUntil } from '../support/gc.js'

/** Of one transmission without packets. */
const record = new Float64Array([0, 1, 2, 0])

function nothing(): void {}

async function all(completions: Completions): Promise<Completion[]> {
  const entries: Completion[] = []
  for await (const entry of completions) entries.push(entry)
  return entries
}

test('every transmission is in one entry or counted as unrecorded, and the packets cover the stream', async (t) => {
  const { local, remote } = await joinStreams(t)
  remote.resume()
  remote.end()
  local.resume()
  await local.writer.write(Buffer.alloc(100_000))
  await local.flush()
  const before = local.stats().bytesWritten
  const completions = local.completions()
  const counting = all(completions)
  await local.writer.write(Buffer.alloc(1_000_000))
  await local.writer.end()
  const entries = await counting
  t.true(entries.length > 10)
  t.is(completions.skipped, 0)
  t.true((completions.unrecorded ?? 0) >= 2)
  let offset = before
  for (const entry of entries) {
    t.is(entry.outcome, 'sent')
    t.is(entry.errno, undefined)
    t.is(entry.packets, entry.packets)
    t.is(entry.packets.length, entry.packetCount)
    t.is(entry.packets.reduce((sum, { length }) => sum + length, 0), entry.bytes)
    t.true((entry.sentAt ?? 0) >= entry.scheduledAt)
    t.true(Math.abs(performance.now() - entry.scheduledAt) < 60_000)
    for (const packet of entry.packets) {
      t.is(packet.offset, offset)
      t.is(packet.ecn, 'ect0')
      t.is(packet.space, 'stream')
      t.false(packet.retransmission)
      offset += packet.length
    }
  }
  t.is(offset, local.stats().bytesWritten)
  t.is(entries.flatMap(({ packets }) => packets).filter(({ fin }) => fin).length, 1)
})

test('a failed send is an entry with errno and its name, and so is what is sent in its place', async (t) => {
  const { local, network } = await joinStreams(t)
  const completions = local.completions()
  await turns(2)
  network.failSends = 1
  network.errno = 1
  await local.writer.write('x')
  const { value: failed } = await completions.next()
  t.is(network.failSends, 0)
  t.like(failed, { outcome: 'failed', errno: -1, code: 'EPERM', bytes: 1 })
  const { value: sent } = await completions.next()
  t.is(sent?.outcome, 'sent')
  t.like(sent?.packets[0], { retransmission: true, space: 'recovery', offset: 1, length: 1 })
})

test('what nobody takes is skipped and counted', async (t) => {
  const { local, remote } = await joinStreams(t, { maxRecords: 2 })
  remote.resume()
  remote.end()
  const completions = local.completions()
  const entries: Completion[] = []
  await local.writer.write(Buffer.alloc(2 << 20))
  await local.close()
  for await (const entry of completions) entries.push(entry)
  t.true(completions.skipped > 0 && entries.length > 0)
  // 1 transmission before (the first byte), the rest of 46 packets each.
  const bursts = Math.ceil((2 << 20) / (46 * 1408))
  t.true(entries.length + completions.skipped >= bursts)
  t.is(completions.unrecorded, 1)
})

test('a stream that was closed before has nothing to tell but the count', async (t) => {
  const { local, remote } = await joinStreams(t)
  remote.resume()
  remote.end()
  await local.close()
  await turns(10)
  const completions = local.completions()
  t.deepEqual(await all(completions), [])
  t.true((completions.unrecorded ?? 0) >= 1)
})

test('the iterator ends, without an error, with a stream that failed', async (t) => {
  const { local, remote } = await joinStreams(t)
  const completions = local.completions()
  const ended = all(completions)
  await local.writer.write('x')
  t.is(await state(ended), 'pending')
  remote.reset(500)
  t.is((await ended).length, 1)
  t.is(completions.unrecorded, 1)
})

test('the iterator ends with the endpoint', async (t) => {
  const { local, sender } = await joinStreams(t)
  const ended = all(local.completions())
  t.is(await state(ended), 'pending')
  sender.destroy()
  t.deepEqual(await ended, [])
})

test('two iterators get the same entries; one that was left gets none', async (t) => {
  const { local } = await joinStreams(t)
  const [first, second] = [local.completions(), local.completions()]
  await local.writer.write('x')
  await local.flush()
  const [a, b] = await Promise.all([first.next(), second.next()])
  t.deepEqual(a.value?.packets, b.value?.packets)
  await first.return()
  await local.writer.write('y')
  t.is((await second.next()).value?.bytes, 1)
  t.deepEqual(await first.next(), { done: true, value: undefined })
})

test('records that wait in JavaScript are bounded over all streams, too', async (t) => {
  const budget = { waiting: MAX_WAITING_RECORDS - 2 }
  const recorder = new Recorder(budget, 1, nothing)
  const completions = recorder.open(nothing)
  for (let count = 0; count < OWN_RECORDS + 5; count += 1) recorder.completion(record)
  t.is(budget.waiting, MAX_WAITING_RECORDS)
  t.is(completions.skipped, 3)
  recorder.closed(OWN_RECORDS + 5, 0)
  t.is((await all(completions)).length, OWN_RECORDS + 2)
  t.is(budget.waiting, MAX_WAITING_RECORDS - 2)
})

test('iterators that nobody reads take nothing from one that is read', async (t) => {
  const budget = { waiting: MAX_WAITING_RECORDS }
  const recorder = new Recorder(budget, 1, nothing)
  const completions = recorder.open(nothing)
  for (let turn = 0; turn < 10; turn += 1) {
    for (let count = 0; count < OWN_RECORDS; count += 1) recorder.completion(record)
    for (let count = 0; count < OWN_RECORDS; count += 1) t.false((await completions.next()).done)
  }
  t.is(completions.skipped, 0)
  t.is(budget.waiting, MAX_WAITING_RECORDS)
})

test.serial('an iterator that the program dropped gives back what waited in it', async (t) => {
  const budget: RecordBudget = { waiting: 0 }
  const fill = (): void => {
    const recorder = new Recorder(budget, 1, nothing)
    recorder.open(nothing)
    for (let count = 0; count < OWN_RECORDS + 100; count += 1) recorder.completion(record)
    recorder.closed(OWN_RECORDS + 100, 0)
  }
  fill()
  t.is(budget.waiting, 100)
  t.true(await collectUntil(() => budget.waiting === 0))
})

test('an entry keeps its numbers when the ring is overwritten, and can be shown', async (t) => {
  const recorder = new Recorder({ waiting: 0 }, 1, nothing)
  const completions = recorder.open(nothing)
  const record = new Float64Array([2, 5, NaN, 0, 3, 10, 20, 1 | 8 | (84 << 16)])
  recorder.completion(record)
  record.fill(7)
  const { value } = await completions.next()
  t.like(value, { outcome: 'cancelled', scheduledAt: 5, sentAt: undefined, errno: undefined, packetCount: 1, bytes: 20 })
  t.deepEqual(JSON.parse(JSON.stringify(value)).packets, [
    { number: 3, space: 'stream', offset: 10, length: 20, size: 84, fin: true, ecn: 'ect0', retransmission: false },
  ])
  t.regex(inspect(value), /cancelled/)
})

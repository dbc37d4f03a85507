import test from 'ava'
import type { Completion, Completions } from '../../packages/paceline/src/index.js'
import { joinSockets, joinStreams, turns } from '../support/endpoints.js'

async function all(completions: Completions): Promise<Completion[]> {
  const entries: Completion[] = []
  for await (const entry of completions) entries.push(entry)
  return entries
}

/** Bytes of entries by stream, each byte once: offsets go on where they stopped. */
function bytesByStream(t: { is(actual: number, expected: number, message?: string): void }, entries: readonly Completion[]): Map<number, number> {
  const ends = new Map<number, number>()
  for (const { streamId, packets } of entries) {
    for (const { offset, length, retransmission } of packets) {
      if (retransmission) continue
      if (ends.has(streamId)) t.is(offset, ends.get(streamId) ?? NaN, `stream ${streamId} goes on`)
      ends.set(streamId, offset + length)
    }
  }
  return ends
}

test('entries of all streams name theirs; streams opened later are there from their first byte', async (t) => {
  const { sender, peer, local, remote } = await joinStreams(t)
  remote.resume()
  remote.end()
  local.resume()
  const completions = sender.completions()
  const counting = all(completions)
  const streams = [local, peer.openStream(), peer.openStream()]
  for (const stream of streams.slice(1)) stream.resume()
  await Promise.all(streams.map((stream) => stream.writer.write(Buffer.alloc(200_000))))
  await sender.close()
  const entries = await counting
  t.deepEqual([...bytesByStream(t, entries).entries()].sort(([a], [b]) => a - b), [[local.id, 200_001], [streams[1]?.id, 200_000], [streams[2]?.id, 200_000]])
  t.is(completions.skipped, 0)
  t.is(completions.unrecorded, 1, 'the byte of before')
  t.is(JSON.parse(JSON.stringify(entries[0])).streamId, entries[0]?.streamId)
})

test('what nobody takes is skipped; entries, skipped and unrecorded are all transmissions', async (t) => {
  const { sender, receiver, peer, local, remote, senderDriver } = await joinStreams(t, { maxRecords: 2 })
  void (async () => {
    for await (const stream of receiver) stream.resume().end()
  })()
  remote.resume()
  remote.end()
  local.resume()
  const completions = sender.completions()
  const second = peer.openStream()
  second.resume()
  await Promise.all([local, second].map((stream) => stream.writer.write(Buffer.alloc(2 << 20))))
  await sender.close()
  const entries = await all(completions)
  t.true(completions.skipped > 10 && entries.length > 0)
  t.is(entries.length + completions.skipped + (completions.unrecorded ?? 0), senderDriver.transmissions)
})

test('a stream and its endpoint get the same entries; who comes later knows how many there were', async (t) => {
  const { sender, local, remote, senderDriver } = await joinStreams(t)
  remote.resume()
  remote.end()
  local.resume()
  const [own, first] = [local.completions(), sender.completions()]
  await local.writer.write('x')
  await local.flush()
  const [a, b] = await Promise.all([own.next(), first.next()])
  t.deepEqual(a.value?.packets, b.value?.packets)
  const later = sender.completions()
  await local.writer.write('y')
  await local.flush()
  await first.return()
  await local.close()
  await turns(5)
  const [ownRest, laterAll] = await Promise.all([all(own), sender.close().then(() => all(later))])
  t.deepEqual(laterAll.map(({ bytes }) => bytes), ownRest.map(({ bytes }) => bytes))
  t.is(later.unrecorded, 2, 'one before anybody recorded, one before this iterator')
  t.is(laterAll.length + 2, senderDriver.transmissions)
  t.deepEqual(await all(local.completions()), [])
})

test('streams that were over before an iterator began do not count in it', async (t) => {
  const { sender, peer, local, remote, receiver } = await joinStreams(t)
  void (async () => {
    for await (const stream of receiver) stream.resume().end()
  })()
  remote.resume()
  remote.end()
  local.resume()
  const first = sender.completions()
  await local.close()
  await turns(5)
  const later = sender.completions()
  const next = peer.openStream()
  next.resume()
  await next.writer.write('x')
  await next.close()
  await sender.close()
  const entries = await all(later)
  t.true(entries.length > 0 && entries.every(({ streamId }) => streamId === next.id))
  t.is(later.unrecorded, 0)
  t.true((await all(first)).length > entries.length)
  t.is(first.unrecorded, 1)
})

test('after a loop was left, streams are no longer recorded', async (t) => {
  const { sender, peer, senderDriver } = await joinStreams(t)
  const completions = sender.completions()
  await completions.return()
  await turns(1)
  const before = senderDriver.commands.filter((op) => op === 9).length
  await peer.openStream().writer.write('x')
  await turns(3)
  t.is(senderDriver.commands.filter((op) => op === 9).length, before)
  sender.destroy()
  t.deepEqual(await sender.completions().next(), { done: true, value: undefined })
})

test.serial("on real sockets: a hundred streams' entries are the worker's transmissions, in order", async (t) => {
  const { sender, peer } = await joinSockets(t, (stream) => stream.resume().end())
  const early = peer.openStream()
  early.resume()
  await early.writer.write(Buffer.alloc(100_000))
  await early.flush()
  const unrecorded = early.stats().transmissions
  const completions = sender.completions()
  const counting = all(completions)
  const bytes = 100_000
  await Promise.all(
    Array.from({ length: 100 }, async () => {
      const stream = peer.openStream()
      stream.resume()
      await stream.writer.write(Buffer.alloc(bytes))
      await stream.close()
    }),
  )
  await sender.close()
  const entries = await counting
  const { transmissions, sent, failed, cancelled, packets } = sender.stats()
  t.true(unrecorded > 0 && (completions.unrecorded ?? 0) >= unrecorded)
  t.is(entries.length + completions.skipped + (completions.unrecorded ?? 0), transmissions)
  t.is(sent + failed + cancelled, transmissions)
  t.is(completions.skipped, 0)
  t.true(entries.reduce((sum, { packetCount }) => sum + packetCount, 0) < packets)
  const byStream = bytesByStream(t, entries)
  byStream.delete(early.id)
  t.deepEqual([...byStream.values()], Array.from({ length: 100 }, () => bytes))
  for (const { scheduledAt, sentAt = NaN, outcome } of entries) {
    t.is(outcome, 'sent')
    t.true(sentAt >= scheduledAt && Math.abs(performance.now() - sentAt) < 120_000)
  }
})

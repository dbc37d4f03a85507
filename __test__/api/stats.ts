import test from 'ava'
import { histogram, PACING_ERROR_BOUNDS_US, SEGMENT_BOUNDS, TRAIN_BOUNDS } from '../../packages/paceline/src/histogram.js'
import { Histogram, OptionError, type EndpointStats } from '../../packages/paceline/src/index.js'
import { isGauge, noPathStats, noStats } from '../../packages/paceline/src/stats.js'
import { join, joinStreams } from '../support/endpoints.js'

const counts = (bounds: readonly number[], filled: Record<number, number>): number[] =>
  Array.from({ length: bounds.length + 1 }, (_, index) => filled[index] ?? 0)

test('bounds are powers of two and, for times, their quarters', (t) => {
  t.deepEqual(SEGMENT_BOUNDS, [1, 2, 4, 8, 16, 32, 64])
  t.is(TRAIN_BOUNDS.at(-1), 4_096)
  t.deepEqual(PACING_ERROR_BOUNDS_US.slice(0, 13), [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20])
  t.is(PACING_ERROR_BOUNDS_US.at(-1), 1 << 20)
  t.is(PACING_ERROR_BOUNDS_US.length, 76)
})

test('a histogram tells count, mean and quantiles', (t) => {
  const some = new Histogram(SEGMENT_BOUNDS, [2, 0, 0, 0, 0, 1, 1, 0], 2 + 30 + 64)
  t.like(some, { count: 4, sum: 96, mean: 24, p50: 1, p99: 64 })
  t.is(some.quantile(0.75), 32)
  t.is(new Histogram(SEGMENT_BOUNDS, [0, 0, 0, 0, 0, 0, 0, 1], 70).p50, Infinity)
  t.like(new Histogram(SEGMENT_BOUNDS, counts(SEGMENT_BOUNDS, {}), 0), { count: 0, mean: 0, p99: 0 })
  t.throws(() => new Histogram(SEGMENT_BOUNDS, [1], 1), { code: 'ERR_PACELINE_INTERNAL' })
  t.deepEqual(JSON.parse(JSON.stringify(some)), { count: 4, sum: 96, mean: 24, p50: 1, p99: 64, bounds: [...SEGMENT_BOUNDS], counts: [2, 0, 0, 0, 0, 1, 1, 0] })
  const earlier = { counts: [1, 0, 0, 0, 0, 1, 0, 0], sum: 33 }
  t.deepEqual(histogram(SEGMENT_BOUNDS, { counts: [...some.counts], sum: some.sum }, earlier).counts, [1, 0, 0, 0, 0, 0, 1, 0])
})

test('every number of a driver is a counter or a gauge, in the endpoint as in what is in it', (t) => {
  const gauges = Object.keys({ ...noStats(), ...noPathStats() }).filter(isGauge)
  t.deepEqual(gauges.sort(), [
    'bytesInFlight', 'congestionWindow', 'latestRttUs', 'minRttUs', 'mtu', 'pacingRateBps', 'path', 'paths', 'poolCapacityBytes', 'poolLent',
    'poolLentBytes', 'poolPeakBytes', 'rttVariationUs', 'scheduledBytes', 'smoothedRttUs', 'streams',
  ])
})

test('since gives the difference of counters and histograms; gauges stay', async (t) => {
  const { sender, senderDriver } = await join(t)
  senderDriver.counts = {
    bytesSent: 100,
    poolLent: 5,
    pacingErrorUs: { counts: counts(PACING_ERROR_BOUNDS_US, { 0: 10, 9: 1 }), sum: 22 },
    dropped: { ...noStats().dropped, duplicate: 3 },
  }
  const first = sender.stats()
  t.like(first, { bytesSent: 100, poolLent: 5, dropped: { duplicate: 3 } })
  t.true(first.pacingErrorUs instanceof Histogram)
  t.like(first.pacingErrorUs, { count: 11, sum: 22, p50: 1, p99: 12 })
  senderDriver.counts = {
    bytesSent: 175,
    poolLent: 2,
    pacingErrorUs: { counts: counts(PACING_ERROR_BOUNDS_US, { 0: 10, 9: 4 }), sum: 55 },
    dropped: { ...noStats().dropped, duplicate: 3, window: 1 },
  }
  const second = sender.stats({ since: first })
  t.like(second, { bytesSent: 75, poolLent: 2, dropped: { duplicate: 0, window: 1 } })
  t.like(second.pacingErrorUs, { count: 3, sum: 33, mean: 11, p50: 12 })
  t.is(second.elapsed, second.at - first.at)
  t.true(Math.abs(performance.now() - second.at) < 60_000 && first.elapsed > 0)
  senderDriver.counts = { bytesSent: 180 }
  t.is(sender.stats({ since: second }).bytesSent, 5, 'a difference can be gone on from')
  t.is(sender.stats().bytesSent, 180)
  t.throws(() => Object.assign(first, { bytesSent: 0 }), { instanceOf: TypeError })
})

test('since is only what stats() of the same object returned', async (t) => {
  const { sender, receiver, peer, local } = await joinStreams(t)
  const refused = [receiver.stats(), { ...sender.stats() }, JSON.parse(JSON.stringify(sender.stats())) as EndpointStats, 5, null]
  for (const since of refused) {
    const error = t.throws(() => sender.stats({ since: since as EndpointStats }), { instanceOf: OptionError })
    t.regex(error.message, /^options\.since: expected what stats\(\) of this endpoint returned, got (an object|5|null)$/)
  }
  const other = peer.openStream()
  t.throws(() => local.stats({ since: other.stats() }), { code: 'ERR_PACELINE_OPTION', message: /this stream/ })
  t.throws(() => peer.stats({ since: receiver.peers[0]?.stats() }), { code: 'ERR_PACELINE_OPTION', message: /this peer/ })
  t.throws(() => sender.stats(5 as never), { code: 'ERR_PACELINE_OPTION', message: 'options: expected an object, got 5' })
})

test("a peer's counters begin anew on another path, and stay after its end", async (t) => {
  const { peer, senderDriver } = await join(t)
  t.like(peer.stats(), { path: -1, bytesSent: 0, cipher: 'aes-128-gcm' })
  senderDriver.pathCounts = { path: 7, bytesSent: 1_000, smoothedRttUs: 50, ecn: 'capable' }
  const first = peer.stats()
  t.like(first, { bytesSent: 1_000, smoothedRttUs: 50, ecn: 'capable' })
  senderDriver.pathCounts = { path: 7, bytesSent: 1_500, smoothedRttUs: 60 }
  t.like(peer.stats({ since: first }), { bytesSent: 500, smoothedRttUs: 60 })
  senderDriver.pathCounts = { path: 8, bytesSent: 200, smoothedRttUs: 70 }
  t.like(peer.stats({ since: first }), { bytesSent: 200, smoothedRttUs: 70 })
  peer.destroy()
  t.like(peer.stats(), { path: 8, bytesSent: 200 })
})

test("a stream's stats tell what the application did and what became of it", async (t) => {
  const { local, remote, network } = await joinStreams(t)
  await local.flush()
  const before = local.stats()
  t.like(before, { bytesWritten: 1, priority: 4 })
  network.failSends = 1
  await local.writer.write(Buffer.alloc(10_000))
  await local.flush()
  const stats = local.stats()
  t.like(stats, { bytesWritten: 10_001, bytesWaiting: 0, bytesBuffered: 0, bytesAcknowledged: 10_001, bytesReceived: 0, bytesRead: 0 })
  t.is(network.failSends, 0)
  t.is(stats.packetsRetransmitted, Math.ceil(10_000 / 1_408))
  t.true(stats.bytesRetransmitted >= 10_000 && stats.transmissions >= 3 && stats.packets >= 16)
  t.like(local.stats({ since: before }), { bytesWritten: 10_000, bytesAcknowledged: 10_000, priority: 4 })
  t.like(remote.stats(), { bytesWritten: 0, bytesReceived: 10_001, bytesRead: 1 })
})

test('priority is a number that can be set, and reaches the driver once', async (t) => {
  const { local, senderDriver } = await joinStreams(t, {}, {}, { priority: 2 })
  t.is(local.priority, 2)
  local.priority = 6
  local.setPriority(6)
  await local.flush()
  t.is(local.priority, 6)
  t.is(senderDriver.priorityOf(local.id), 6)
  t.is(senderDriver.commands.filter((op) => op === 10).length, 1)
  t.throws(() => (local.priority = 8), { code: 'ERR_PACELINE_OPTION', message: 'priority: expected an integer from 1 to 7, got 8' })
  t.is(local.priority, 6)
})

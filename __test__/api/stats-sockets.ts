import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import type { BindOptions, ConnectOptions, Endpoint } from '../../packages/paceline/src/index.js'
import { joinSockets } from '../support/endpoints.js'

/** Two endpoints on loopback; `transfer` sends so many bytes and waits until they are acknowledged. */
async function pair(t: ExecutionContext, bind: BindOptions = {}, connect: ConnectOptions = {}) {
  const { sender, receiver, peer } = await joinSockets(t, (stream) => stream.resume().end(), { bind, connect })
  const transfer = async (bytes: number) => {
    const stream = peer.openStream()
    stream.resume()
    const chunk = Buffer.alloc(64 << 10)
    for (let sent = 0; sent < bytes; sent += chunk.length) await stream.writer.write(chunk)
    await stream.close()
    return stream
  }
  return { sender, receiver, peer, transfer }
}

/**
 * What was acknowledged last has an acknowledgement of its own on the way: what several calls count is compared if nothing was
 * sent for a while, nor while they were made.
 */
async function atRest<T>(endpoints: Endpoint[], take: () => T): Promise<T> {
  const traffic = () => endpoints.map((endpoint) => endpoint.stats()).map(({ transmissions, bytesSent, sent, socket }) => [transmissions, bytesSent, sent, socket.receives].join()).join(';')
  for (;;) {
    const before = traffic()
    await sleep(50)
    const taken = take()
    if (before === traffic()) return taken
  }
}

test.serial('what the addon counts is complete and adds up', async (t) => {
  const { sender, receiver, peer, transfer } = await pair(t)
  const bytes = 16 << 20
  const before = sender.stats()
  const stream = await transfer(bytes)
  const [ours, theirs, path, since] = await atRest([sender, receiver], () => [sender.stats(), receiver.stats(), peer.stats(), sender.stats({ since: before })] as const)
  t.is(ours.sent + ours.failed + ours.cancelled, ours.transmissions)
  for (const of of [ours, path]) {
    t.is(of.pacingErrorUs.count, of.sent)
    t.is(of.gsoSegments.count, of.sent)
    t.true(of.trainPackets.sum <= of.gsoSegments.sum)
    t.true(of.pacingErrorUs.p50 > 0 && of.pacingErrorUs.p99 >= of.pacingErrorUs.p50 && of.pacingErrorUs.sum > 0)
  }
  t.is(path.packetsSent, path.gsoSegments.sum)
  t.true(path.bytesSent >= bytes && path.bytesAcknowledged >= bytes && ours.bytesAcknowledged === path.bytesAcknowledged)
  t.true(path.smoothedRttUs > 0 && path.minRttUs > 0 && path.latestRttUs > 0 && path.rttVariationUs >= 0)
  t.true(path.minRttUs <= path.smoothedRttUs && path.congestionWindow > 0 && path.pacingRateBps > 0 && path.mtu >= 1_200)
  t.is(ours.handshake.attempts, 1)
  t.is(theirs.handshake.halfOpen, 1)
  t.true(ours.socket.sends > 0 && theirs.socket.receives > 0 && ours.poolPeakBytes >= 64 << 10)
  t.is(theirs.streamBytesReceived, bytes)
  t.is(Object.values(theirs.dropped).reduce((sum, count) => sum + count, 0), theirs.packetsDropped)
  const counts = stream.stats()
  t.is(counts.bytesAcknowledged, bytes)
  t.is(counts.transmissions, ours.transmissions, 'the only stream')
  t.is(counts.packets, ours.packets)
  t.is(counts.packetsRetransmitted, ours.packetsRetransmitted)
  t.is(counts.bytesRetransmitted, ours.bytesRetransmitted)
  t.is(since.transmissions, ours.transmissions - before.transmissions)
  // The newest train counts when the next begins; how long one gets on a fast loopback, nobody knows.
  await transfer(64 << 10)
  const { trainPackets, transmissions } = await atRest([sender, receiver], () => sender.stats())
  t.true(trainPackets.sum >= ours.gsoSegments.sum)
  await sender.close()
  t.like(sender.stats(), { streams: 0, paths: 0, transmissions })
})

import test, { type ExecutionContext } from 'ava'
import { Endpoint, generateSecret, type BindOptions, type Peer } from '../../packages/paceline/src/index.js'

const LOCAL = '127.0.0.1'
const CAP = 40e6
/** Loopback on a busy machine: `crates/sim/tests/max_rate.rs` holds 2 % in virtual time. Above the cap nothing is excused. */
const [LEAST, MOST] = [0.8, 1.03]

/** Writes to a peer for as long as the endpoint lives. */
async function pour(peer: Peer): Promise<void> {
  const stream = peer.openStream()
  const chunk = Buffer.alloc(64 << 10)
  try {
    for (;;) await stream.writer.write(chunk)
  } catch {
    // The endpoint is gone: the test is over.
  }
}

/** A sender that has more to say to two receivers than it may. */
async function town(t: ExecutionContext, options: BindOptions) {
  const secret = generateSecret()
  const receivers = await Promise.all([0, 1].map(() => Endpoint.listen({ host: LOCAL, port: 0, secret })))
  const sender = await Endpoint.bind({ host: LOCAL, ...options })
  t.teardown(() => {
    for (const endpoint of [sender, ...receivers]) endpoint.destroy()
  })
  for (const receiver of receivers) {
    void (async () => {
      for await (const stream of receiver) stream.on('error', () => undefined).resume()
    })()
  }
  const [first, second] = (await Promise.all(receivers.map(({ address }) => sender.connect(LOCAL, address.port, { secret })))) as [Peer, Peer]
  void pour(first)
  void pour(second)
  return { sender, first, second }
}

const settle = () => new Promise((resolve) => setTimeout(resolve, 300))
const bitrateOf = ({ bytesSent, elapsed }: { bytesSent: number; elapsed: number }) => (bytesSent * 8_000) / elapsed

test.serial('maxBitrate of an endpoint is for all its peers', async (t) => {
  const { sender } = await town(t, { maxBitrate: CAP })
  await settle()
  const all = sender.stats()
  await new Promise((resolve) => setTimeout(resolve, 1_000))
  const bitrate = bitrateOf(sender.stats({ since: all }))
  t.true(bitrate > CAP * LEAST && bitrate < CAP * MOST, `${bitrate} bit/s`)
})

test.serial('maxBitrate of a peer is for that one, and can be changed', async (t) => {
  const { first, second } = await town(t, {})
  first.maxBitrate = CAP
  t.is(first.maxBitrate, CAP)
  await settle()
  const before = first.stats()
  await new Promise((resolve) => setTimeout(resolve, 1_000))
  const bitrate = bitrateOf(first.stats({ since: before }))
  t.true(bitrate > CAP * LEAST && bitrate < CAP * MOST, `${bitrate} bit/s`)
  t.is(first.stats().pacingRateBps, CAP)
  t.true(second.stats().pacingRateBps > CAP)
  first.maxBitrate = 0
  await settle()
  t.true(first.stats().pacingRateBps > CAP)
})

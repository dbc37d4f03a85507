import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { Endpoint, generateSecret, type BindOptions, type Peer } from '../../packages/paceline/src/index.js'
import { until } from '../support/endpoints.js'

const LOCAL = '127.0.0.1'
const CAP = 40e6
/** `crates/sim/tests/max_rate.rs` holds 2 % in virtual time. Above the cap nothing is excused but what the token bucket holds, twice. */
const [LEAST, MOST] = [0.8, 1.03]
const BUCKET_BITS = 2 * 8 * (128 << 10)
/** Milliseconds: of a busy machine's, some are ours. */
const [WINDOW, TOGETHER, PATIENCE] = [300, 1_000, 60_000]

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

const settle = () => sleep(300)

/** How fast `stats` counts bytes: in one window as fast as the cap lets it, and in all together, a second at least, never faster. */
async function keepsCap(t: ExecutionContext, stats: () => { bytesSent: number }): Promise<void> {
  await settle()
  // What is counted was so at some time of the call: windows begin before and end after it, and nothing looks faster than it was.
  let began = performance.now()
  let before = stats().bytesSent
  const [first, bytesBefore] = [began, before]
  let best = 0
  let bits = 0
  for (let now = began; now - first < TOGETHER || (best < CAP * LEAST && now - first < PATIENCE); ) {
    await sleep(WINDOW)
    const begins = performance.now()
    const { bytesSent } = stats()
    now = performance.now()
    best = Math.max(best, ((bytesSent - before) * 8_000) / (now - began))
    bits = (bytesSent - bytesBefore) * 8
    t.true(bits < (CAP * MOST * (now - first)) / 1_000 + BUCKET_BITS, `${bits} bits in ${now - first} ms`)
    began = begins
    before = bytesSent
  }
  t.true(best > CAP * LEAST, `${best} bit/s at best`)
}

test.serial('maxBitrate of an endpoint is for all its peers', async (t) => {
  const { sender } = await town(t, { maxBitrate: CAP })
  await keepsCap(t, () => sender.stats())
})

test.serial('maxBitrate of a peer is for that one, and can be changed', async (t) => {
  const { first, second } = await town(t, {})
  // What congestion control gives goes up and down, and may be below the cap for a while.
  const paced = async (peer: Peer, holds: (rate: number) => boolean, what: string) => until(t, () => holds(peer.stats().pacingRateBps), what)
  await paced(first, (rate) => rate > CAP, 'it is faster than that by itself')
  first.maxBitrate = CAP
  t.is(first.maxBitrate, CAP)
  await keepsCap(t, () => first.stats())
  await paced(first, (rate) => rate === CAP, 'the cap is its rate')
  await paced(second, (rate) => rate > CAP, 'the other one is faster')
  first.maxBitrate = 0
  await paced(first, (rate) => rate > CAP, 'it is faster again')
})

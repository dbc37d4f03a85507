// One log, 100 peers. Each gets every line as long as it keeps up; one that does not loses lines, is told how many, and
// keeps nobody waiting: what a stream takes without waiting is `writer.desiredSize`.
import { setTimeout as sleep } from 'node:timers/promises'
import { Endpoint, generateSecret } from 'paceline'

const PEERS = 100
const LINES = 1_500
const SLOW = 7

/** Subscribers are the streams they opened. */
class Fanout {
  #subscribers = new Map()

  add(stream) {
    this.#subscribers.set(stream, 0)
    stream.once('close', () => this.#subscribers.delete(stream))
  }

  get size() {
    return this.#subscribers.size
  }

  publish(line) {
    for (const [stream, lost] of this.#subscribers) {
      const text = lost > 0 ? `# ${lost} lines lost\n${line}\n` : `${line}\n`
      if ((stream.writer.desiredSize ?? 0) < text.length) {
        this.#subscribers.set(stream, lost + 1)
        continue
      }
      this.#subscribers.set(stream, 0)
      // There is room: this does not wait. A stream that has failed closes by itself.
      stream.writer.write(text).catch(() => {})
    }
  }

  /** Ends every stream; resolves when everything is acknowledged. What is still lost then is told, too. */
  async end() {
    await Promise.all(
      [...this.#subscribers].map(async ([stream, lost]) => {
        if (lost > 0) await stream.writer.write(`# ${lost} lines lost\n`)
        await stream.close()
      }),
    )
  }
}

/** The slow one looks at nothing new until the log is complete: so nothing but its bounds decides what it loses. */
let wake
const asleep = new Promise((resolve) => (wake = resolve))

async function subscribe(port, secret, number) {
  // Small bounds: a hundred endpoints of one process share it here.
  const endpoint = await Endpoint.bind({ host: '127.0.0.1', poolBytes: 2 << 20, initialWindow: 64 << 10, maxWindow: 64 << 10 })
  try {
    const peer = await endpoint.connect('127.0.0.1', port, { secret })
    const stream = peer.openStream()
    await stream.writer.write('subscribe\n')
    let text = ''
    for await (const chunk of stream) {
      text += chunk
      if (number === SLOW) await asleep
    }
    await stream.close()
    const lines = text.trimEnd().split('\n')
    const lost = lines.filter((line) => line.startsWith('#')).reduce((sum, line) => sum + Number(line.split(' ')[1]), 0)
    const numbers = lines.filter((line) => !line.startsWith('#')).map((line) => Number(line.split(' ')[1]))
    if (numbers.some((value, at) => at > 0 && value <= numbers[at - 1])) throw new Error(`expected lines in order at peer ${number}`)
    if (numbers.length + lost !== LINES) throw new Error(`expected ${LINES} lines at peer ${number}, got ${numbers.length} and ${lost} lost`)
    return { received: numbers.length, lost }
  } finally {
    await endpoint.close()
  }
}

const secret = generateSecret()
const hub = await Endpoint.listen({ host: '127.0.0.1', port: 0, secret, sendBufferBytes: 64 << 10 })
try {
  const fanout = new Fanout()
  const accepting = (async () => {
    for await (const stream of hub) {
      await stream.chunks().next()
      fanout.add(stream)
      if (fanout.size === PEERS) return
    }
  })()
  const subscribers = Array.from({ length: PEERS }, (_, number) => subscribe(hub.address.port, secret, number))
  await accepting
  const padding = 'x'.repeat(150)
  for (let line = 0; line < LINES; line++) {
    fanout.publish(`line ${line} ${padding}`)
    // A log does not come all at once, either.
    if (line % 20 === 19) await sleep(8)
  }
  wake()
  await fanout.end()
  const results = await Promise.all(subscribers)
  const whole = results.filter(({ lost }) => lost === 0).length
  if (results[SLOW].lost === 0) throw new Error('expected the slow peer to lose lines')
  console.log(`ok: ${PEERS} peers, ${LINES} lines; ${whole} got all, the slow one ${results[SLOW].received} and knows of ${results[SLOW].lost} lost`)
} finally {
  await hub.close()
}

// Rows from a cursor to a reader that is slow: `pipeline` asks the cursor for the next row only when there is room, so
// neither side ever holds more than the bounds say. The cursor is simulated; any async iterator takes its place.
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createInterface } from 'node:readline'
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'
import { Endpoint, generateSecret } from 'paceline'

const ROWS = 40_000
const BATCH = 100
const KiB = 1 << 10
/** What may lie between cursor and reader: send buffer, packets under way, receive window, and what streams of Node buffer. */
const SEND_BUFFER = 64 * KiB
const WINDOW = 64 * KiB
const UNDER_WAY = 1024 * KiB

let fetched = 0

/** Fetches batches, as drivers of databases do. */
async function* cursor() {
  while (fetched < ROWS) {
    await nextTurn()
    let batch = ''
    for (let at = 0; at < BATCH; at++, fetched++) batch += `${JSON.stringify({ id: fetched, name: `row ${fetched}`, text: 'x'.repeat(80) })}\n`
    yield batch
  }
}

const secret = generateSecret()
const reader = await Endpoint.listen({ host: '127.0.0.1', port: 0, secret, initialWindow: WINDOW, maxWindow: WINDOW })
const database = await Endpoint.bind({ host: '127.0.0.1', sendBufferBytes: SEND_BUFFER, poolBytes: 2 << 20 })
try {
  let read = 0
  let furthest = 0
  const reading = (async () => {
    for await (const stream of reader) {
      for await (const line of createInterface({ input: stream })) {
        if (JSON.parse(line).id !== read) throw new Error(`expected row ${read}, got ${line}`)
        read++
        // The slow part: every hundredth row takes two milliseconds.
        if (read % 100 === 0) {
          furthest = Math.max(furthest, fetched - read)
          await sleep(2)
        }
      }
      await stream.close()
      return
    }
  })()
  const peer = await database.connect('127.0.0.1', reader.address.port, { secret })
  const stream = peer.openStream()
  await pipeline(Readable.from(cursor(), { highWaterMark: 1 }), stream, { end: true })
  await stream.close()
  await reading

  const rowBytes = 120
  const most = Math.ceil((SEND_BUFFER + WINDOW + UNDER_WAY) / rowBytes)
  if (read !== ROWS) throw new Error(`expected ${ROWS} rows, got ${read}`)
  if (furthest > most) throw new Error(`expected the cursor at most ${most} rows ahead, got ${furthest}`)
  // Less than the receive window ahead would say that the reader was never the slow side.
  if (furthest < WINDOW / rowBytes) throw new Error(`expected the cursor to be held back, got it ${furthest} rows ahead at most`)
  console.log(`ok: ${read} rows in order; the cursor was never more than ${furthest} rows ahead (at most ${most})`)
} finally {
  await Promise.all([database.close(), reader.close()])
}

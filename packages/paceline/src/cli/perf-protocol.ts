/**
 * What `perf client` and `perf server` say to each other.
 *
 * The first stream is the talk: lines of JSON, `"plpt\n"` before them. The client says what it wants ({@link Plan}), the server
 * `{"ready":true}` or why not; streams with the load follow; then each says what it saw ({@link SideReport}).
 * Streams with load begin with eight bytes: `"plpb"` and the stream's number (bulk, both directions), or `"plps"` and how many
 * bytes to answer with (a short stream).
 */
import { Fault } from './faults.js'
import { MAX_SHORT_BYTES, MAX_PARALLEL, MAX_SECONDS } from './perf-limits.js'
import { ByteReader } from './protocol.js'

export const HEAD_BYTES = 8
const TALK_MAGIC = 'plpt\n'
const MAX_LINE_BYTES = 4 << 20

/** What a client asks for. Directions are the client's. */
export interface Plan {
  readonly mode: 'bulk' | 'streams'
  readonly sends: boolean
  readonly receives: boolean
  /** Streams at the same time. */
  readonly parallel: number
  /** How long; 0 where `bytes` or `streams` decide. */
  readonly milliseconds: number
  /** Bulk: bytes each way in all, 0 where time decides. Streams: bytes of a request, and of its reply. */
  readonly bytes: number
  /** Short streams in all; 0 where time decides. */
  readonly streams: number
  /** Bits per second each way, 0 for no cap. */
  readonly bitsPerSecond: number
  /** Between two lines; 0 for none. */
  readonly intervalMs: number
}

export type Head = { readonly kind: 'talk' } | { readonly kind: 'bulk'; readonly index: number } | { readonly kind: 'short'; readonly replyBytes: number }

export function encodeHead(kind: 'bulk' | 'short', number: number): Buffer {
  const head = Buffer.alloc(HEAD_BYTES)
  head.write(kind === 'bulk' ? 'plpb' : 'plps', 'latin1')
  head.writeUInt32BE(number, 4)
  return head
}

/** What a stream is for; throws on anything else. */
export async function readHead(reader: ByteReader): Promise<Head> {
  const magic = await reader.exactly(4)
  const text = magic.toString('latin1')
  if (text === TALK_MAGIC.slice(0, 4)) {
    await reader.exactly(1)
    return { kind: 'talk' }
  }
  const number = (await reader.exactly(4)).readUInt32BE()
  if (text === 'plpb' && number < MAX_PARALLEL) return { kind: 'bulk', index: number }
  if (text === 'plps' && number <= MAX_SHORT_BYTES) return { kind: 'short', replyBytes: number }
  throw new Fault('expected a stream of paceline perf, got something else')
}

export function encodeTalk(first: boolean, message: object): string {
  return `${first ? TALK_MAGIC : ''}${JSON.stringify(message)}\n`
}

/** Lines of JSON from a stream. */
export class TalkReader {
  readonly #reader: ByteReader
  #rest = Buffer.alloc(0)

  constructor(reader: ByteReader) {
    this.#reader = reader
  }

  /** The next message, an object; `undefined` at the end. */
  async next(): Promise<Readonly<Record<string, unknown>> | undefined> {
    for (;;) {
      const end = this.#rest.indexOf(10)
      if (end >= 0) {
        const line = this.#rest.toString('utf8', 0, end)
        this.#rest = this.#rest.subarray(end + 1)
        const message: unknown = JSON.parse(line)
        if (typeof message === 'object' && message !== null && !Array.isArray(message)) return message as Record<string, unknown>
        throw new Fault('expected an object, got something else')
      }
      if (this.#rest.length > MAX_LINE_BYTES) throw new Fault(`expected a line of at most ${MAX_LINE_BYTES} bytes, got more`)
      const part = await this.#reader.some(MAX_LINE_BYTES)
      if (part === undefined) return undefined
      this.#rest = Buffer.concat([this.#rest, part])
    }
  }
}

/** A client's wish as the server may carry it out; nothing of it is trusted. */
export function checkPlan(message: Readonly<Record<string, unknown>>): Plan {
  const integer = (name: keyof Plan, most: number): number => {
    const value = message[name]
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 && value <= most) return value
    throw new Fault(`expected ${name} from 0 to ${most}, got ${JSON.stringify(value)}`)
  }
  const plan: Plan = {
    mode: message['mode'] === 'streams' ? 'streams' : 'bulk',
    sends: message['sends'] === true,
    receives: message['receives'] === true,
    parallel: integer('parallel', MAX_PARALLEL),
    milliseconds: integer('milliseconds', MAX_SECONDS * 1000),
    bytes: integer('bytes', Number.MAX_SAFE_INTEGER),
    streams: integer('streams', Number.MAX_SAFE_INTEGER),
    bitsPerSecond: integer('bitsPerSecond', 1e12),
    intervalMs: integer('intervalMs', MAX_SECONDS * 1000),
  }
  if (plan.parallel === 0 || (plan.milliseconds === 0 && plan.bytes === 0 && plan.streams === 0)) throw new Fault('expected an end of the test, got none')
  return plan
}

import { StreamError, type Stream } from '../index.js'
import { HEAD_BYTES, encodeHead, type Plan } from './perf-protocol.js'
import { ByteReader } from './protocol.js'

/** Written at a time. */
const CHUNK = Buffer.alloc(256 * 1024, 'paceline perf ')
/** Bytes out and not acknowledged, at least: enough for 100 Mbit/s × 80 ms before the path's rate is known. */
const LEAST_AHEAD = 1 << 20
/** And at most: several full windows. */
const MOST_AHEAD = 64 << 20
/** That much of the measured rate may be out: twice the round trip of a satellite hop is more than any path here. */
const AHEAD_SECONDS = 0.25
/** When time is up, what is out has so long to arrive; the rest is cut off, and told. */
const DRAIN_MS = 2000
/** Stream error code of what was cut off because time was up. */
const TIME_UP = 0x7065

/** Latencies kept for percentiles; above, every n-th counts. */
const MOST_LATENCIES = 100_000

/** The load of one test at one end: what was written, acknowledged, received, and when. */
export class Traffic {
  readonly #plan: Plan
  /** Whether this end writes, reads. */
  readonly #sends: boolean
  readonly #receives: boolean
  readonly #stop: AbortSignal
  readonly #bulk: { readonly stream: Stream; readonly head: number }[] = []
  #deadline = Number.POSITIVE_INFINITY
  #receivedBytes = 0
  #shortSent = 0
  undeliveredBytes = 0
  /** Milliseconds on `performance.now()`. */
  firstAt: number | undefined
  lastAt = 0
  shortDone = 0
  shortFailed = 0
  readonly latenciesMs: number[] = []
  /** Streams of bulk that are over, and who waits for all of them. */
  #bulkOver = 0
  #whenOver: () => void = () => {}

  constructor(plan: Plan, end: 'client' | 'server', stop: AbortSignal) {
    this.#plan = plan
    this.#sends = end === 'client' ? plan.sends : plan.receives
    this.#receives = end === 'client' ? plan.receives : plan.sends
    this.#stop = stop
  }

  /** Payload the other end has acknowledged. */
  get sentBytes(): number {
    return this.#shortSent + this.#bulk.reduce((sum, { stream, head }) => sum + Math.max(0, stream.stats().bytesAcknowledged - head), 0)
  }

  get receivedBytes(): number {
    return this.#receivedBytes
  }

  get seconds(): number {
    return this.firstAt === undefined ? 0 : Math.max(0, this.lastAt - this.firstAt) / 1000
  }

  #begin(): void {
    if (this.firstAt !== undefined) return
    this.firstAt = this.lastAt = performance.now()
    if (this.#plan.milliseconds > 0) this.#deadline = this.firstAt + this.#plan.milliseconds
  }

  /** One stream of bulk until both directions are over. `head`: bytes of ours before the load. */
  async bulk(stream: Stream, reader: ByteReader, index: number, head: number): Promise<void> {
    this.#begin()
    this.#bulk.push({ stream, head })
    const { bytes, parallel } = this.#plan
    const share = bytes === 0 ? Number.POSITIVE_INFINITY : Math.floor(bytes / parallel) + (index < bytes % parallel ? 1 : 0)
    const sending = this.#sends ? this.#send(stream, share, head) : stream.writer.end().then(() => {})
    try {
      await Promise.all([sending, this.#receive(reader)])
    } catch (error) {
      // Time was up over there, and it said so.
      if (!(error instanceof StreamError && error.errorCode === TIME_UP)) throw error
    } finally {
      if (++this.#bulkOver >= parallel) this.#whenOver()
    }
  }

  /**
   * Waits until every stream of bulk is over here, too, at most so long. Where the other end says that they are, bytes that
   * were acknowledged may lie unread here, and acknowledgements of ours may be on their way.
   */
  async settled(milliseconds: number): Promise<void> {
    if (this.#plan.mode !== 'bulk' || this.#bulkOver >= this.#plan.parallel) return
    let timer: NodeJS.Timeout | undefined
    await new Promise<void>((resolve) => {
      this.#whenOver = resolve
      timer = setTimeout(resolve, milliseconds)
    })
    clearTimeout(timer)
  }

  async #send(stream: Stream, share: number, head: number): Promise<void> {
    const { writer } = stream
    const signal = this.#stop
    const begin = performance.now()
    let written = 0
    // Two marks: while one is waited for, another is on its way, so the path is never idle.
    let before: Promise<void> | undefined
    while (written < share && performance.now() < this.#deadline) {
      const seconds = Math.max(0.001, (performance.now() - begin) / 1000)
      const acknowledged = Math.max(0, stream.stats().bytesAcknowledged - head)
      const least = this.#plan.bitsPerSecond > 0 ? Math.min(LEAST_AHEAD, Math.max(64 * 1024, (this.#plan.bitsPerSecond / 8 / this.#plan.parallel) * AHEAD_SECONDS)) : LEAST_AHEAD
      const ahead = Math.max(least, Math.min(MOST_AHEAD, (acknowledged / seconds) * AHEAD_SECONDS * 2))
      for (let part = 0; part < ahead / 2 && written < share && performance.now() < this.#deadline; ) {
        const length = Math.min(CHUNK.length, share - written, Math.max(16 * 1024, Math.floor(ahead / 2)))
        await writer.write(length === CHUNK.length ? CHUNK : CHUNK.subarray(0, length), { signal })
        written += length
        part += length
      }
      const mark = stream.flush({ signal })
      // Awaited in the next round.
      mark.catch(() => {})
      await before
      before = mark
    }
    await writer.end({ signal })
    // Kept here: any() holds what it is made of weakly, and a timeout that nobody holds may be collected before its time (Node 20).
    const timeUp = Number.isFinite(this.#deadline) ? AbortSignal.timeout(DRAIN_MS) : undefined
    try {
      await stream.flush({ signal: timeUp === undefined ? signal : AbortSignal.any([signal, timeUp]) })
    } catch (error) {
      if (timeUp?.aborted !== true || signal.aborted) throw error
      this.undeliveredBytes += written - Math.max(0, stream.stats().bytesAcknowledged - head)
      stream.reset(TIME_UP)
    }
    this.lastAt = performance.now()
  }

  async #receive(reader: ByteReader): Promise<void> {
    for (;;) {
      const part = await reader.some(Number.MAX_SAFE_INTEGER)
      if (part === undefined) return
      this.#receivedBytes += part.length
      if (this.#receives) this.lastAt = performance.now()
    }
  }

  /** Whether short streams are to go on. */
  #goesOn(opened: number): boolean {
    if (this.#stop.aborted || performance.now() >= this.#deadline) return false
    return this.#plan.streams === 0 || opened < this.#plan.streams
  }

  /** Short streams one after the other, `parallel` at a time, each with a request and a reply. */
  async ask(open: () => Stream): Promise<void> {
    this.#begin()
    const request = Buffer.concat([encodeHead('short', this.#plan.bytes), Buffer.alloc(this.#plan.bytes, 'paceline perf ')])
    let opened = 0
    const ask = async () => {
      while (this.#goesOn(opened)) {
        opened++
        const begin = performance.now()
        const stream = open()
        try {
          stream.end(request)
          let bytes = 0
          for await (const chunk of stream) bytes += chunk.length
          if (bytes !== this.#plan.bytes) throw new Error(`expected a reply of ${this.#plan.bytes} bytes, got ${bytes}`)
          this.#receivedBytes += bytes
          this.#shortSent += this.#plan.bytes
          this.lastAt = performance.now()
          this.#remember(this.lastAt - begin)
          this.shortDone++
        } catch {
          this.shortFailed++
          stream.destroy()
          this.#stop.throwIfAborted()
        }
      }
    }
    await Promise.all(Array.from({ length: this.#plan.parallel }, ask))
  }

  /** The other end of a short stream. */
  async answer(stream: Stream, reader: ByteReader, replyBytes: number): Promise<void> {
    this.#begin()
    for (;;) {
      const part = await reader.some(Number.MAX_SAFE_INTEGER)
      if (part === undefined) break
      this.#receivedBytes += part.length
    }
    stream.end(Buffer.alloc(replyBytes, 'paceline perf '))
    this.#shortSent += replyBytes
    this.shortDone++
    this.lastAt = performance.now()
  }

  /** All of them up to a bound, then an even selection. */
  #remember(ms: number): void {
    if (this.latenciesMs.length < MOST_LATENCIES) this.latenciesMs.push(ms)
    else this.latenciesMs[this.shortDone % MOST_LATENCIES] = ms
  }

  /** Bytes of ours before the load, on a stream opened here. */
  static readonly HEAD = HEAD_BYTES
}

import { performance } from 'node:perf_hooks'
import type { Writable } from 'node:stream'
import type { Completion, CompletionPacket, Completions } from './completions.js'
import { optionNames } from './option-names.js'
import type { PeerStats } from './stats.js'

/** Options of {@link Stream.qlog}. */
export interface QlogOptions {
  /** Title of the trace. Default: `'paceline stream <id>'`. Example: `'upload 17'`. */
  title?: string | undefined
  /** Milliseconds between two `recovery:metrics_updated` events, 1 to 60,000. Default 50. Example: `10`. */
  interval?: number | undefined
  /** Whether the writable is ended after the last event. Default `true`. Example: `false`. */
  end?: boolean | undefined
}

/** Names of {@link QlogOptions}. */
export const QLOG_NAMES = optionNames<QlogOptions>({ title: true, interval: true, end: true })

/** What became of a log. */
export interface QlogResult {
  /** Records written, the header included. */
  readonly written: number
  /** Events left out because the writable took no more, or nobody took the completions fast enough, or the writable failed. */
  readonly dropped: number
}

/** What a log is made of. */
export interface QlogSource {
  readonly id: number
  readonly vantage: 'client' | 'server'
  readonly completions: Completions
  now(): number
  path(): PeerStats
}

/** RFC 7464: every record begins with a record separator and ends with a line feed. */
const RECORD_SEPARATOR = '\x1e'
/** Offsets whose newest packet is remembered, to say which one a copy replaces: about one window. */
const MAX_OFFSETS = 16 * 1024
/** Bytes that may wait in the writable: about a hundred bursts. A file's own mark of 16 KiB is less than two. */
const MAX_WAITING_BYTES = 1 << 20

/** Nanoseconds are what there is; further digits would only be the arithmetic's. */
const rounded = (milliseconds: number): number => Math.round(milliseconds * 1e6) / 1e6

function header({ number, space }: CompletionPacket): object {
  // dcQUIC has two number spaces a stream, and QUIC's vocabulary one for data: what repeats is told apart by its type.
  return { packet_type: space === 'stream' ? '1RTT' : 'unknown', packet_number: number, packet_number_space: space }
}

/**
 * Writes one stream's events to a writable and never waits for it: what it does not take at once is left out and counted.
 *
 * ```
 *  completions ──► packet_sent, packet_lost (when its copy leaves), paceline:transmission_*
 *  path stats  ──► metrics_updated, at most every `interval`
 * ```
 */
class Log {
  readonly #source: QlogSource
  readonly #writable: Writable
  readonly #interval: number
  readonly #began: number
  /** The newest packet of an offset. */
  readonly #packets = new Map<number, CompletionPacket>()
  #written = 0
  #dropped = 0
  /** Of them, told in the log. */
  #told = 0
  #broken = false
  #nextMetrics = 0
  #metrics: Record<string, number> = {}
  /** Time of the newest event. */
  #last = 0

  constructor(source: QlogSource, writable: Writable, interval: number) {
    this.#source = source
    this.#writable = writable
    this.#interval = interval
    this.#began = source.now()
    writable.on('error', this.#fail)
  }

  get result(): QlogResult {
    return { written: this.#written, dropped: this.#dropped + this.#source.completions.skipped }
  }

  begin(title: string): void {
    this.#record({
      qlog_version: '0.3',
      qlog_format: 'JSON-SEQ',
      title,
      trace: {
        title,
        vantage_point: { name: `paceline stream ${this.#source.id}`, type: this.#source.vantage },
        common_fields: { time_format: 'relative', reference_time: performance.timeOrigin + this.#began, protocol_type: ['QUIC'], group_id: String(this.#source.id) },
      },
    })
    this.measure(this.#began)
  }

  completion(completion: Completion): void {
    // What was taken back has no time of its own.
    const at = completion.sentAt ?? this.#began + this.#last
    if (completion.outcome === 'sent') for (const packet of completion.packets) this.#sent(at, packet, completion)
    else this.#event(at, `paceline:transmission_${completion.outcome}`, { packets: completion.packets.map(header), code: completion.code })
    if (at >= this.#nextMetrics) this.measure(at)
  }

  /** What changed since the last time. */
  measure(at: number): void {
    this.#nextMetrics = at + this.#interval
    const { minRttUs, smoothedRttUs, latestRttUs, rttVariationUs, congestionWindow, bytesInFlight, pacingRateBps } = this.#source.path()
    const metrics: Record<string, number> = {
      min_rtt: rounded(minRttUs / 1_000),
      smoothed_rtt: rounded(smoothedRttUs / 1_000),
      latest_rtt: rounded(latestRttUs / 1_000),
      rtt_variance: rounded(rttVariationUs / 1_000),
      congestion_window: congestionWindow,
      bytes_in_flight: bytesInFlight,
      pacing_rate: pacingRateBps,
    }
    const changed = Object.entries(metrics).filter(([name, value]) => this.#metrics[name] !== value)
    if (changed.length > 0 && this.#event(at, 'recovery:metrics_updated', Object.fromEntries(changed))) this.#metrics = metrics
  }

  end(close: boolean): void {
    const now = this.#source.now()
    this.measure(now)
    const { written, dropped } = this.result
    this.#event(now, 'paceline:log_ended', { written, dropped })
    this.#writable.off('error', this.#fail)
    if (!close) return
    // Whatever comes now comes too late to matter, and must not end the process.
    this.#writable.on('error', () => undefined)
    if (!this.#broken) this.#writable.end()
  }

  #sent(at: number, packet: CompletionPacket, completion: Completion): void {
    const replaced = this.#packets.get(packet.offset)
    if (packet.retransmission && replaced !== undefined) {
      this.#event(at, 'recovery:packet_lost', { header: header(replaced) })
    }
    if (packet.length > 0) this.#remember(packet)
    this.#event(at, 'transport:packet_sent', {
      header: header(packet),
      // Without `length` qvis leaves the packet out.
      raw: { length: packet.size, payload_length: packet.length },
      frames: packet.length > 0 || packet.fin ? [{ frame_type: 'stream', stream_id: completion.streamId, offset: packet.offset, length: packet.length, fin: packet.fin }] : [{ frame_type: 'ping' }],
      is_retransmission: packet.retransmission,
      scheduled_at: rounded(completion.scheduledAt - this.#began),
    })
  }

  #remember(packet: CompletionPacket): void {
    this.#packets.delete(packet.offset)
    this.#packets.set(packet.offset, packet)
    if (this.#packets.size > MAX_OFFSETS) {
      const { value: oldest } = this.#packets.keys().next()
      if (oldest !== undefined) this.#packets.delete(oldest)
    }
  }

  /** Returns whether it was written. */
  #event(at: number, name: string, data: object): boolean {
    if (this.#broken || this.#writable.writableLength > MAX_WAITING_BYTES || this.#writable.writableEnded || this.#writable.destroyed) {
      this.#dropped += 1
      return false
    }
    // Readers want events in order; a burst may be older than the measurement before it.
    const time = (this.#last = Math.max(this.#last, rounded(at - this.#began)))
    const { dropped } = this.result
    if (dropped > this.#told) {
      const count = dropped - this.#told
      this.#told = dropped
      this.#record({ time, name: 'paceline:events_dropped', data: { count } })
    }
    this.#record({ time, name, data })
    return true
  }

  #record(record: object): void {
    this.#written += 1
    this.#writable.write(`${RECORD_SEPARATOR}${JSON.stringify(record)}\n`)
  }

  readonly #fail = (): void => {
    this.#broken = true
  }
}

/** Logs until the completions end. Never rejects. */
export async function writeQlog(source: QlogSource, writable: Writable, options: { title: string; interval: number; end: boolean }): Promise<QlogResult> {
  const log = new Log(source, writable, options.interval)
  log.begin(options.title)
  for await (const completion of source.completions) log.completion(completion)
  log.end(options.end)
  return log.result
}

import type { Endpoint, EndpointStats, Peer, PeerStats } from '../index.js'
import { bits, paint, size } from './output.js'
import type { Plan } from './perf-protocol.js'
import type { Traffic } from './perf-traffic.js'
import { rounded } from './report.js'

/** One line of a test. Seconds since its begin. */
export interface Interval {
  from: number
  to: number
  sentBytes: number
  sentBitsPerSecond: number
  receivedBytes: number
  receivedBitsPerSecond: number
  /** Short streams that were answered. */
  streams: number
  smoothedRttUs: number
  congestionWindowBytes: number
  retransmittedPackets: number
  pacingErrorUs: Spread
  cpuPercent: number
}

export interface Spread {
  p50: number
  p99: number
}

/** What one end saw of a test. */
export interface SideReport {
  seconds: number
  /** Payload, acknowledged by the other end. */
  sentBytes: number
  sentBitsPerSecond: number
  receivedBytes: number
  receivedBitsPerSecond: number
  /** Cut off when time was up. */
  undeliveredBytes: number
  transmissions: number
  packets: number
  retransmittedPackets: number
  lostPackets: number
  smoothedRttUs: number
  minRttUs: number
  congestionWindowBytes: number
  pacingBitsPerSecond: number
  mtu: number
  cipher: string
  /** Actual minus scheduled departure. */
  pacingErrorUs: Spread
  /** Packets that left back to back. */
  trainPackets: Spread
  /** Of this process; 100 is one core. */
  cpuPercent: number
  streams: { count: number; failed: number; perSecond: number; latencyUs: { p50: number; p90: number; p99: number; max: number } } | null
  intervals: Interval[]
}

interface Sample {
  at: number
  sent: number
  received: number
  streams: number
  cpuUs: number
  stats: EndpointStats
}

const spread = ({ p50, p99 }: Spread): Spread => ({ p50: rounded(p50, 1), p99: rounded(p99, 1) })

/** Watches one test at one end. */
export class Meter {
  readonly #endpoint: Endpoint
  readonly #peer: Peer
  readonly #traffic: Traffic
  readonly #begin: Sample
  readonly #intervals: Interval[] = []
  #last: Sample
  #path: PeerStats
  #timer: NodeJS.Timeout | undefined

  constructor(endpoint: Endpoint, peer: Peer, traffic: Traffic) {
    this.#endpoint = endpoint
    this.#peer = peer
    this.#traffic = traffic
    this.#path = peer.stats()
    this.#begin = this.#last = this.#sample()
  }

  /** Tells of every interval from now on; 0 for none. */
  start(intervalMs: number, tell: (interval: Interval) => void): void {
    if (intervalMs === 0) return
    this.#timer = setInterval(() => tell(this.#interval()), intervalMs)
  }

  /** The last, shorter interval is told, too, if it is worth a line. */
  stop(intervalMs: number, tell: (interval: Interval) => void): void {
    clearInterval(this.#timer)
    if (intervalMs > 0 && this.#timer !== undefined && performance.now() - this.#last.at > intervalMs / 10) tell(this.#interval())
    this.#timer = undefined
  }

  #sample(): Sample {
    this.#path = this.#peer.stats()
    const { user, system } = process.cpuUsage()
    const { sentBytes: sent, receivedBytes: received, shortDone: streams } = this.#traffic
    return { at: performance.now(), sent, received, streams, cpuUs: user + system, stats: this.#endpoint.stats() }
  }

  #interval(): Interval {
    const [from, to] = [this.#last, this.#sample()]
    this.#last = to
    const seconds = (to.at - from.at) / 1000
    const [sentBytes, receivedBytes] = [to.sent - from.sent, to.received - from.received]
    const { packetsRetransmitted, pacingErrorUs } = this.#endpoint.stats({ since: from.stats })
    const interval: Interval = {
      from: rounded((from.at - this.#begin.at) / 1000, 3),
      to: rounded((to.at - this.#begin.at) / 1000, 3),
      sentBytes,
      sentBitsPerSecond: Math.round((sentBytes * 8) / seconds),
      receivedBytes,
      receivedBitsPerSecond: Math.round((receivedBytes * 8) / seconds),
      streams: to.streams - from.streams,
      smoothedRttUs: this.#path.smoothedRttUs,
      congestionWindowBytes: this.#path.congestionWindow,
      retransmittedPackets: packetsRetransmitted,
      pacingErrorUs: spread(pacingErrorUs),
      cpuPercent: rounded((to.cpuUs - from.cpuUs) / seconds / 1e4, 1),
    }
    this.#intervals.push(interval)
    return interval
  }

  report(plan: Plan): SideReport {
    const [from, to] = [this.#begin, this.#sample()]
    const stats = this.#endpoint.stats({ since: from.stats })
    const path = this.#path
    const traffic = this.#traffic
    const seconds = traffic.seconds
    const rate = (bytes: number) => (seconds > 0 ? Math.round((bytes * 8) / seconds) : 0)
    return {
      seconds: rounded(seconds, 6),
      sentBytes: to.sent,
      sentBitsPerSecond: rate(to.sent),
      receivedBytes: to.received,
      receivedBitsPerSecond: rate(to.received),
      undeliveredBytes: traffic.undeliveredBytes,
      transmissions: stats.transmissions,
      packets: stats.packets,
      retransmittedPackets: stats.packetsRetransmitted,
      lostPackets: stats.packetsLost,
      smoothedRttUs: path.smoothedRttUs,
      minRttUs: path.minRttUs,
      congestionWindowBytes: path.congestionWindow,
      pacingBitsPerSecond: path.pacingRateBps,
      mtu: path.mtu,
      cipher: path.cipher,
      pacingErrorUs: spread(stats.pacingErrorUs),
      trainPackets: spread(stats.trainPackets),
      cpuPercent: rounded((to.cpuUs - from.cpuUs) / Math.max(1, to.at - from.at) / 10, 1),
      streams: plan.mode === 'streams' ? streamsOf(traffic, seconds) : null,
      intervals: this.#intervals,
    }
  }
}

function streamsOf({ shortDone, shortFailed, latenciesMs }: Traffic, seconds: number): SideReport['streams'] {
  const sorted = [...latenciesMs].sort((a, b) => a - b)
  const at = (share: number) => rounded((sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0) * 1000, 1)
  return {
    count: shortDone,
    failed: shortFailed,
    perSecond: seconds > 0 ? rounded(shortDone / seconds, 1) : 0,
    latencyUs: { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1) },
  }
}

/** Microseconds as people read them. */
export function span(us: number): string {
  if (us >= 1e6) return `${(us / 1e6).toFixed(2)} s`
  if (us >= 1000) return `${(us / 1000).toFixed(us >= 99_950 ? 0 : us >= 9_995 ? 1 : 2)} ms`
  return `${us.toFixed(us >= 9.95 ? 0 : 1)} µs`
}

const WIDTHS = [15, 9, 13, 10, 10, 7, 8] as const
const row = (direction: string, ...texts: readonly string[]) =>
  `${direction.padEnd(4)}${texts.map((text, nth) => text.padStart(WIDTHS[nth] ?? 10)).join('')}\n`

/** The line above the intervals. */
export function intervalHead({ mode }: Plan): string {
  const what = mode === 'bulk' ? ['transfer', 'goodput'] : ['streams', 'a second']
  return paint('bold', row('', 'seconds', ...what, 'RTT', 'cwnd', 'retr', 'CPU'), process.stdout)
}

/** A line for each direction of an interval. `sends`, `receives`: what this end does. */
export function intervalRows(interval: Interval, { mode }: Plan, sends: boolean, receives: boolean): string {
  const { from, to, smoothedRttUs, congestionWindowBytes, retransmittedPackets, cpuPercent } = interval
  const time = `${from.toFixed(2)}–${to.toFixed(2)}`
  const rtt = smoothedRttUs > 0 ? span(smoothedRttUs) : '-'
  const tail = [rtt, size(congestionWindowBytes), String(retransmittedPackets), `${cpuPercent.toFixed(0)} %`]
  if (mode === 'streams') return row('both', time, String(interval.streams), `${(interval.streams / Math.max(0.001, to - from)).toFixed(0)}/s`, ...tail)
  const rows: string[] = []
  if (sends) rows.push(row('send', time, size(interval.sentBytes), bits(interval.sentBitsPerSecond), ...tail))
  if (receives) rows.push(row('recv', time, size(interval.receivedBytes), bits(interval.receivedBitsPerSecond), rtt, '-', '-', tail[3] ?? ''))
  return rows.join('')
}

import type { DriverHistogram, DriverPathStats, DriverStats } from './driver.js'
import { histogram, PACING_ERROR_BOUNDS_US, SEGMENT_BOUNDS, TRAIN_BOUNDS, type Histogram } from './histogram.js'
import { optionNames } from './option-names.js'
import { objectOption, wrongOption } from './options.js'

/** What every `stats()` returns besides its counters. */
export interface Taken {
  /** When, in ms on the line of `performance.now()`. */
  readonly at: number
  /** Milliseconds that the counters cover: since the beginning, or since `since`. */
  readonly elapsed: number
}

/** Options of `stats()`. */
export interface StatsOptions<Stats> {
  /**
   * What an earlier `stats()` of the same object returned, a difference included: counters and histograms then tell what came since;
   * what is measured stays as it is. Default: since the beginning. Example: `last = endpoint.stats({ since: last })`.
   */
  since?: Stats | undefined
}

type Shown<Raw> = { readonly [Name in keyof Raw]: Raw[Name] extends DriverHistogram ? Histogram : Raw[Name] extends object ? Readonly<Raw[Name]> : Raw[Name] }

/** Counters of an endpoint; see {@link DriverStats} for each of them. */
export type EndpointStats = Shown<DriverStats> & Taken

/** Newest measurements of the path to a peer, and its counters; see {@link DriverPathStats} for each of them. */
export type PeerStats = Shown<DriverPathStats> & Taken

/** What a stream's `stats()` is made of. */
export interface StreamCounts {
  /** Bytes accepted from the application. */
  bytesWritten: number
  /** Of them, waiting for room in the send buffer, now. */
  bytesWaiting: number
  /** Of them, in the send buffer and not yet sealed into packets, now; as far as known. */
  bytesBuffered: number
  /** Of them, known to be acknowledged. Newest after `flush()`. */
  bytesAcknowledged: number
  /** Bytes that arrived in order. */
  bytesReceived: number
  /** Of them, taken by the application. */
  bytesRead: number
  /** Data, retransmission and probe transmissions made, as of the newest progress: exact after `flush()` and at the end. */
  transmissions: number
  /** Their packets. */
  packets: number
  /** Of them, copies of earlier ones. */
  packetsRetransmitted: number
  /** UDP payload bytes of the copies. */
  bytesRetransmitted: number
  /** Packets declared lost. */
  packetsLost: number
  /** 1 (leaves first) to 7, now. */
  priority: number
}

/** Counters of a stream. */
export type StreamStats = Readonly<StreamCounts> & Taken

/** What says how things stand, and is not counted. */
const GAUGES: ReadonlySet<string> = new Set<keyof DriverStats | keyof DriverPathStats | keyof StreamCounts>([
  'streams', 'paths', 'poolLent', 'poolLentBytes', 'poolPeakBytes', 'poolCapacityBytes',
  'path', 'smoothedRttUs', 'minRttUs', 'latestRttUs', 'rttVariationUs', 'congestionWindow', 'bytesInFlight', 'scheduledBytes', 'pacingRateBps', 'mtu',
  'bytesWaiting', 'bytesBuffered', 'priority',
])

const BOUNDS: Readonly<Record<string, readonly number[]>> = {
  pacingErrorUs: PACING_ERROR_BOUNDS_US,
  trainPackets: TRAIN_BOUNDS,
  gsoSegments: SEGMENT_BOUNDS,
}

/** Whether a number of a stats object says how things stand now; all others are counted. */
export function isGauge(name: string): boolean {
  return GAUGES.has(name)
}

function isHistogram(value: object): value is DriverHistogram {
  return 'counts' in value
}

function difference(now: object, then: object | undefined): object {
  const before = then as Record<string, unknown> | undefined
  const shown: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(now) as [string, unknown][]) {
    const old = before?.[name]
    if (typeof value === 'number') {
      shown[name] = typeof old !== 'number' || GAUGES.has(name) ? value : Math.max(0, value - old)
    } else if (typeof value === 'object' && value !== null) {
      const bounds = BOUNDS[name]
      shown[name] =
        bounds !== undefined && isHistogram(value)
          ? histogram(bounds, value, old as DriverHistogram | undefined)
          : difference(value, old as object | undefined)
    } else {
      shown[name] = value
    }
  }
  return shown
}

interface Mark {
  readonly book: object
  readonly raw: object
  readonly at: number
}

const STATS_NAMES = optionNames<StatsOptions<Taken>>({ since: true })

/** Where each stats object comes from, and what stood in the books when it was made. */
const marks = new WeakMap<object, Mark>()

/** Makes the stats of one endpoint, peer or stream, and knows them again. */
export class Book<Raw extends object, Stats extends Taken> {
  readonly #whose: string
  readonly #began: number

  /** `whose` as in "stats() of this endpoint"; `began` in ms. */
  constructor(whose: string, began: number) {
    this.#whose = whose
    this.#began = began
  }

  /** The options' mark, if they have one. */
  since(options: StatsOptions<Stats>): Mark | undefined {
    const { since } = objectOption<StatsOptions<Stats>>('options', options, STATS_NAMES)
    if (since === undefined) return undefined
    const mark = typeof since === 'object' && since !== null ? marks.get(since) : undefined
    if (mark?.book !== this) throw wrongOption('options.since', `what stats() of this ${this.#whose} returned`, since)
    return mark
  }

  /** `comparable`: whether the counters went on since then. */
  show(raw: Raw, at: number, since: Mark | undefined, comparable: (then: Raw) => boolean = () => true): Stats {
    const then = since !== undefined && comparable(since.raw as Raw) ? since.raw : undefined
    const shown = Object.freeze({ at, elapsed: Math.max(0, at - (since?.at ?? this.#began)), ...difference(raw, then) })
    marks.set(shown, { book: this, raw, at })
    return shown as unknown as Stats
  }
}

const noHistogram = (bounds: readonly number[]): DriverHistogram => ({ counts: new Array<number>(bounds.length + 1).fill(0), sum: 0 })

const noHistograms = (): Pick<DriverStats, 'pacingErrorUs' | 'trainPackets' | 'gsoSegments'> => ({
  pacingErrorUs: noHistogram(PACING_ERROR_BOUNDS_US),
  trainPackets: noHistogram(TRAIN_BOUNDS),
  gsoSegments: noHistogram(SEGMENT_BOUNDS),
})

/** The stats of a driver that has done nothing: for drivers that count only some of it. */
export function noStats(): DriverStats {
  return {
    transmissions: 0,
    packets: 0,
    sent: 0,
    failed: 0,
    cancelled: 0,
    controlTransmissions: 0,
    bytesSent: 0,
    bytesReceived: 0,
    bytesAcknowledged: 0,
    streamBytesReceived: 0,
    packetsReceived: 0,
    packetsDropped: 0,
    dropped: { malformed: 0, unknownPath: 0, unknownStream: 0, notAuthentic: 0, duplicate: 0, usedKeyId: 0, window: 0, noRoom: 0 },
    packetsRetransmitted: 0,
    bytesRetransmitted: 0,
    packetsLost: 0,
    bytesLost: 0,
    packetsSpuriouslyLost: 0,
    persistentCongestions: 0,
    probeTimeouts: 0,
    ecnCeReported: 0,
    ecnCeReceived: 0,
    streams: 0,
    paths: 0,
    poolLent: 0,
    poolLentBytes: 0,
    poolPeakBytes: 0,
    poolCapacityBytes: 0,
    poolExhausted: 0,
    ...noHistograms(),
    handshake: {
      droppedType: 0, droppedLength: 0, droppedNotAccepting: 0, droppedUnknownSecret: 0, droppedUnexpected: 0, droppedMac: 0,
      droppedNoise: 0, droppedOwnInstance: 0, droppedUnknownCredential: 0, droppedConfirm: 0, droppedPendingFull: 0,
      droppedQueueFull: 0, droppedHandshakeRate: 0, droppedBusy: 0, droppedReplyLimit: 0, duplicatesDropped: 0,
      duplicatesAnswered: 0, cookiesSent: 0, refusalsSent: 0, halfOpen: 0, confirmed: 0, confirmsRepeated: 0, cookiesReceived: 0,
      cookiesDropped: 0, usable: 0, completed: 0, versionsRetried: 0, failed: 0, confirmedByPacket: 0, expired: 0,
      cookielessSpent: 0, repliesSpent: 0, replyGaps: 0, messagesFull: 0, attempts: 0, retransmissions: 0, timeouts: 0,
      completedWithoutToken: 0, secretRemoved: 0,
    },
    secretControl: {
      unknownPathSecretSent: 0, staleKeySent: 0, replayDetectedSent: 0,
      unknownPathSecretReceived: 0, staleKeyReceived: 0, replayDetectedReceived: 0,
    },
    socket: {
      sends: 0, joined: 0, gsoFallbacks: 0, wouldBlock: 0, deviceFull: 0, staleErrors: 0, receives: 0, receiveErrors: 0,
      truncated: 0, starved: 0,
    },
  }
}

/** The stats of a path on which nothing has happened. */
export function noPathStats(): DriverPathStats {
  return {
    path: -1,
    smoothedRttUs: 0,
    minRttUs: 0,
    latestRttUs: 0,
    rttVariationUs: 0,
    congestionWindow: 0,
    bytesInFlight: 0,
    scheduledBytes: 0,
    pacingRateBps: 0,
    mtu: 0,
    cipher: 'aes-128-gcm',
    ecn: 'testing',
    streams: 0,
    sent: 0,
    packetsSent: 0,
    bytesSent: 0,
    packetsReceived: 0,
    bytesReceived: 0,
    bytesAcknowledged: 0,
    packetsLost: 0,
    bytesLost: 0,
    packetsSpuriouslyLost: 0,
    packetsRetransmitted: 0,
    bytesRetransmitted: 0,
    persistentCongestions: 0,
    probeTimeouts: 0,
    ecnCeReported: 0,
    ...noHistograms(),
  }
}

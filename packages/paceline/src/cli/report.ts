/** What `send --json` and `npm start -- --json` print as their last line. */
export interface Report {
  ok: boolean
  files: FileReport[]
  /** From opening the first stream until the last byte was acknowledged; without the time spent between files. */
  seconds: number
  gbitPerSecond: number
  cipher: string
  /** Counted by the core when a transmission enters its wheel. */
  transmissions: number
  packets: number
  packetsPerTransmission: number
  /** Counted here, by iterating `stream.completions()`. */
  completions: CompletionCounts
  /** Actual minus scheduled departure, µs. */
  departureErrorUs: { p50: number; p99: number }
  retransmittedPackets: number
  smoothedRttUs: number
  pacingRateBps: number
}

export interface FileReport {
  name: string
  bytes: number
  sha256Sent: string | null
  sha256Received: string | null
}

export interface CompletionCounts {
  sent: number
  failed: number
  cancelled: number
}

/** Enough digits to compare, few enough to read. */
export function rounded(value: number, digits: number): number {
  return Number.isFinite(value) ? Number(value.toFixed(digits)) : 0
}

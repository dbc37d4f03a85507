/** What `send --json` and `npm start -- --json` print as their last line. */
export interface Report {
  ok: boolean
  files: FileReport[]
  /** During which a file was under way, until its last byte was acknowledged. */
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
  /** Links and the like inside of folders; only where there were any. */
  skipped?: number
}

export interface FileReport {
  name: string
  bytes: number
  sha256Sent: string | null
  sha256Received: string | null
  /** Bytes that the receiver had of an earlier attempt; only where there were any. */
  resumedAt?: number
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

/** The object of `npm start -- --json`, as the issue that asked for it names it. */
export interface Report {
  ok: boolean
  files: { name: string; bytes: number; sha256Sent: string; sha256Received: string }[]
  seconds: number
  gbitPerSecond: number
  cipher: string
  transmissions: number
  packets: number
  packetsPerTransmission: number
  completions: { sent: number; failed: number; cancelled: number }
  departureErrorUs: { p50: number; p99: number }
  retransmittedPackets: number
  smoothedRttUs: number
  pacingRateBps: number
}

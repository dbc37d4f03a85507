import type { Clock } from './clock.js'

/**
 * The one interface between this package and whatever moves its bytes: the native addon, WASI, or the in-process
 * test network. Nothing above it knows which.
 *
 * Ids: `peer` and `stream` are unsigned 32-bit numbers. JavaScript picks odd ones for what it opens, the driver even
 * ones for what the peer opened. Times are milliseconds on the line of `performance.now()`.
 */
export interface Driver {
  /** The address the socket is bound to. */
  readonly address: { readonly address: string; readonly port: number; readonly family: 'IPv4' | 'IPv6' }

  /**
   * Called (from the event loop) when there is news. It is called again only after a `drain()` that returned 0:
   * until then the caller drains once per turn of the event loop.
   */
  onWake: (() => void) | undefined

  /** Starts a handshake. Throws synchronously only for bad arguments. */
  connect(peer: number, address: string, port: number, options: DriverConnectOptions): void

  /**
   * Makes a peer without a handshake; PeerOpen follows at once. What is secret is copied before the call returns.
   * Throws synchronously for bad arguments, and when this process was given the secret in that role before.
   */
  inject(peer: number, address: string, port: number, options: DriverInjectOptions): void

  /** Encoded commands of one tick: see {@link Op}. The bytes are copied before the call returns. */
  submit(commands: Uint8Array): void

  /** Appends to a stream's send buffer, for chunks too large to be worth encoding. The bytes are copied before the call returns. */
  write(stream: number, chunk: Uint8Array): void

  /**
   * Takes news: encoded events into `events`, received bytes into `slab` from `slabOffset` on.
   * Returns how many elements of `events` were written; 0 means there is no more news and `onWake` is armed.
   * Throws when the driver itself has failed: then nothing more will come.
   */
  drain(events: Float64Array, slab: Uint8Array, slabOffset: number): number

  /** The driver's clock now, in ms on `performance.now()`'s line. */
  now(): number

  /** What the waits of the library run on. Default: the system's clock. */
  readonly clock?: Clock

  /** Counters of the endpoint; after `close()` the last ones. */
  stats(): DriverStats

  /** Newest measurements of a peer's path, or `undefined` before there is one. */
  peerStats(peer: number): DriverPathStats | undefined

  /** The peer's address, or `undefined` for an unknown peer. */
  peerAddress(peer: number): { address: string; port: number } | undefined

  /** Whether this driver keeps the process alive. */
  ref(): void
  unref(): void

  /** Ends everything at once: unsent data is lost, the thread is joined, memory is freed. Idempotent. */
  close(): void
}

export interface DriverConnectOptions {
  /** Each 32 to 1024 bytes; the first opens, all are accepted. */
  secrets: Uint8Array[]
  /** Milliseconds. */
  handshakeTimeout: number
  /** Bits per second; 0 for no cap. */
  maxBitrate: number
}

/** See `PathSecret`: all of it decided. */
export interface DriverPath {
  /** 32 bytes. */
  exportSecret: Uint8Array
  role: 'client' | 'server'
  cipherSuite: 'aes-128-gcm' | 'aes-256-gcm'
  /** 16 bytes. */
  peerResetToken: Uint8Array | undefined
  firstKeyId: number
  /** Bytes. */
  remoteMaxData: number
  remoteMaxStreams: number
  /** Milliseconds. */
  remoteIdleTimeout: number
  /** Bytes of UDP payload. */
  maxDatagramSize: number
}

export interface DriverInjectOptions extends DriverPath {
  /** Milliseconds without an authentic packet after the first stream opened here. */
  handshakeTimeout: number
  /** Bits per second; 0 for no cap. */
  maxBitrate: number
}

export interface DriverStats {
  transmissions: number
  packets: number
  sent: number
  failed: number
  cancelled: number
  controlTransmissions: number
  bytesSent: number
  bytesReceived: number
  packetsReceived: number
  packetsDropped: number
  packetsRetransmitted: number
  packetsLost: number
  streams: number
  paths: number
  poolLent: number
  poolCapacityBytes: number
  poolExhausted: number
  /** Actual minus scheduled departure of stream data, in µs. */
  departureErrorUs: { p50: number; p99: number }
}

export interface DriverPathStats {
  smoothedRttUs: number
  minRttUs: number
  congestionWindow: number
  bytesInFlight: number
  /** Bits per second. */
  pacingRateBps: number
  mtu: number
  cipher: string
  packetsLost: number
  packetsRetransmitted: number
}

/**
 * Commands, in the order they are to be carried out, little endian, each padded with zeros to a multiple of 8 bytes:
 *
 * ```
 *  0        4        8        12       16
 *  ┌────────┬────────┬────────┬────────┬────────────┐
 *  │ op u32 │ id u32 │ len u32│ arg u32│ body (len) │
 *  └────────┴────────┴────────┴────────┴────────────┘
 * ```
 * `u64` bodies are 8 bytes, little endian.
 */
export const Op = {
  /** id = new stream, arg = priority (1 to 7), body = peer as u64. */
  Open: 1,
  /** id = stream, body = the bytes. */
  Write: 2,
  /** id = stream: FIN after what was written. */
  Finish: 3,
  /** id = stream, body = u64 application code (0 to 2^62-1): ends both halves. */
  Reset: 4,
  /** id = stream: drop what arrives from now on. */
  StopReading: 5,
  /** id = stream, body = u64: this many more bytes were taken by the application. */
  Consume: 6,
  /** id = stream, body = u64: send a Progress event once at most this many bytes are unsealed. */
  WantRoom: 7,
  /** id = stream, body = u64: send a Progress event once everything up to this offset is acknowledged (2^64-1: and the FIN). */
  WantAcknowledged: 8,
  /** id = stream: record completions from now on. */
  Record: 9,
  /** id = stream, arg = priority. */
  SetPriority: 10,
  /** id = peer, body = u64 bits per second, 0 for no cap. */
  SetMaxBitrate: 11,
  /** arg = how many streams a peer may have open; 0 refuses. */
  AcceptStreams: 12,
  /** id = peer: forget it; its streams are reset. */
  ClosePeer: 13,
  /** Reset every stream; a Drained event follows. */
  Shutdown: 14,
} as const

/**
 * Events: `[type, length, id, …]`, `length` counting all elements of the record.
 * An event is never split over two drains. Of one stream, Data comes before End and Failed, Progress before Failed and Closed,
 * and Closed comes last, after Failed too.
 */
export const Event = {
  /** id = peer, accepted (0/1). Its handshake is usable. */
  PeerOpen: 1,
  /** id = peer, failure number (0: closed here), detail. */
  PeerClosed: 2,
  /** id = stream, peer. The peer opened a stream; always before its Data. */
  StreamAccepted: 3,
  /** id = stream, slab offset, length. The bytes were copied into the slab. */
  Data: 4,
  /** id = stream. All bytes up to the peer's FIN have been delivered. */
  End: 5,
  /** id = stream, sealed (bytes taken out of the send buffer so far), acknowledged (bytes, without a gap), finAcknowledged (0/1). */
  Progress: 6,
  /** id = stream, failure number, detail. Both halves are over. */
  Failed: 7,
  /** id = stream, transmissions so far, of them unrecorded, acknowledged. Only records follow. */
  Closed: 8,
  /**
   * id = stream, outcome (0 sent, 1 failed, 2 cancelled), scheduledAt ms, sentAt ms (NaN when cancelled), errno (0 without one),
   * then 4 elements a packet: number, stream offset, payload length, flags (1 FIN, 2 retransmission, 4 recovery space, 8 ECT(0)).
   */
  Completion: 9,
  /** id = stream, how many records were dropped because nobody took them. */
  Skipped: 10,
  /** The answer to Shutdown: the wheel is empty. */
  Drained: 11,
} as const

/** Failure numbers of Failed and PeerClosed; `crates/transport/src/error.rs` has the same list. */
export const FailureNumber = {
  HandshakeTimeout: 1,
  HandshakeRefused: 2,
  HandshakeLimit: 3,
  PeerRestarted: 4,
  IdleTimeout: 5,
  PeerReset: 6,
  LocalReset: 7,
  StreamRefused: 8,
  Protocol: 9,
  PeerViolation: 10,
  Send: 11,
  KeyRejected: 12,
  Closed: 13,
  StreamLimit: 14,
  KeyLimit: 15,
  PathUnconfirmed: 16,
} as const

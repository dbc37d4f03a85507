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

/** Counts by bucket; the last bucket has no bound. `histogram.ts` has the bounds. */
export interface DriverHistogram {
  counts: number[]
  /** Of all values. */
  sum: number
}

/** Received datagrams that changed nothing, by reason. */
export interface DropReasons {
  /** No packet of ours, or one that is not complete. */
  malformed: number
  /** Credentials that nobody here knows. */
  unknownPath: number
  /** Of a stream that is over, or that there never was. */
  unknownStream: number
  /** The tag or token is wrong. */
  notAuthentic: number
  /** The packet number was received before. */
  duplicate: number
  /** A first packet of a key id that was used before, or may have been. */
  usedKeyId: number
  /** Beyond the receive window, or one gap too many: it will be sent again. */
  window: number
  /** No room for what it asks. */
  noRoom: number
}

/** What the handshake did, one per reason. A datagram increments exactly one of those up to `failed`. */
export interface HandshakeStats {
  /** Dropped before the MAC: no message type of ours. */
  droppedType: number
  /** Dropped before the MAC: not the length of its type, or another version. */
  droppedLength: number
  /** Dropped before the MAC: somebody wants in, and the endpoint does not accept. */
  droppedNotAccepting: number
  /** Dropped before the MAC: an unknown secret. */
  droppedUnknownSecret: number
  /** Dropped before the MAC: no attempt waits for it. */
  droppedUnexpected: number
  /** Dropped: the MAC is wrong. */
  droppedMac: number
  /** Dropped after the MAC: it does not open. */
  droppedNoise: number
  /** Dropped after the MAC: our own message, reflected. */
  droppedOwnInstance: number
  /** Dropped: a confirmation of nothing that is known. */
  droppedUnknownCredential: number
  /** Dropped: a confirmation that is not authentic. */
  droppedConfirm: number
  /** Dropped after the MAC: too many are half open. */
  droppedPendingFull: number
  /** Dropped after the MAC: too many wait. */
  droppedQueueFull: number
  /** Dropped after the MAC: too many handshakes a second. */
  droppedHandshakeRate: number
  /** Dropped: too many messages or events wait. */
  droppedBusy: number
  /** Dropped after the MAC: the budget of replies is spent. */
  droppedReplyLimit: number
  /** Repeated first messages, dropped. */
  duplicatesDropped: number
  /** Repeated first messages, answered as before. */
  duplicatesAnswered: number
  /** Cookies sent. */
  cookiesSent: number
  /** Refusals sent. */
  refusalsSent: number
  /** Answers sent, each with a half-open path. */
  halfOpen: number
  /** Paths confirmed by those who came. */
  confirmed: number
  /** Confirmations of confirmed paths. */
  confirmsRepeated: number
  /** Cookies put in. */
  cookiesReceived: number
  /** Cookies dropped. */
  cookiesDropped: number
  /** Answers that opened: streams can be opened. */
  usable: number
  /** Paths confirmed to us. */
  completed: number
  /** Refusals that named a common version, which was tried then. */
  versionsRetried: number
  /** Refusals received, and answers that could not be accepted. */
  failed: number
  /** Paths confirmed by an authentic packet. */
  confirmedByPacket: number
  /** Half-open paths forgotten. */
  expired: number
  /** First messages that found no room without a cookie. */
  cookielessSpent: number
  /** Replies not sent because their rate was spent. */
  repliesSpent: number
  /** Replies not sent because the last one to the same key was too recent. */
  replyGaps: number
  /** Replies not sent because too many messages wait. */
  messagesFull: number
  /** Attempts made. */
  attempts: number
  /** Messages sent again by a timer. */
  retransmissions: number
  /** Attempts and confirmations that timed out. */
  timeouts: number
  /** Attempts completed by authentic packets instead of a confirmation. */
  completedWithoutToken: number
  /** Attempts and half-open paths ended because their secret was removed. */
  secretRemoved: number
}

/** Packets about credentials and key ids that are not accepted. Received: authentic ones, acted upon. */
export interface SecretControlStats {
  /** To peers of a predecessor of this process, and to strangers. */
  unknownPathSecretSent: number
  /** About key ids that may have been used. */
  staleKeySent: number
  /** About key ids that were used. */
  replayDetectedSent: number
  /** A peer has lost its keys. */
  unknownPathSecretReceived: number
  /** A peer takes only higher key ids. */
  staleKeyReceived: number
  /** A peer rejected a stream's key id. */
  replayDetectedReceived: number
}

/** What the socket did. All 0 where there is none. */
export interface SocketStats {
  /** Send calls that succeeded. */
  sends: number
  /** Transmissions that left in a send call together with others. */
  joined: number
  /** Bursts that segmentation offload refused, and that were sent singly. */
  gsoFallbacks: number
  /** Send calls that found the socket full. */
  wouldBlock: number
  /** Send calls that found the device full (ENOBUFS). */
  deviceFull: number
  /** Send calls repeated because the error may have belonged to an earlier datagram (ICMP). */
  staleErrors: number
  /** Receive calls that brought a burst. */
  receives: number
  /** Receive calls that failed in a way that will not pass by itself. */
  receiveErrors: number
  /** Arrivals larger than a descriptor; their last, cut datagram was dropped. */
  truncated: number
  /** Times the pool had no descriptor to receive into. */
  starved: number
}

/** Counters of an endpoint since it started. Bytes are UDP payload where nothing else is said. */
export interface DriverStats {
  /** Data, retransmission and probe transmissions scheduled. */
  transmissions: number
  /** Their packets. */
  packets: number
  /** Of `transmissions`: handed to the network. */
  sent: number
  /** Of `transmissions`: refused by the network. */
  failed: number
  /** Of `transmissions`: taken back unsent. */
  cancelled: number
  /** Acknowledgements and handshake messages. */
  controlTransmissions: number
  /** Bytes handed to the network. */
  bytesSent: number
  /** Bytes received. */
  bytesReceived: number
  /** Bytes of packets that were acknowledged. */
  bytesAcknowledged: number
  /** Bytes of streams received for the first time. */
  streamBytesReceived: number
  /** Datagrams received. */
  packetsReceived: number
  /** Of them, without effect; what the handshake drops is counted there. */
  packetsDropped: number
  /** `packetsDropped` by reason. */
  dropped: DropReasons
  /** Packets sent again after loss or timeout. */
  packetsRetransmitted: number
  /** Bytes of them. */
  bytesRetransmitted: number
  /** Packets declared lost. */
  packetsLost: number
  /** Bytes of them. */
  bytesLost: number
  /** Of `packetsLost`: acknowledged later, they were only late. */
  packetsSpuriouslyLost: number
  /** Times a path lost everything for so long that its controller starts over (RFC 9002, section 7.6). */
  persistentCongestions: number
  /** Probe timeouts (RFC 9002, section 6.2). */
  probeTimeouts: number
  /** Marks of congestion (ECN-CE) that peers reported. */
  ecnCeReported: number
  /** Received datagrams that carried the mark. */
  ecnCeReceived: number
  /** Streams, now. */
  streams: number
  /** Paths, now. */
  paths: number
  /** Packet buffers out, now. */
  poolLent: number
  /** Bytes of them, now. */
  poolLentBytes: number
  /** The most that was out at once, in bytes. */
  poolPeakBytes: number
  /** Bound of the packet memory, in bytes. */
  poolCapacityBytes: number
  /** Times there was no packet memory for data. */
  poolExhausted: number
  /** Actual minus scheduled departure of each transmission of stream data, in µs; never negative, as nothing leaves early. */
  pacingErrorUs: DriverHistogram
  /** Packets that left back to back: bursts that followed each other in less than half the time the rate gives them. The newest train counts when the next begins. */
  trainPackets: DriverHistogram
  /** Packets of each transmission. */
  gsoSegments: DriverHistogram
  /** The handshake's counters. */
  handshake: HandshakeStats
  /** Packets about keys that are not accepted. */
  secretControl: SecretControlStats
  /** The socket's counters. */
  socket: SocketStats
}

/** Newest measurements of a path, and its counters since it was made. Bytes are UDP payload. */
export interface DriverPathStats {
  /** Names the path. Another number is another path (the peer restarted, or was connected anew), whose counters began at 0. */
  path: number
  /** Smoothed round trip in µs; 0 before the first sample, as the next three. */
  smoothedRttUs: number
  /** Smallest round trip of the last five to ten seconds, in µs. */
  minRttUs: number
  /** Newest round trip in µs. */
  latestRttUs: number
  /** Variation of the round trip in µs (RFC 9002, section 5.3). */
  rttVariationUs: number
  /** Congestion window in bytes. */
  congestionWindow: number
  /** Bytes sent and neither acknowledged nor lost. */
  bytesInFlight: number
  /** Bytes scheduled and not yet sent. */
  scheduledBytes: number
  /** Rate at which data is paced, in bits per second. */
  pacingRateBps: number
  /** Largest UDP payload in bytes. */
  mtu: number
  /** The path's cipher. */
  cipher: 'aes-128-gcm' | 'aes-256-gcm'
  /** Whether the path carries ECN marks: `'testing'` until an answer tells, `'failed'` once it lost or changed them. */
  ecn: 'testing' | 'capable' | 'failed'
  /** Streams that use it, now. */
  streams: number
  /** Data, retransmission and probe transmissions handed to the network. */
  sent: number
  /** Their packets. */
  packetsSent: number
  /** Bytes of them. */
  bytesSent: number
  /** Authentic packets of its streams. */
  packetsReceived: number
  /** Bytes of them. */
  bytesReceived: number
  /** Bytes of packets that were acknowledged. */
  bytesAcknowledged: number
  /** Packets declared lost. */
  packetsLost: number
  /** Bytes of them. */
  bytesLost: number
  /** Of `packetsLost`: acknowledged later, they were only late. */
  packetsSpuriouslyLost: number
  /** Packets sent again after loss or timeout. */
  packetsRetransmitted: number
  /** Bytes of them. */
  bytesRetransmitted: number
  /** Times the path lost everything for so long that its controller starts over (RFC 9002, section 7.6). */
  persistentCongestions: number
  /** Probe timeouts (RFC 9002, section 6.2). */
  probeTimeouts: number
  /** Marks of congestion (ECN-CE) that the peer reported. */
  ecnCeReported: number
  /** As in {@link DriverStats.pacingErrorUs}. */
  pacingErrorUs: DriverHistogram
  /** As in {@link DriverStats.trainPackets}. */
  trainPackets: DriverHistogram
  /** As in {@link DriverStats.gsoSegments}. */
  gsoSegments: DriverHistogram
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
  /**
   * id = stream, sealed (bytes taken out of the send buffer so far), acknowledged (bytes, without a gap), finAcknowledged (0/1), then, from
   * drivers that count them: transmissions, packets, retransmitted packets, retransmitted bytes, lost packets, all so far.
   */
  Progress: 6,
  /** id = stream, failure number, detail. Both halves are over. */
  Failed: 7,
  /** id = stream, transmissions so far, of them unrecorded, acknowledged. Only records follow. */
  Closed: 8,
  /**
   * id = stream, outcome (0 sent, 1 failed, 2 cancelled), scheduledAt ms, sentAt ms (NaN when cancelled), errno (0 without one),
   * then 4 elements a packet: number, stream offset, payload length, flags (1 FIN, 2 retransmission, 4 recovery space, 8 ECT(0))
   * + 65,536 × bytes of the packet.
   */
  Completion: 9,
  /** id = stream, how many records were dropped because nobody took them. */
  Skipped: 10,
  /** The answer to Shutdown: the wheel is empty. */
  Drained: 11,
  /** id = bursts so far that segmentation offload refused, and that were sent packet by packet. */
  Offload: 12,
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

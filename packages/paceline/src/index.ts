/**
 * Reliable, encrypted, paced streams over UDP.
 *
 * @example
 * import { Endpoint } from 'paceline'
 *
 * const sender = await Endpoint.bind()
 * const peer = await sender.connect('10.0.0.2', 4433, { secret })
 * const stream = peer.openStream()
 * await stream.writer.write('hello')
 * const { undelivered } = await stream.close({ deadline: 5_000 })
 *
 * @module
 */
export { Chunks } from './chunks.js'
export type { CloseResult } from './closing.js'
export { Completion, Completions, type CompletionPacket } from './completions.js'
export { measurePerformance, type DiagnosticMessages } from './diagnostics.js'
export type {
  Driver,
  DriverConnectOptions,
  DriverHistogram,
  DriverInjectOptions,
  DriverPath,
  DriverPathStats,
  DriverStats,
  DropReasons,
  HandshakeStats,
  SecretControlStats,
  SocketStats,
} from './driver.js'
export { Endpoint, type DriverFactory } from './endpoint.js'
export {
  AbortError,
  EndpointError,
  ERROR_CODES,
  OptionError,
  PacelineError,
  PeerError,
  StreamError,
  type ErrorCode,
  type ErrorDescription,
  type ErrorDetails,
  type Fault,
} from './errors.js'
export { Histogram } from './histogram.js'
export { metrics } from './metrics.js'
export {
  PRESETS,
  type BindOptions,
  type CloseOptions,
  type ConnectOptions,
  type DuplexOptions,
  type DuplexSettings,
  type EndpointSettings,
  type ListenOptions,
  type ListenPathSecrets,
  type OpenStreamOptions,
  type Preset,
  type WaitOptions,
} from './options.js'
export { resetToken, type ListenPathSecret, type PathSecret } from './path-secret.js'
export { Peer, type PeerAddress } from './peer.js'
export type { QlogOptions, QlogResult } from './qlog.js'
export { formatSecret, generateSecret, parseSecret, readSecretFile, type Secret } from './secret.js'
export { type EndpointStats, type PeerStats, type StatsOptions, type StreamCounts, type StreamStats, type Taken } from './stats.js'
export { Stream } from './stream.js'
export type { WebStreams } from './web.js'
export { Writer, type Writable } from './writer.js'

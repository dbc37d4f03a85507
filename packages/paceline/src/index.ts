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
export type { Driver, DriverConnectOptions, DriverInjectOptions, DriverPath, DriverPathStats, DriverStats } from './driver.js'
export { Endpoint, type DriverFactory, type EndpointStats } from './endpoint.js'
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
export type { ListenPathSecret, PathSecret } from './path-secret.js'
export { Peer, type PathStats, type PeerAddress } from './peer.js'
export { formatSecret, generateSecret, parseSecret, readSecretFile, type Secret } from './secret.js'
export { Stream, type StreamStats } from './stream.js'
export type { WebStreams } from './web.js'
export { Writer, type Writable } from './writer.js'

import { channel } from 'node:diagnostics_channel'
import { performance } from 'node:perf_hooks'
import { debuglog } from 'node:util'
import type { Driver } from './driver.js'
import type { Endpoint } from './endpoint.js'
import { booleanOption, requiredOption } from './options.js'
import type { Peer } from './peer.js'
import type { Stream } from './stream.js'

/**
 * What is published, by channel of `node:diagnostics_channel`. Nothing is made for a channel that nobody has subscribed to.
 *
 * @example
 * import { subscribe } from 'node:diagnostics_channel'
 *
 * subscribe('paceline:stream.blocked', (message) => {
 *   const { stream, waiting } = message as DiagnosticMessages['paceline:stream.blocked']
 *   console.warn(`stream ${stream.id}: ${waiting} bytes wait`)
 * })
 */
export interface DiagnosticMessages {
  /** An endpoint is bound. */
  'paceline:endpoint.open': { endpoint: Endpoint; address: Driver['address'] }
  /** An endpoint ends because of this error: its worker failed, or `destroy(error)` was called. 'closed' follows. */
  'paceline:endpoint.error': { endpoint: Endpoint | undefined; address: Driver['address']; error: Error }
  /** Nothing of an endpoint is left. */
  'paceline:endpoint.closed': { endpoint: Endpoint | undefined; address: Driver['address'] }
  /** A handshake begins. */
  'paceline:peer.connecting': { endpoint: Endpoint | undefined; address: string; port: number }
  /** Streams can be opened; `accepted`: the peer came to us. */
  'paceline:peer.open': { peer: Peer; accepted: boolean }
  /** A handshake failed (`peer` is undefined), or a peer is gone ('closed' follows). */
  'paceline:peer.error': { peer: Peer | undefined; address: string | undefined; port: number | undefined; error: Error }
  /** A peer is over; `error` is undefined when it was closed here. */
  'paceline:peer.closed': { peer: Peer; error: Error | undefined }
  /** `openStream()` has made a stream. */
  'paceline:stream.created': { stream: Stream }
  /** A peer has opened a stream. */
  'paceline:stream.opened': { stream: Stream }
  /** Both halves end at once with this code: by the peer (`remote`) or from here. */
  'paceline:stream.reset': { stream: Stream; code: number; remote: boolean }
  /** A stream ends early; also where nobody listens for 'error'. */
  'paceline:stream.error': { stream: Stream; error: Error }
  /** A stream is over. */
  'paceline:stream.closed': { stream: Stream; acknowledged: number; undelivered: number }
  /** A write waits: the send buffer has no room. `waiting` bytes are not in it. */
  'paceline:stream.blocked': { stream: Stream; waiting: number }
  /** Nothing waits any more. `blockedFor` is in ms. */
  'paceline:stream.unblocked': { stream: Stream; blockedFor: number }
  /** Segmentation offload was refused for `count` bursts since the last message, which were sent packet by packet; `total` since the start. */
  'paceline:offload.fallback': { endpoint: Endpoint | undefined; count: number; total: number }
}

/** A channel of which TypeScript knows what goes through. */
interface TypedChannel<Message> {
  readonly hasSubscribers: boolean
  publish(message: Message): void
}

function open<Name extends keyof DiagnosticMessages>(name: Name): TypedChannel<DiagnosticMessages[Name]> {
  return channel(name)
}

/** Ask `hasSubscribers` before a message is made. */
export const channels = {
  endpointOpen: open('paceline:endpoint.open'),
  endpointError: open('paceline:endpoint.error'),
  endpointClosed: open('paceline:endpoint.closed'),
  peerConnecting: open('paceline:peer.connecting'),
  peerOpen: open('paceline:peer.open'),
  peerError: open('paceline:peer.error'),
  peerClosed: open('paceline:peer.closed'),
  streamCreated: open('paceline:stream.created'),
  streamOpened: open('paceline:stream.opened'),
  streamReset: open('paceline:stream.reset'),
  streamError: open('paceline:stream.error'),
  streamClosed: open('paceline:stream.closed'),
  streamBlocked: open('paceline:stream.blocked'),
  streamUnblocked: open('paceline:stream.unblocked'),
  offloadFallback: open('paceline:offload.fallback'),
} as const

/** Shown with `NODE_DEBUG=paceline`. */
export const debug = debuglog('paceline')

let measuring = process.env['PACELINE_PERFORMANCE'] === '1'

/**
 * Whether handshakes and streams are measured with `performance.measure()`, for a `PerformanceObserver` of type `'measure'`: names
 * `paceline:connect` (detail: address, port) and `paceline:stream` (detail: id, acknowledged, undelivered). Off, as Node does not tell
 * whether anybody observes; the environment variable `PACELINE_PERFORMANCE=1` turns it on from the start. Observers get every entry; the
 * timeline keeps none, as it would grow for ever.
 *
 * @example
 * import { PerformanceObserver } from 'node:perf_hooks'
 * import { measurePerformance } from 'paceline'
 *
 * new PerformanceObserver((list) => console.log(list.getEntries())).observe({ type: 'measure' })
 * measurePerformance(true)
 *
 * @throws {OptionError} `ERR_PACELINE_OPTION`
 */
export function measurePerformance(enabled: boolean): void {
  measuring = booleanOption('enabled', requiredOption('enabled', 'true or false', enabled), false)
}

/** Whether {@link measure} is to be called. */
export function isMeasuring(): boolean {
  return measuring
}

/** From `start` to `end`, in ms on the line of `performance.now()`. */
export function measure(name: 'paceline:connect' | 'paceline:stream', start: number, end: number, detail: object): void {
  performance.measure(name, { start, end: Math.max(start, end), detail })
  performance.clearMeasures(name)
}

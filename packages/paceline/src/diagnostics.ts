import { channel } from 'node:diagnostics_channel'
import { debuglog } from 'node:util'

/**
 * Channels of `node:diagnostics_channel`. Messages are plain objects with the endpoint's address and the object concerned.
 */
export const channels = {
  /** `{ address }` */
  endpointOpen: channel('paceline:endpoint.open'),
  /** `{ address }` */
  endpointClosed: channel('paceline:endpoint.closed'),
  /** `{ peer, accepted }` */
  peerOpen: channel('paceline:peer.open'),
  /** `{ peer, error }` */
  peerClosed: channel('paceline:peer.closed'),
  /** `{ stream, accepted }` */
  streamOpen: channel('paceline:stream.open'),
  /** `{ stream, error }`: also errors that nobody listens for. */
  streamError: channel('paceline:stream.error'),
  /** `{ stream, acknowledged, undelivered }` */
  streamClosed: channel('paceline:stream.closed'),
} as const

/** Shown with `NODE_DEBUG=paceline`. */
export const debug = debuglog('paceline')

import { onAbort } from './abort.js'
import { DISPOSE_DEADLINE, type CloseResult } from './closing.js'
import type { Core } from './core.js'
import { channels, debug } from './diagnostics.js'
import type { DriverPathStats } from './driver.js'
import { AbortError, PeerError } from './errors.js'
import { bitrateOption, closeSettings, duplexSettings, objectOption, priorityOption, requiredOption, signalOption, STREAM_NAMES, type CloseOptions, type OpenStreamOptions } from './options.js'
import { Book, noPathStats, type PeerStats, type StatsOptions } from './stats.js'
import type { Stream } from './stream.js'

/** Where a peer is. */
export interface PeerAddress {
  readonly address: string
  readonly port: number
  readonly family: 'IPv4' | 'IPv6'
}

/** Another endpoint, after the handshake. Opening a stream to it costs no round trip. */
export class Peer {
  /** As the endpoint names it; odd if connected to from here. */
  readonly id: number
  /** Whether it came to us. */
  readonly accepted: boolean
  /** Resolves when the handshake is usable; at once for every peer an endpoint hands out. Never an unhandled rejection. */
  readonly opened: Promise<void>
  /** Resolves when it was closed here, rejects with why it failed. There is no goodbye on the wire. Never an unhandled rejection. */
  readonly closed: Promise<void>
  readonly #core: Core
  readonly #book: Book<DriverPathStats, PeerStats>
  /** The newest that was known: a path's end takes its counters along. */
  #counts = noPathStats()
  #remote: PeerAddress | undefined
  #maxBitrate: number
  #over = false
  #resolveClosed!: () => void
  #rejectClosed!: (error: Error) => void

  /** @internal */
  constructor(core: Core, id: number, accepted: boolean, maxBitrate: number) {
    this.#core = core
    this.id = id
    this.accepted = accepted
    this.#maxBitrate = maxBitrate
    this.#book = new Book('peer', core.driver.now())
    this.opened = Promise.resolve()
    this.closed = new Promise((resolve, reject) => {
      this.#resolveClosed = resolve
      this.#rejectClosed = reject
    })
    this.closed.catch(() => undefined)
    // What is asked while it is there is known when it is gone.
    void this.remoteAddress
  }

  /** Its address now; the last one known after it is closed. */
  get remoteAddress(): PeerAddress | undefined {
    const found = this.#core.peerAddress(this.id)
    if (found !== undefined) {
      this.#remote = { address: found.address, port: found.port, family: found.address.includes(':') ? 'IPv6' : 'IPv4' }
    }
    return this.#remote
  }

  /** Cap on the rate towards it, in bits per second; 0 for none. */
  get maxBitrate(): number {
    return this.#maxBitrate
  }

  set maxBitrate(bitsPerSecond: number) {
    this.#maxBitrate = bitrateOption('maxBitrate', requiredOption('maxBitrate', 'a number', bitsPerSecond))
    this.#core.commands.setMaxBitrate(this.id, Math.floor(this.#maxBitrate))
  }

  /** Its streams that are not over. */
  get streams(): Stream[] {
    return this.#core.streamsOf(this)
  }

  /**
   * Opens a stream, at once and without a round trip.
   *
   * @throws {PeerError} `ERR_PACELINE_PEER_CLOSED`
   * @throws {EndpointError} `ERR_PACELINE_ENDPOINT_CLOSED`
   */
  openStream(options: OpenStreamOptions = {}): Stream {
    const given = objectOption('options', options, STREAM_NAMES)
    const priority = priorityOption('options.priority', given.priority)
    const signal = signalOption('options.signal', given.signal)
    if (signal?.aborted === true) throw new AbortError(signal.reason)
    if (this.#over) throw new PeerError('ERR_PACELINE_PEER_CLOSED')
    const stream = this.#core.openStream(this, priority, duplexSettings(given, this.#core.duplex))
    if (signal !== undefined) {
      const weak = new WeakRef(stream)
      stream._whenReleased(
        onAbort(signal, () => {
          weak.deref()?._abort(new AbortError(signal.reason))
        }),
      )
    }
    return stream
  }

  /**
   * Newest measurements of the path to it, and the path's counters since it was made, or since an earlier `stats()`. After the end
   * the last ones that were known. Peers at one address share a path. On another path (see `path`) counters begin anew.
   *
   * @example
   * const { smoothedRttUs, pacingRateBps, congestionWindow } = peer.stats()
   *
   * @throws {OptionError} `ERR_PACELINE_OPTION`: `since` is not from here
   */
  stats(options: StatsOptions<PeerStats> = {}): PeerStats {
    const since = this.#book.since(options)
    this.#updateCounts()
    const counts = this.#counts
    return this.#book.show(counts, this.#core.driver.now(), since, (then) => then.path === counts.path)
  }

  /**
   * Closes its streams (see `stream.close()`; default deadline 30 s), then forgets it. Resolves with the sum over its streams.
   *
   * @throws {AbortError} the signal was aborted; its streams are reset, and it is forgotten
   */
  async close(options: CloseOptions = {}): Promise<CloseResult> {
    const { deadline, signal } = closeSettings(options, DISPOSE_DEADLINE)
    try {
      return await this.#core.closeStreams(this.streams, deadline, signal)
    } finally {
      this.destroy()
    }
  }

  /** Forgets it at once; its streams are reset. */
  destroy(): void {
    if (this.#over) return
    this.#updateCounts()
    this.#core.closePeer(this)
    this._closed(undefined)
  }

  /** `await using`: as `close()`. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#over) await this.close()
  }

  #updateCounts(): void {
    if (!this.#over) this.#counts = this.#core.peerStats(this.id) ?? this.#counts
  }

  /** @internal */
  _closed(error: Error | undefined): void {
    if (this.#over) return
    this.#over = true
    debug('peer %d closed: %s', this.id, error?.message ?? 'here')
    if (error !== undefined && channels.peerError.hasSubscribers) {
      const { address, port } = this.remoteAddress ?? { address: undefined, port: undefined }
      channels.peerError.publish({ peer: this, address, port, error })
    }
    if (channels.peerClosed.hasSubscribers) channels.peerClosed.publish({ peer: this, error })
    if (error === undefined) this.#resolveClosed()
    else this.#rejectClosed(error)
  }
}

import { isIP } from 'node:net'
import { wait } from './abort.js'
import { DISPOSE_DEADLINE, type CloseResult } from './closing.js'
import type { Completions } from './completions.js'
import { Core } from './core.js'
import { channels, debug } from './diagnostics.js'
import type { Driver, DriverStats } from './driver.js'
import { EndpointError } from './errors.js'
import { createNativeDriver } from './native.js'
import {
  bitrateOption,
  closeSettings,
  CONNECT_NAMES,
  endpointSettings,
  hostOption,
  integerOption,
  numberOption,
  objectOption,
  signalOption,
  waitSignal,
  wrongOption,
  type BindOptions,
  type CloseOptions,
  type ConnectOptions,
  type EndpointSettings,
  type ListenOptions,
  type WaitOptions,
} from './options.js'
import { checkConnectPath, checkListenPaths, wipe, type ListenPath } from './path-secret.js'
import type { Peer } from './peer.js'
import { checkSecret } from './secret.js'
import { Book, type EndpointStats, type StatsOptions } from './stats.js'
import type { Stream } from './stream.js'

const HANDSHAKE_TIMEOUT = 10_000

/** Makes the driver of an endpoint from its settings; `host` is an IP address. */
export type DriverFactory = (settings: EndpointSettings) => Driver | Promise<Driver>

/**
 * A UDP port with everything behind it. Iterating over it gives the streams that peers open; while nobody iterates, none
 * is let in.
 *
 * @example
 * const receiver = await Endpoint.listen({ port: 4433, secret })
 * try {
 *   for await (const stream of receiver) stream.pipe(createWriteStream('out'))
 * } finally {
 *   await receiver.close()
 * }
 */
export class Endpoint implements AsyncIterable<Stream> {
  /** Resolves when the endpoint is closed, also after a failure, which iterations over it and `peer.closed` tell. Never rejects. */
  readonly closed: Promise<void>
  readonly #core: Core
  readonly #secrets: Uint8Array[]
  readonly #address: Driver['address']
  readonly #book: Book<DriverStats, EndpointStats>
  #closing: Promise<CloseResult> | undefined

  private constructor(driver: Driver, settings: EndpointSettings) {
    this.#core = new Core(driver, settings)
    this.#core.endpoint = this
    this.#secrets = settings.secrets
    this.#address = driver.address
    this.#book = new Book('endpoint', driver.now())
    this.closed = this.#core.ended
    debug('endpoint %s:%d open', this.#address.address, this.#address.port)
    if (channels.endpointOpen.hasSubscribers) channels.endpointOpen.publish({ endpoint: this, address: this.#address })
  }

  /**
   * An endpoint that accepts peers with one of the secrets, and can connect, too.
   *
   * @throws {OptionError} `ERR_PACELINE_OPTION`, `ERR_PACELINE_SECRET`, `ERR_PACELINE_PATH_SECRET_USED`
   * @throws {EndpointError} `ERR_PACELINE_BIND`, `ERR_PACELINE_RESOLVE`, `ERR_PACELINE_NATIVE_MISSING`
   */
  static async listen(options: ListenOptions): Promise<Endpoint> {
    return Endpoint.create(createNativeDriver, options, true)
  }

  /** An endpoint that only connects. Throws as `listen` does. */
  static async bind(options: BindOptions = {}): Promise<Endpoint> {
    return Endpoint.create(createNativeDriver, options, false)
  }

  /** An endpoint over a driver of one's own, as the test network is. `listens`: with the meaning of `listen`, else of `bind`. */
  static async create(factory: DriverFactory, options: BindOptions | ListenOptions, listens: boolean): Promise<Endpoint> {
    if (typeof factory !== 'function') throw wrongOption('factory', 'a function that makes a driver', factory)
    const pathSecret = (options as { pathSecret?: unknown } | undefined)?.pathSecret
    const settings = endpointSettings(options, listens, listens && pathSecret === undefined)
    if (!listens && pathSecret !== undefined) throw wrongOption('options.pathSecret', 'nothing here but in connect() or listen()', pathSecret)
    const paths = pathSecret === undefined ? [] : checkListenPaths('options.pathSecret', pathSecret)
    try {
      const { address } = await resolve(settings.host, 0)
      // Peers with one of the secrets are let in only by an endpoint that listens.
      const driver = await factory({ ...settings, host: address, secrets: listens ? settings.secrets : [] })
      const endpoint = new Endpoint(driver, settings)
      await endpoint.#injectAll(paths)
      return endpoint
    } finally {
      for (const { path } of paths) wipe(path)
    }
  }

  /** Where it is bound; `port` is the real one. */
  get address(): Driver['address'] {
    return this.#address
  }

  /** The peers it knows. */
  get peers(): Peer[] {
    return [...this.#core.peers.values()]
  }

  /**
   * Makes the handshake with `host`:`port`; resolves when streams can be opened.
   *
   * With `pathSecret` there is no handshake: it resolves at once.
   *
   * @throws {PeerError} `ERR_PACELINE_HANDSHAKE_TIMEOUT`, `ERR_PACELINE_HANDSHAKE_REFUSED`, `ERR_PACELINE_HANDSHAKE_LIMIT`
   * @throws {OptionError} `ERR_PACELINE_OPTION`, `ERR_PACELINE_SECRET`, `ERR_PACELINE_PATH_SECRET_USED`
   * @throws {EndpointError} `ERR_PACELINE_RESOLVE`, `ERR_PACELINE_ENDPOINT_CLOSED`
   * @throws {AbortError} the signal was aborted
   */
  async connect(host: string, port: number, options: ConnectOptions = {}): Promise<Peer> {
    const given = objectOption('options', options, CONNECT_NAMES)
    const name = hostOption('host', host)
    if (port === undefined) throw wrongOption('port', 'an integer from 1 to 65535', port)
    const checkedPort = integerOption('port', port, 0, 1, 65_535)
    if (given.secret !== undefined && given.pathSecret !== undefined) throw wrongOption('options.pathSecret', 'nothing beside options.secret', given.pathSecret)
    const injects = given.pathSecret !== undefined
    const secrets = injects ? [] : given.secret === undefined && this.#secrets.length > 0 ? this.#secrets : checkSecret('options.secret', given.secret)
    const handshakeTimeout = numberOption('options.handshakeTimeout', given.handshakeTimeout, HANDSHAKE_TIMEOUT, 10, 600_000, ' ms')
    const maxBitrate = bitrateOption('options.maxBitrate', given.maxBitrate)
    const signal = signalOption('options.signal', given.signal)
    // Copied before the wait: what happens to the caller's bytes meanwhile is the caller's business.
    const path = injects ? checkConnectPath('options.pathSecret', given.pathSecret) : undefined
    try {
      const address = await this.#reach(host, name, signal)
      return path === undefined
        ? this.#core.connect(address, checkedPort, { secrets, handshakeTimeout, maxBitrate, signal })
        : this.#core.inject(address, checkedPort, { path, handshakeTimeout, maxBitrate, signal })
    } finally {
      if (path !== undefined) wipe(path)
    }
  }

  /** The address of `name`, if the socket reaches it; `host` is what the caller said. */
  async #reach(host: string, name: string, signal: AbortSignal | undefined): Promise<string> {
    const { address, family } = await wait<Resolved>(signal, (waiter) => {
      resolve(name, this.#family).then(waiter.resolve, waiter.reject)
    })
    if (family !== this.#family) {
      const { address: own } = this.#address
      throw wrongOption('host', `an IPv${this.#family} address (the endpoint is bound to ${own}, bind '${family === 6 ? '::' : '0.0.0.0'}' for this one)`, host)
    }
    return address
  }

  /** All of them or, if one is refused, no endpoint. */
  async #injectAll(paths: readonly ListenPath[]): Promise<void> {
    try {
      for (const { path, peerAddress } of paths) {
        await this.#core.inject(peerAddress.address, peerAddress.port, { path, handshakeTimeout: HANDSHAKE_TIMEOUT, maxBitrate: 0, signal: undefined })
      }
    } catch (error) {
      this.destroy()
      throw error
    }
  }

  /**
   * Counters since the start, or since an earlier `stats()`; after `close()` the last ones.
   *
   * @example
   * let last = endpoint.stats()
   * setInterval(() => {
   *   last = endpoint.stats({ since: last })
   *   console.log((last.bytesSent * 8) / last.elapsed, 'kbit/s')
   * }, 1_000)
   *
   * @throws {OptionError} `ERR_PACELINE_OPTION`: `since` is not from here
   */
  stats(options: StatsOptions<EndpointStats> = {}): EndpointStats {
    const since = this.#book.since(options)
    return this.#book.show(this.#core.stats(), this.#core.driver.now(), since)
  }

  /**
   * What becomes of every transmission of all streams from now on, until the endpoint is closed; `streamId` says whose it is. Recording
   * costs a copied record a transmission, so it begins here, and ends with the loop for streams opened after it. An abort of
   * `signal` is such an end.
   *
   * @example
   * for await (const { streamId, outcome, scheduledAt, bytes } of endpoint.completions()) console.log(streamId, outcome, scheduledAt, bytes)
   *
   * @throws {AbortError} from the loop, when the signal is aborted
   */
  completions(options: WaitOptions = {}): Completions {
    return this.#core.completions(waitSignal(options))
  }

  /**
   * The streams that peers open. They are let in from the first `next()` to the end of the loop; those that came and were
   * not taken stay for the next loop. Leaving a loop ends what still waits with it.
   *
   * @throws {EndpointError} from the loop, when the endpoint has failed, or the error that destroyed it
   * @throws {AbortError} from the loop, when the signal is aborted
   */
  streams(options: WaitOptions = {}): AsyncIterableIterator<Stream> {
    return new AcceptedStreams(this.#core, waitSignal(options))
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<Stream> {
    return this.streams()
  }

  /**
   * Lets nobody in, ends every stream and waits until everything written is acknowledged; at the deadline (default 30 s)
   * the rest is reset. Resolves with the sum over the streams; then nothing of the endpoint is left. A further call resolves
   * with the same; the deadline and the signal it is given hold for what is left, so `close({ deadline: 0 })` cuts a close short.
   *
   * @throws {AbortError} the signal was aborted; everything is reset
   */
  async close(options: CloseOptions = {}): Promise<CloseResult> {
    const { deadline, signal } = closeSettings(options, this.#closing === undefined ? DISPOSE_DEADLINE : Infinity)
    if (this.#core.closed !== undefined) return this.#core.result
    if (this.#closing === undefined) this.#closing = this.#core.close(deadline, signal)
    else await this.#core.closeStreams(this.#core.streams, deadline, signal)
    return { ...(await this.#closing) }
  }

  /**
   * Ends everything at once: what was not acknowledged may be lost. What waits is rejected with `error`, iterations over the
   * endpoint and `peer.closed` too; without one these end as after `close()`.
   */
  destroy(error?: Error): void {
    if (error !== undefined && !(error instanceof Error)) throw wrongOption('error', 'an Error', error)
    this.#core.destroy(error)
  }

  /** The process stays alive for this endpoint (the default). */
  ref(): this {
    if (this.#core.closed === undefined) this.#core.driver.ref()
    return this
  }

  /** The process does not stay alive for this endpoint. */
  unref(): this {
    if (this.#core.closed === undefined) this.#core.driver.unref()
    return this
  }

  /** `await using`: as `close()`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** The only one the socket reaches. */
  get #family(): 4 | 6 {
    return this.#address.family === 'IPv4' ? 4 : 6
  }
}

class AcceptedStreams implements AsyncIterableIterator<Stream> {
  readonly #core: Core
  readonly #signal: AbortSignal | undefined
  #state: 'new' | 'accepting' | 'over' = 'new'

  constructor(core: Core, signal: AbortSignal | undefined) {
    this.#core = core
    this.#signal = signal
  }

  async next(): Promise<IteratorResult<Stream, undefined>> {
    if (this.#state === 'over') return { done: true, value: undefined }
    if (this.#state === 'new') {
      this.#state = 'accepting'
      this.#core.startAccepting()
    }
    try {
      const result = await wait<IteratorResult<Stream, undefined>>(
        this.#signal,
        (waiter) => {
          this.#core.nextAccepted(this, waiter)
        },
        (waiter) => {
          this.#core.abandonAccepted(waiter)
        },
      )
      if (result.done === true) this.#end()
      return result
    } catch (error) {
      this.#end()
      throw error
    }
  }

  return(): Promise<IteratorResult<Stream, undefined>> {
    this.#end()
    return Promise.resolve({ done: true, value: undefined })
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  #end(): void {
    if (this.#state === 'accepting') this.#core.stopAccepting(this)
    this.#state = 'over'
  }
}

interface Resolved {
  address: string
  family: number
}

async function resolve(host: string, family: 0 | 4 | 6): Promise<Resolved> {
  const literal = isIP(host)
  if (literal !== 0) return { address: host, family: literal }
  try {
    const { lookup } = await import('node:dns/promises')
    return await lookup(host, { family })
  } catch (error) {
    throw new EndpointError('ERR_PACELINE_RESOLVE', `the name ${JSON.stringify(host)} has no usable address`, { syscall: 'getaddrinfo', cause: error })
  }
}

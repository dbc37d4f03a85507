import { createHash } from 'node:crypto'
import { wait } from './abort.js'
import { Endpoint } from './endpoint.js'
import { driverError, EndpointError, type PacelineError } from './errors.js'
import { loadAddon } from './native.js'
import { NetworkDriver, type NativeEndpointOptions, type NativeNetwork, type NetworkStats } from './network-driver.js'
import { optionNames } from './option-names.js'
import { outside, unwatchOutside, watchOutside } from './outside.js'
import { LINK_NAMES, linkSettings, networkSettings, type LinkOptions, type LinkSettings, type NetworkOptions } from './network-options.js'
import { booleanOption, numberOption, objectOption, waitSignal, wrongOption, type BindOptions, type EndpointSettings, type ListenOptions, type WaitOptions } from './options.js'
import { VirtualClock, type VirtualTimer } from './virtual-clock.js'

interface Addon {
  NativeNetwork: new (seed: bigint, link: LinkSettings, trace: boolean) => NativeNetwork
}

/** Options of {@link Network.runUntil}. */
export interface RunUntilOptions {
  /** Virtual milliseconds that it may take, at least 0. Default 600,000. Example: `5_000`. */
  limit?: number | undefined
}

/** Options of {@link Network.link}, {@link Network.partition} and {@link Network.heal}. */
export interface DirectionOptions {
  /** Only what the first endpoint sends to the second. Default `false`. Example: `true`. */
  oneWay?: boolean | undefined
}

const RUN_NAMES = optionNames<RunUntilOptions>({ limit: true })
const DIRECTION_NAMES = optionNames<DirectionOptions>({ oneWay: true })

function isOneWay(options: DirectionOptions | undefined): boolean {
  return booleanOption('options.oneWay', objectOption<DirectionOptions>('options', options, DIRECTION_NAMES).oneWay, false)
}

const DEFAULT_LIMIT = 600_000
/** 50 days; its nanoseconds are still exact in a double. */
const LONGEST_RUN = 50 * 86_400_000
/** Turns of the event loop that time stands still for somebody's `setImmediate()`: one that polls would stop it for good. */
const MOST_TURNS = 1_000
/** Real milliseconds that it stands still for a request of `node:fs` or `node:dns`: a read from a pipe may never end. */
const MOST_OUTSIDE = 1_000
const NO_STATS: NetworkStats = {
  sent: 0, sentBytes: 0, delivered: 0, deliveredBytes: 0, lost: 0, burstLost: 0, duplicated: 0, reordered: 0, corrupted: 0,
  marked: 0, tooLarge: 0, overflowed: 0, cutOff: 0, unreachable: 0, inFlight: 0,
} // prettier-ignore
/** Turns that networks of this process have scheduled. */
let scheduledTurns = 0
const NO_HASH = '0'.repeat(16)

/** Somebody who runs the network. */
interface Run {
  /** Not longer than that, in virtual ms. */
  readonly until: number
  /** The time has come. */
  reached(): void
  failed(error: PacelineError): void
}

/**
 * A network inside this process, for tests of programs that use paceline: endpoints like the real ones, on links that lose,
 * delay, double and overtake as told, with a clock that goes on only while somebody runs it. The seed decides everything random:
 * the same seed and the same program give the same datagrams at the same times.
 *
 * While it runs, time stands still as long as the program has something to do: promise jobs, `setImmediate()`, requests of
 * `node:fs` and `node:dns`. What else a program waits for outside (child processes, sockets, compression, real timers) is not
 * seen by this; see {@link Network.hold}.
 *
 * Never for anything but tests: what endpoints of it draw "at random", keys too, follows from the seed.
 *
 * @example
 * const network = new Network({ seed: 1, delay: 20, loss: 0.01, rate: 10e6 })
 * const secret = network.secret
 * const receiver = await network.listen({ port: 4433, secret })
 * const sender = await network.bind()
 * const peer = await network.runUntil(sender.connect(receiver.address.address, 4433, { secret }))
 * await network.run(60_000)
 * await network.close()
 */
export class Network {
  /**
   * 32 bytes made from the seed, so that all datagrams are the same in every run, as they are not with `generateSecret()`.
   * Everybody can compute it: never use it outside of a test network.
   */
  readonly secret: Buffer
  readonly #seed: bigint
  readonly #keepsTrace: boolean
  readonly #clock = new VirtualClock()
  #given: LinkOptions
  /** Links of their own, by direction; merged over `#given`. */
  readonly #own = new Map<string, { from: number; to: number; given: LinkOptions }>()
  #native: NativeNetwork | undefined
  #opening: Promise<NativeNetwork> | undefined
  readonly #endpoints = new Set<Endpoint>()
  readonly #drivers = new WeakMap<Endpoint, NetworkDriver>()
  readonly #byNode = new Map<number, NetworkDriver>()
  readonly #runs = new Set<Run>()
  #out = new Float64Array(64)
  /** Endpoints to be woken in this turn. */
  readonly #rung: number[] = []
  /** Since when a request to the outside is under way, in real ms. */
  #outsideSince: number | undefined
  #held = 0
  /** The next turn is scheduled, or waits for the end of a hold. */
  #turning = false
  #parked = false
  #turnsHere = 0
  #closing: Promise<void> | undefined
  #last: { stats: NetworkStats; hash: string; trace: string } | undefined
  readonly #turn = (): void => {
    this.#takeTurn()
  }

  /** @throws {OptionError} `ERR_PACELINE_OPTION` */
  constructor(options?: NetworkOptions) {
    const { seed, trace, link } = networkSettings(options)
    this.#seed = seed
    this.#keepsTrace = trace
    this.#given = link
    watchOutside()
    this.secret = createHash('sha256').update(`paceline/testing ${seed}`).digest()
  }

  /** Virtual milliseconds since the network was made. Completions of its endpoints are on this line. */
  get now(): number {
    return this.#clock.now
  }

  /**
   * An endpoint that accepts, as `Endpoint.listen()`. Without `host` it gets an address of its own, 10.0.0.1 and up (`'::'`:
   * fd00::1 and up); with one, that address, where endpoints differ by port. `endpoint.address` says which it is.
   *
   * @throws {OptionError} `ERR_PACELINE_OPTION`, `ERR_PACELINE_SECRET`
   * @throws {EndpointError} `ERR_PACELINE_BIND` (EADDRINUSE), `ERR_PACELINE_ENDPOINT_CLOSED`, `ERR_PACELINE_NATIVE_MISSING`
   */
  async listen(options: ListenOptions): Promise<Endpoint> {
    return this.#attach(options, true)
  }

  /** An endpoint that only connects, as `Endpoint.bind()`. Throws as `listen` does. */
  async bind(options: BindOptions = {}): Promise<Endpoint> {
    return this.#attach(options, false)
  }

  /**
   * Lets so many virtual milliseconds pass. Resolves when everything of that instant has happened, too. Several runs at once
   * are one: each resolves at its time.
   *
   * @throws {EndpointError} `ERR_PACELINE_ENDPOINT_CLOSED` the network was closed
   */
  async run(milliseconds: number): Promise<void> {
    const duration = numberOption('milliseconds', milliseconds, Number.NaN, 0, LONGEST_RUN, ' (virtual ms)')
    if (Number.isNaN(duration)) throw wrongOption('milliseconds', 'a number', milliseconds)
    await this.#open()
    await new Promise<void>((resolve, reject) => {
      this.#addRun({ until: this.now + duration, reached: resolve, failed: reject })
    })
  }

  /**
   * Lets time pass until the promise is settled, and not longer; resolves or rejects as it does. A function is called first.
   *
   * @throws {EndpointError} `ERR_PACELINE_TEST_LIMIT` it was not settled within the limit
   */
  async runUntil<T>(what: PromiseLike<T> | (() => PromiseLike<T> | T), options: RunUntilOptions = {}): Promise<T> {
    const limit = numberOption('options.limit', objectOption('options', options, RUN_NAMES).limit, DEFAULT_LIMIT, 0, LONGEST_RUN, ' ms')
    if (typeof what !== 'function' && typeof (what as { then?: unknown } | undefined)?.then !== 'function') {
      throw wrongOption('what', 'a promise or a function', what)
    }
    const opened = this.#open()
    // Somebody else's rejection must not come before ours is looked at.
    opened.catch(() => undefined)
    const promise = typeof what === 'function' ? (async () => what())() : what
    return new Promise<T>((resolve, reject) => {
      let settled = false
      let run: Run | undefined
      const settle = (how: () => void): void => {
        settled = true
        if (run !== undefined) this.#runs.delete(run)
        how()
      }
      promise.then(
        (value) => {
          settle(() => {
            resolve(value)
          })
        },
        (error: unknown) => {
          settle(() => {
            // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- whatever it was rejected with
            reject(error as Error)
          })
        },
      )
      opened.then(() => {
        if (settled) return
        run = {
          until: this.now + limit,
          reached: () => {
            reject(new EndpointError('ERR_PACELINE_TEST_LIMIT', `what was waited for did not happen within ${limit} ms of virtual time`))
          },
          failed: reject,
        }
        this.#addRun(run)
      }, reject)
    })
  }

  /** Resolves after so many virtual milliseconds, if somebody runs the network. */
  async sleep(milliseconds: number, options: WaitOptions = {}): Promise<void> {
    const duration = this.#duration(milliseconds)
    let timer: VirtualTimer | undefined
    await wait<void>(
      waitSignal(options),
      (waiter) => {
        timer = this.#clock.setTimeout(waiter.resolve, duration)
      },
      () => {
        this.#clock.clearTimeout(timer)
      },
    )
  }

  /** Calls `run` after so many virtual milliseconds, if somebody runs the network. */
  setTimeout<Arguments extends unknown[]>(run: (...given: Arguments) => void, milliseconds: number, ...given: Arguments): VirtualTimer {
    if (typeof run !== 'function') throw wrongOption('run', 'a function', run)
    return this.#clock.setTimeout(() => {
      run(...given)
    }, this.#duration(milliseconds))
  }

  /** Takes a `setTimeout` back. */
  clearTimeout(timer: VirtualTimer | undefined): void {
    this.#clock.clearTimeout(timer)
  }

  /** As `AbortSignal.timeout()`, in virtual milliseconds. */
  timeout(milliseconds: number): AbortSignal {
    const controller = new AbortController()
    this.setTimeout(() => {
      controller.abort(new DOMException('The operation was aborted due to timeout', 'TimeoutError'))
    }, milliseconds)
    return controller.signal
  }

  /**
   * Time stands still until the promise is settled: for what a program waits for outside of the network, like a child process or
   * compression; files and names need no help. What is done with the result still belongs to the same instant.
   */
  async hold<T>(promise: PromiseLike<T>): Promise<T> {
    this.#held += 1
    try {
      return await promise
    } finally {
      this.#held -= 1
      if (this.#parked && this.#held === 0) {
        this.#parked = false
        this.#schedule()
      }
    }
  }

  /** Changes properties of the link between all endpoints, for what is sent from now on; the others stay as they are. */
  configure(options: LinkOptions): void {
    const merged = { ...this.#given, ...objectOption('options', options, LINK_NAMES) }
    const link = linkSettings(merged)
    this.#given = merged
    this.#native?.linkAll(link)
    for (const own of this.#own.values()) this.#applyOwn(own)
  }

  /** Gives the link between two endpoints properties of its own, both ways or one; the others are the network's. */
  link(from: Endpoint, to: Endpoint, options: LinkOptions, direction?: DirectionOptions): void {
    for (const [a, b] of this.#directions(from, to, isOneWay(direction))) {
      const key = `${a}>${b}`
      const given = { ...this.#own.get(key)?.given, ...objectOption('options', options, LINK_NAMES) }
      linkSettings({ ...this.#given, ...given })
      const own = { from: a, to: b, given }
      this.#own.set(key, own)
      this.#applyOwn(own)
    }
  }

  /** Nothing gets from one to the other any more, both ways or one. What is on its way arrives. */
  partition(from: Endpoint, to: Endpoint, options?: DirectionOptions): void {
    for (const [a, b] of this.#directions(from, to, isOneWay(options))) this.#native?.cut(a, b, true)
  }

  /** Takes partitions back: that of two endpoints, or all. */
  heal(): void
  heal(from: Endpoint, to: Endpoint, options?: DirectionOptions): void
  heal(from?: Endpoint, to?: Endpoint, options?: DirectionOptions): void {
    const oneWay = isOneWay(options)
    if (from === undefined && to === undefined) this.#native?.heal()
    else for (const [a, b] of this.#directions(from, to, oneWay)) this.#native?.cut(a, b, false)
  }

  /** What the network did so far: whether a fault that a test asks for really happened. */
  stats(): NetworkStats {
    return this.#last?.stats ?? this.#native?.traffic() ?? { ...NO_STATS }
  }

  /** 16 hex digits made from the bytes of every datagram so far and the times it was sent and received. */
  hash(): string {
    return this.#last?.hash ?? this.#native?.hash() ?? NO_HASH
  }

  /**
   * A line for every datagram sent, received or lost so far, times in virtual µs.
   *
   * @throws {OptionError} `ERR_PACELINE_OPTION` the network was not made with `trace: true`
   */
  trace(): string {
    if (!this.#keepsTrace) throw wrongOption('options.trace', 'true, for trace()', false)
    return this.#last?.trace ?? this.#native?.trace() ?? ''
  }

  /**
   * Ends all endpoints at once and frees everything. `stats()`, `hash()` and `trace()` say what they said last.
   *
   * @throws {EndpointError} `ERR_PACELINE_INTERNAL` packet memory was lost: a bug of paceline
   */
  async close(): Promise<void> {
    this.#closing ??= this.#end()
    return this.#closing
  }

  /** `await using`: as `close()`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #end(): Promise<void> {
    unwatchOutside()
    this.#fail(new EndpointError('ERR_PACELINE_ENDPOINT_CLOSED', 'the network was closed'))
    // One that is just being made.
    const native = await this.#opening?.catch(() => undefined)
    for (const endpoint of this.#endpoints) endpoint.destroy()
    this.#clock.clear()
    this.#last = { stats: this.stats(), hash: this.hash(), trace: this.#native?.trace() ?? '' }
    const lost = native?.close() ?? 0
    if (lost > 0) throw new EndpointError('ERR_PACELINE_INTERNAL', `${lost} packet descriptors did not come home`)
  }

  #open(): Promise<NativeNetwork> {
    if (this.#closing !== undefined) return Promise.reject(new EndpointError('ERR_PACELINE_ENDPOINT_CLOSED', 'the network is closed'))
    this.#opening ??= loadAddon<Addon>('NativeNetwork').then(({ NativeNetwork }) => {
      this.#native = new NativeNetwork(this.#seed, linkSettings(this.#given), this.#keepsTrace)
      return this.#native
    })
    return this.#opening
  }

  async #attach(options: BindOptions | ListenOptions, listens: boolean): Promise<Endpoint> {
    let driver: NetworkDriver | undefined
    const endpoint = await Endpoint.create(
      async (settings) => {
        await this.#open()
        driver = this.#driver(settings)
        // Peers without a handshake are there at once: what that takes happens at this instant.
        if (listens && 'pathSecret' in options) this.run(0).catch(() => undefined)
        return driver
      },
      options,
      listens,
    )
    if (driver === undefined) throw new EndpointError('ERR_PACELINE_INTERNAL')
    this.#drivers.set(endpoint, driver)
    this.#endpoints.add(endpoint)
    void endpoint.closed.then(() => this.#endpoints.delete(endpoint))
    if (this.#closing !== undefined) endpoint.destroy()
    return endpoint
  }

  #driver(settings: EndpointSettings): NetworkDriver {
    const native = this.#native
    if (native === undefined) throw new EndpointError('ERR_PACELINE_INTERNAL')
    const { host, application, endpointSendBufferBytes: _, duplex: __, ...rest } = settings
    const options: NativeEndpointOptions = { ...rest, address: host, onWake: nothing }
    if (application !== undefined) options.application = application
    try {
      const driver = new NetworkDriver(
        {
          native,
          clock: this.#clock,
          left: ({ node }) => {
            this.#byNode.delete(node)
          },
        },
        options,
      )
      this.#byNode.set(driver.node, driver)
      if (this.#out.length <= this.#byNode.size) this.#out = new Float64Array(2 * this.#out.length)
      return driver
    } catch (error) {
      throw driverError(error, 'ERR_PACELINE_BIND', { address: host, port: settings.port, syscall: 'bind' })
    }
  }

  #applyOwn({ from, to, given }: { from: number; to: number; given: LinkOptions }): void {
    this.#native?.linkOneWay(from, to, linkSettings({ ...this.#given, ...given }))
  }

  #directions(from: Endpoint | undefined, to: Endpoint | undefined, oneWay: boolean): [number, number][] {
    const a = this.#node('from', from)
    const b = this.#node('to', to)
    return oneWay ? [[a, b]] : [[a, b], [b, a]] // prettier-ignore
  }

  #node(name: string, endpoint: Endpoint | undefined): number {
    const driver = endpoint instanceof Endpoint ? this.#drivers.get(endpoint) : undefined
    if (driver === undefined || driver.closed) throw wrongOption(name, 'an open endpoint of this network', endpoint)
    return driver.node
  }

  #duration(milliseconds: number): number {
    if (milliseconds === undefined) throw wrongOption('milliseconds', 'a number', milliseconds)
    return numberOption('milliseconds', milliseconds, 0, 0, LONGEST_RUN, ' (virtual ms)')
  }

  #addRun(run: Run): void {
    if (this.#closing !== undefined) {
      run.failed(new EndpointError('ERR_PACELINE_ENDPOINT_CLOSED', 'the network was closed'))
      return
    }
    this.#runs.add(run)
    if (this.#turning) return
    this.#turning = true
    this.#schedule()
  }

  #schedule(): void {
    scheduledTurns += 1
    setImmediate(this.#turn)
  }

  /** One turn of the event loop. What the program does at an instant it does between two of them. */
  #takeTurn(): void {
    scheduledTurns -= 1
    if (this.#held > 0) {
      this.#parked = true
      return
    }
    try {
      if (this.#rung.length === 0 && !this.#isBusy()) this.#pass()
      this.#wakeRung()
    } finally {
      // Whatever a listener throws, the network goes on.
      if (this.#turning) this.#schedule()
    }
  }

  #pass(): void {
    this.#turnsHere = 0
    try {
      while (!this.#moveOn());
    } catch (error) {
      const failure = driverError(error, 'ERR_PACELINE_INTERNAL')
      for (const endpoint of this.#endpoints) endpoint.destroy(failure)
      this.#fail(failure)
    }
  }

  /** Whether something of the program is still to come at this instant. */
  #isBusy(): boolean {
    const { immediates, requests } = outside()
    // Pumps that have more to take are among them.
    if (immediates > scheduledTurns && this.#turnsHere < MOST_TURNS) {
      this.#turnsHere += 1
      return true
    }
    if (requests === 0) {
      this.#outsideSince = undefined
      return false
    }
    this.#outsideSince ??= performance.now()
    return performance.now() - this.#outsideSince < MOST_OUTSIDE
  }

  /** Goes to the next instant; returns whether the program has something to do there. */
  #moveOn(): boolean {
    if (this.#fireTimers()) return true
    const native = this.#native
    if (this.#runs.size === 0 || native === undefined) {
      this.#turning = false
      return true
    }
    let until = this.#clock.next
    for (const run of this.#runs) until = Math.min(until, run.until)
    const length = native.advance(until, this.#out)
    // Its times are whole ns: without news, `until` is reached, whatever its fractions are.
    this.#clock.now = length > 1 ? Math.min(until, this.#out[0] ?? until) : until
    for (let at = 1; at < length; at += 1) this.#rung.push(this.#out[at] ?? 0)
    if (length > 1 || this.#fireTimers()) return true
    // Nothing else is left to happen at this instant.
    let reached = false
    for (const run of this.#runs) {
      if (run.until > this.now) continue
      this.#runs.delete(run)
      run.reached()
      reached = true
    }
    return reached
  }

  /** Returns whether there was one due. */
  #fireTimers(): boolean {
    let fired = false
    for (let run = this.#clock.due(); run !== undefined; run = this.#clock.due()) {
      // Each by itself, whatever the others throw.
      queueMicrotask(run)
      fired = true
    }
    return fired
  }

  #wakeRung(): void {
    for (let node = this.#rung.shift(); node !== undefined; node = this.#rung.shift()) this.#byNode.get(node)?.wake()
  }

  #fail(error: PacelineError): void {
    const runs = [...this.#runs]
    this.#runs.clear()
    for (const run of runs) run.failed(error)
  }
}

function nothing(): void {}

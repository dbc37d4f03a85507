import { wait, type Waiter } from './abort.js'
import { SendBudget } from './budget.js'
import { SYSTEM_CLOCK, type Clock } from './clock.js'
import type { CloseResult } from './closing.js'
import { CommandQueue } from './commands.js'
import type { Completions, RecordBudget } from './completions.js'
import { channels, debug, isMeasuring, measure } from './diagnostics.js'
import type { Driver, DriverPath, DriverPathStats, DriverStats } from './driver.js'
import type { Endpoint } from './endpoint.js'
import { AbortError, driverError, EndpointError, failureError, PeerError } from './errors.js'
import { EventPump, SLAB_BYTES, type EventSink } from './events.js'
import { Fifo } from './fifo.js'
import type { DuplexSettings } from './options.js'
import { Peer } from './peer.js'
import { EndpointRecorder } from './recording.js'
import { Hold } from './hold.js'
import type { Inbox } from './receiving.js'
import { Stream } from './stream.js'

/** What the endpoint's options decide here. */
export interface CoreSettings {
  sendBufferBytes: number
  endpointSendBufferBytes: number
  maxIncomingStreams: number
  duplex: DuplexSettings
}

/** Somebody who waits for a stream of a peer; `owner` is the iterator it does so with. */
interface AcceptWaiter {
  readonly owner: object
  readonly waiter: Waiter<IteratorResult<Stream, undefined>>
}

/** The answer to Shutdown comes within a few ms, or, when the socket is stuck, not at all. */
const SHUTDOWN_WAIT = 1_000

const NO_MORE: IteratorReturnResult<undefined> = { done: true, value: undefined }

function sum(results: readonly CloseResult[]): CloseResult {
  const total: CloseResult = { acknowledged: 0, undelivered: 0 }
  for (const { acknowledged, undelivered } of results) {
    total.acknowledged += acknowledged
    total.undelivered += undelivered
  }
  return total
}

/** How long a stream is held for good, in ms; see {@link Hold}. */
const YOUTH = 1_000

interface Connecting {
  readonly waiter: Waiter<Peer>
  readonly address: string
  readonly port: number
  readonly maxBitrate: number
  /** When it began, in ms. */
  readonly began: number
}

/**
 * Endpoints with something to do: a stream open, a connect under way, somebody iterating. They stay, as an active handle
 * of Node does, even if the program holds nothing but a promise. All others may be collected.
 */
const busy = new Set<Core>()

/** Ends the driver of an endpoint that was forgotten without close(). */
const forgotten = new FinalizationRegistry<Driver>((driver) => {
  driver.close()
})

/**
 * What the driver rings. The driver lives as long as its thread, so it must not hold the endpoint. A function of its own:
 * closures of one function share what they capture, and in the constructor another one captures `this`.
 */
function bell(core: Core): () => void {
  const weak = new WeakRef(core)
  return () => {
    weak.deref()?.wake()
  }
}

/** What an endpoint, its peers and its streams share: the driver, the queue of commands, the pump of events, and who is who. */
export class Core implements EventSink {
  readonly driver: Driver
  readonly clock: Clock
  readonly commands: CommandQueue
  readonly budget: SendBudget
  readonly sendBufferBytes: number
  readonly slabHolders = new Set<Inbox>()
  readonly records: RecordBudget = { waiting: 0 }
  readonly #recorder = new EndpointRecorder(this.records)
  readonly peers = new Map<number, Peer>()
  /** For messages; set by itself. */
  endpoint: Endpoint | undefined
  /** Resolves when nothing of it is left. */
  readonly ended: Promise<void>
  readonly #settings: CoreSettings
  readonly #pump: EventPump
  readonly #streams = new Map<number, Hold>()
  readonly #connecting = new Map<number, Connecting>()
  readonly #accepted = new Fifo<Stream>()
  #acceptWaiters: AcceptWaiter[] = []
  #iterators = 0
  /** Held for good; the others are held for a reason. */
  #young: Hold[] = []
  #aging: NodeJS.Timeout | undefined
  #nextId = 1
  #fallbacks = 0
  #closing = false
  #closed: Error | undefined
  /** Why it ended, if it was not closed. */
  #reason: Error | undefined
  #result: CloseResult = { acknowledged: 0, undelivered: 0 }
  #drainedWaiter: (() => void) | undefined
  #resolveEnded!: () => void

  constructor(driver: Driver, settings: CoreSettings) {
    this.driver = driver
    this.clock = driver.clock ?? SYSTEM_CLOCK
    this.commands = new CommandQueue(driver)
    this.budget = new SendBudget(settings.endpointSendBufferBytes)
    this.sendBufferBytes = settings.sendBufferBytes
    this.#settings = settings
    this.#pump = new EventPump(driver, this)
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve
    })
    driver.onWake = bell(this)
    forgotten.register(this, driver, this)
    this.commands.acceptStreams(0)
  }

  /** The driver has news. */
  wake(): void {
    this.#pump.wake()
  }

  /** Why nothing can be done any more. */
  get closed(): Error | undefined {
    return this.#closed
  }

  /** What came of the streams there were at the end. */
  get result(): CloseResult {
    return { ...this.#result }
  }

  /** How its streams behave as Duplexes. */
  get duplex(): DuplexSettings {
    return this.#settings.duplex
  }

  get streams(): Stream[] {
    return [...this.#streams.values()].map((hold) => hold.stream).filter((stream) => stream !== undefined)
  }

  streamsOf(peer: Peer): Stream[] {
    return this.streams.filter((stream) => stream.peer === peer)
  }

  peerAddress(id: number): { address: string; port: number } | undefined {
    return this.#closed === undefined ? this.driver.peerAddress(id) : undefined
  }

  peerStats(id: number): DriverPathStats | undefined {
    return this.#closed === undefined ? this.driver.peerStats(id) : undefined
  }

  /** Also after the end: what it came to. */
  stats(): DriverStats {
    return this.driver.stats()
  }

  connect(
    address: string,
    port: number,
    options: { secrets: Uint8Array[]; handshakeTimeout: number; maxBitrate: number; signal: AbortSignal | undefined },
  ): Promise<Peer> {
    const { secrets, handshakeTimeout, maxBitrate, signal } = options
    return this.#startPeer(address, port, maxBitrate, signal, (id) => {
      this.driver.connect(id, address, port, { secrets, handshakeTimeout, maxBitrate: Math.floor(maxBitrate) })
    })
  }

  /** A peer without a handshake. `path` is not looked at any more when this returns. */
  inject(
    address: string,
    port: number,
    options: { path: DriverPath; handshakeTimeout: number; maxBitrate: number; signal: AbortSignal | undefined },
  ): Promise<Peer> {
    const { path, handshakeTimeout, maxBitrate, signal } = options
    return this.#startPeer(address, port, maxBitrate, signal, (id) => {
      this.driver.inject(id, address, port, { ...path, handshakeTimeout, maxBitrate: Math.floor(maxBitrate) })
    })
  }

  /** `start` tells the driver, at once. */
  #startPeer(address: string, port: number, maxBitrate: number, signal: AbortSignal | undefined, start: (id: number) => void): Promise<Peer> {
    let id = 0
    return wait<Peer>(
      signal,
      (waiter) => {
        this.#mustBeOpen()
        id = this.#takeId((candidate) => this.peers.has(candidate) || this.#connecting.has(candidate))
        this.#connecting.set(id, { waiter, address, port, maxBitrate, began: this.driver.now() })
        this.#updateBusy()
        try {
          debug('peer %d: connecting to %s:%d', id, address, port)
          if (channels.peerConnecting.hasSubscribers) channels.peerConnecting.publish({ endpoint: this.endpoint, address, port })
          start(id)
        } catch (error) {
          this.#connecting.delete(id)
          this.#updateBusy()
          throw driverError(error, 'ERR_PACELINE_INTERNAL', { address, port })
        }
      },
      () => {
        this.#connecting.delete(id)
        this.commands.closePeer(id)
        this.#updateBusy()
      },
    )
  }

  openStream(peer: Peer, priority: number, duplex: DuplexSettings): Stream {
    this.#mustBeOpen()
    const id = this.#takeId((candidate) => this.#streams.has(candidate))
    this.commands.open(id, peer.id, priority)
    return this.#addStream(id, peer, false, duplex, priority)
  }

  /** Records of all streams from now on. */
  completions(signal?: AbortSignal): Completions {
    if (this.#closed === undefined && !this.#recorder.active) for (const id of this.#streams.keys()) this.commands.record(id)
    return this.#recorder.open([...this.#streams.values()].map((hold) => [hold.id, hold.stream?._records ?? 0]), signal)
  }

  closePeer(peer: Peer): void {
    this.commands.closePeer(peer.id)
    this.peers.delete(peer.id)
  }

  /** The next stream a peer opened, for an iterator; the end after a close, an error after anything else. */
  nextAccepted(owner: object, waiter: Waiter<IteratorResult<Stream, undefined>>): void {
    const stream = this.#accepted.shift()
    if (stream !== undefined) waiter.resolve({ done: false, value: stream })
    else if (this.#reason !== undefined) waiter.reject(this.#reason)
    else if (this.#closing || this.#closed !== undefined) waiter.resolve(NO_MORE)
    else this.#acceptWaiters.push({ owner, waiter })
  }

  abandonAccepted(waiter: Waiter<IteratorResult<Stream, undefined>>): void {
    this.#acceptWaiters = this.#acceptWaiters.filter((entry) => entry.waiter !== waiter)
  }

  /** Somebody iterates from now on: streams are let in. */
  startAccepting(): void {
    this.#iterators += 1
    if (this.#iterators === 1 && !this.#closing) this.commands.acceptStreams(this.#settings.maxIncomingStreams)
    this.#updateBusy()
  }

  /** Also ends what still waits with this iterator: it must not take a stream from the others. */
  stopAccepting(owner: object): void {
    const left = this.#acceptWaiters.filter((entry) => entry.owner === owner)
    if (left.length > 0) this.#acceptWaiters = this.#acceptWaiters.filter((entry) => entry.owner !== owner)
    for (const { waiter } of left) waiter.resolve(NO_MORE)
    this.#iterators -= 1
    if (this.#iterators === 0 && !this.#closing) this.commands.acceptStreams(0)
    this.#updateBusy()
  }

  async closeStreams(streams: Stream[], deadline: number, signal: AbortSignal | undefined): Promise<CloseResult> {
    const options = signal === undefined ? { deadline } : { deadline, signal }
    if (streams.length === 0 && signal?.aborted === true) throw new AbortError(signal.reason)
    return sum(await Promise.all(streams.map((stream) => stream.close(options))))
  }

  /** Lets nobody in, closes every stream, waits until the wheel is empty, ends the driver. */
  async close(deadline: number, signal: AbortSignal | undefined): Promise<CloseResult> {
    this.#closing = true
    this.#updateBusy()
    this.commands.acceptStreams(0)
    for (let stream = this.#accepted.shift(); stream !== undefined; stream = this.#accepted.shift()) stream.reset()
    this.#endAccepting()
    for (const id of this.#connecting.keys()) this.peerClosed(id, 0, 0)
    const { streams } = this
    try {
      await this.closeStreams(streams, deadline, signal)
    } finally {
      if (this.#closed === undefined) await this.#shutdown()
      this.destroy()
      // Also after an abort: what got there, and what did not.
      this.#result = sum(streams.map((stream) => stream._result))
    }
    return this.result
  }

  /** Ends everything at once; with a reason, what waits is told that it was no close. */
  destroy(reason?: Error): void {
    if (this.#closed !== undefined) return
    const error = reason ?? new EndpointError('ERR_PACELINE_ENDPOINT_CLOSED')
    this.#closing = true
    this.#closed = error
    this.#reason = reason
    const { address } = this.driver
    if (reason !== undefined) {
      debug('endpoint %s:%d: %s', address.address, address.port, reason.message)
      if (channels.endpointError.hasSubscribers) channels.endpointError.publish({ endpoint: this.endpoint, address, error: reason })
    }
    this.commands.close()
    this.#pump.close()
    forgotten.unregister(this)
    this.driver.onWake = undefined
    this.driver.close()
    for (const { waiter } of this.#connecting.values()) waiter.reject(error)
    this.#connecting.clear()
    const { streams } = this
    for (const stream of streams) stream._lost(error)
    this.#result = sum(streams.map((stream) => stream._result))
    for (const hold of this.#streams.values()) hold.release()
    this.#recorder.end()
    this.#streams.clear()
    this.#young = []
    clearTimeout(this.#aging)
    for (const peer of this.peers.values()) peer._closed(reason)
    this.peers.clear()
    this.#accepted.clear()
    this.#endAccepting()
    this.#drainedWaiter?.()
    this.#updateBusy()
    this.#resolveEnded()
    debug('endpoint %s:%d closed', address.address, address.port)
    if (channels.endpointClosed.hasSubscribers) channels.endpointClosed.publish({ endpoint: this.endpoint, address })
  }

  peerOpen(id: number, accepted: boolean): void {
    const connecting = this.#connecting.get(id)
    if (connecting === undefined && !accepted) return
    const peer = this.#addPeer(id, accepted, connecting?.maxBitrate ?? 0)
    if (connecting !== undefined && isMeasuring()) {
      const { began, address, port } = connecting
      measure('paceline:connect', began, this.driver.now(), { address, port })
    }
    this.#connecting.delete(id)
    this.#updateBusy()
    connecting?.waiter.resolve(peer)
  }

  peerClosed(id: number, failure: number, detail: number): void {
    const connecting = this.#connecting.get(id)
    this.#connecting.delete(id)
    if (connecting !== undefined) {
      const { waiter, address, port } = connecting
      const error =
        failure !== 0
          ? failureError(failure, detail, { address, port })
          : this.#closing
            ? new EndpointError('ERR_PACELINE_ENDPOINT_CLOSED')
            : new PeerError('ERR_PACELINE_PEER_CLOSED', undefined, { address, port })
      debug('peer %d: %s', id, error.message)
      if (failure !== 0 && channels.peerError.hasSubscribers) channels.peerError.publish({ peer: undefined, address, port, error })
      waiter.reject(error)
      this.#updateBusy()
      return
    }
    const peer = this.peers.get(id)
    this.peers.delete(id)
    peer?._closed(failure === 0 ? undefined : failureError(failure, detail, peer.remoteAddress))
  }

  streamAccepted(id: number, peerId: number): void {
    const stream = this.#addStream(id, this.#addPeer(peerId, true, 0), true, this.duplex)
    if (this.#closing) {
      stream.reset()
      return
    }
    const next = this.#acceptWaiters.shift()
    if (next === undefined) this.#accepted.push(stream)
    else next.waiter.resolve({ done: false, value: stream })
  }

  data(id: number, chunk: Buffer): void {
    this.#streams.get(id)?.stream?._data(chunk)
  }

  end(id: number): void {
    this.#streams.get(id)?.stream?._end()
  }

  progress(id: number, sealed: number, acknowledged: number, finAcknowledged: boolean): void {
    this.#streams.get(id)?.stream?._progress(sealed, acknowledged, finAcknowledged)
  }

  counted(id: number, transmissions: number, packets: number, packetsRetransmitted: number, bytesRetransmitted: number, packetsLost: number): void {
    this.#streams.get(id)?.stream?._counted(transmissions, packets, packetsRetransmitted, bytesRetransmitted, packetsLost)
  }

  failed(id: number, failure: number, detail: number): void {
    this.#streams.get(id)?.stream?._failed(failure, detail)
  }

  streamClosed(id: number, transmissions: number, unrecorded: number, acknowledged: number): void {
    this.#recorder.closed(id, transmissions, unrecorded)
    const hold = this.#streams.get(id)
    const stream = hold?.stream
    stream?._closed(transmissions, unrecorded, acknowledged)
    if (stream === undefined) hold?.closed(acknowledged)
    this.#forget(id)
  }

  completion(id: number, record: Float64Array): void {
    this.#recorder.completion(id, record)
    this.#streams.get(id)?.stream?._completion(record)
    this.#forget(id)
  }

  skipped(id: number, count: number): void {
    this.#recorder.skipped(id, count)
    this.#streams.get(id)?.stream?._skipped(count)
    this.#forget(id)
  }

  drained(): void {
    this.#drainedWaiter?.()
  }

  offloadRefused(total: number): void {
    const count = total - this.#fallbacks
    this.#fallbacks = total
    debug('segmentation offload was refused for %d bursts', count)
    if (channels.offloadFallback.hasSubscribers) channels.offloadFallback.publish({ endpoint: this.endpoint, count, total })
  }

  broken(error: unknown): void {
    this.destroy(driverError(error, 'ERR_PACELINE_INTERNAL'))
  }

  /** Slices that would pin a slab nobody else needs are copied out; what most of a slab waits for may keep it. */
  slabRetired(slab: Buffer): void {
    let held = 0
    for (const inbox of this.slabHolders) held += inbox.heldIn(slab)
    if (held > 0 && held < SLAB_BYTES / 2) for (const inbox of this.slabHolders) inbox.copyOutOf(slab)
    this.slabHolders.clear()
  }

  #mustBeOpen(): void {
    if (this.#closed !== undefined) throw new EndpointError('ERR_PACELINE_ENDPOINT_CLOSED', undefined, { cause: this.#closed })
    if (this.#closing) throw new EndpointError('ERR_PACELINE_ENDPOINT_CLOSED', 'the endpoint is being closed')
  }

  /** An odd number that nobody uses; after 2^31 of them they come again. */
  #takeId(taken: (candidate: number) => boolean): number {
    for (;;) {
      const id = this.#nextId
      this.#nextId = id + 2 > 0xffff_ffff ? 1 : id + 2
      if (!taken(id)) return id
    }
  }

  #addPeer(id: number, accepted: boolean, maxBitrate: number): Peer {
    const known = this.peers.get(id)
    if (known !== undefined) return known
    const peer = new Peer(this, id, accepted, maxBitrate)
    this.peers.set(id, peer)
    // Looked up now: errors name it when the driver has forgotten it.
    void peer.remoteAddress
    debug('peer %d open (%s)', id, accepted ? 'accepted' : 'connected')
    if (channels.peerOpen.hasSubscribers) channels.peerOpen.publish({ peer, accepted })
    return peer
  }

  #addStream(id: number, peer: Peer, accepted: boolean, duplex: DuplexSettings, priority?: number): Stream {
    const hold = new Hold(id, this.commands)
    const stream = new Stream(this, hold, peer, duplex, priority)
    this.#streams.set(id, hold)
    if (this.#recorder.active) {
      this.commands.record(id)
      this.#recorder.opened(id)
    }
    // Where time is virtual, nothing may depend on when the collector runs: streams stay.
    if (this.clock === SYSTEM_CLOCK) {
      this.#young.push(hold)
      this.#age()
    }
    this.#updateBusy()
    debug('stream %d %s', id, accepted ? 'opened by the peer' : 'created')
    const opens = accepted ? channels.streamOpened : channels.streamCreated
    if (opens.hasSubscribers) opens.publish({ stream })
    return stream
  }

  #forget(id: number): void {
    const hold = this.#streams.get(id)
    if (hold === undefined || !hold.over) return
    hold.release()
    this.#streams.delete(id)
    this.#updateBusy()
  }

  /** Streams that live longer than most may be forgotten by the program. */
  #age(): void {
    this.#aging ??= setTimeout(() => {
      this.#aging = undefined
      const young = this.#young
      this.#young = []
      for (const hold of young) hold.weaken()
    }, YOUTH).unref()
  }

  #endAccepting(): void {
    const waiters = this.#acceptWaiters
    this.#acceptWaiters = []
    for (const { waiter } of waiters) {
      if (this.#reason === undefined) waiter.resolve(NO_MORE)
      else waiter.reject(this.#reason)
    }
  }

  #shutdown(): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.clock.setTimeout(resolve, SHUTDOWN_WAIT)
      this.#drainedWaiter = () => {
        this.clock.clearTimeout(timer)
        resolve()
      }
      this.commands.shutdown()
    })
  }

  #updateBusy(): void {
    const isBusy =
      this.#closed === undefined && (this.#closing || this.#iterators > 0 || this.#streams.size > 0 || this.#connecting.size > 0)
    if (isBusy) busy.add(this)
    else busy.delete(this)
  }
}

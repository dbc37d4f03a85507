import type { Clock } from './clock.js'
import type { Driver, DriverConnectOptions, DriverInjectOptions, DriverPathStats, DriverStats } from './driver.js'
import type { LinkSettings } from './network-options.js'

/** What an endpoint is made from, as the addon takes it. */
export type NativeEndpointOptions = Record<string, unknown> & { address: string; port: number; onWake: () => void }

/** Counters of a network since it began: datagrams, unless they are bytes. */
export interface NetworkStats {
  /** Sent by endpoints. */
  sent: number
  /** Bytes of UDP payload of them. */
  sentBytes: number
  /** Arrived at sockets, second copies too. */
  delivered: number
  /** Bytes of UDP payload of them. */
  deliveredBytes: number
  /** Lost by chance, alone or in bursts. */
  lost: number
  /** Of them, lost in bursts. */
  burstLost: number
  /** Second copies. Sent and duplicated is delivered, in flight and everything lost together, at any time. */
  duplicated: number
  /** Held back, and really overtaken. */
  reordered: number
  /** Damaged, and delivered so. */
  corrupted: number
  /** Marked "congestion experienced". */
  marked: number
  /** Lost because they were larger than `mtu`; with `mtuSignal` refused to the sender, and not in `sent`. */
  tooLarge: number
  /** Lost because a queue, or the socket's buffer, was full. */
  overflowed: number
  /** Lost because of `partition()`. */
  cutOff: number
  /** Lost because nobody was at their address. */
  unreachable: number
  /** Not yet there. */
  inFlight: number
}

/** The addon's side of a network. Times in ms; endpoints are numbers. */
export interface NativeNetwork {
  attach(options: NativeEndpointOptions): { node: number; local: Driver['address'] }
  detach(node: number): void
  connect(node: number, peer: number, address: string, port: number, options: DriverConnectOptions): void
  inject(node: number, peer: number, address: string, port: number, options: DriverInjectOptions): void
  submit(node: number, commands: Uint8Array): void
  write(node: number, stream: number, chunk: Uint8Array): void
  /** As {@link Driver.drain}; negative if there is no more. */
  drain(node: number, events: Float64Array, slab: Uint8Array, slabOffset: number): number
  stats(node: number): DriverStats
  peerStats(node: number, peer: number): DriverPathStats | undefined
  peerAddress(node: number, peer: number): { address: string; port: number } | undefined
  advance(until: number, out: Float64Array): number
  linkAll(link: LinkSettings): void
  linkOneWay(from: number, to: number, link?: LinkSettings): void
  cut(from: number, to: number, cut: boolean): void
  heal(): void
  traffic(): NetworkStats
  hash(): string
  trace(): string | null
  close(): number
}

/** What the drivers of a network tell it. */
export interface Host {
  readonly native: NativeNetwork
  readonly clock: Clock & { readonly now: number }
  /** A driver went. */
  left(driver: NetworkDriver): void
}

/** One endpoint of a test network. */
export class NetworkDriver implements Driver {
  readonly address: Driver['address']
  readonly node: number
  readonly clock: Clock
  onWake: (() => void) | undefined
  /** There is nothing more until time goes on. */
  #empty = false
  closed = false
  readonly #host: Host

  constructor(host: Host, options: NativeEndpointOptions) {
    const { node, local } = host.native.attach(options)
    this.#host = host
    this.node = node
    this.address = local
    this.clock = host.clock
  }

  /** There is news. */
  wake(): void {
    if (this.closed || this.onWake === undefined) return
    this.#empty = false
    this.onWake()
  }

  connect(peer: number, address: string, port: number, options: DriverConnectOptions): void {
    this.#host.native.connect(this.node, peer, address, port, options)
  }

  inject(peer: number, address: string, port: number, options: DriverInjectOptions): void {
    this.#host.native.inject(this.node, peer, address, port, options)
  }

  submit(commands: Uint8Array): void {
    this.#host.native.submit(this.node, commands)
  }

  write(stream: number, chunk: Uint8Array): void {
    this.#host.native.write(this.node, stream, chunk)
  }

  drain(events: Float64Array, slab: Uint8Array, slabOffset: number): number {
    const length = this.#empty ? 0 : this.#host.native.drain(this.node, events, slab, slabOffset)
    this.#empty = length <= 0
    return Math.abs(length)
  }

  now(): number {
    return this.#host.clock.now
  }

  stats(): DriverStats {
    return this.#host.native.stats(this.node)
  }

  peerStats(peer: number): DriverPathStats | undefined {
    return this.#host.native.peerStats(this.node, peer)
  }

  peerAddress(peer: number): { address: string; port: number } | undefined {
    return this.#host.native.peerAddress(this.node, peer)
  }

  /** Nothing here keeps a process alive: only a run does. */
  ref(): void {}
  unref(): void {}

  close(): void {
    if (this.closed) return
    this.closed = true
    this.#host.left(this)
    this.#host.native.detach(this.node)
  }
}

import { Event, FailureNumber, Op, type Driver, type DriverConnectOptions, type DriverInjectOptions, type DriverPathStats, type DriverStats } from '../../packages/paceline/src/driver.js'
import type { EndpointSettings } from '../../packages/paceline/src/options.js'
import { noPathStats, noStats } from '../../packages/paceline/src/stats.js'

/** Bytes of a packet and packets of a burst, as the real transport has them. */
const PAYLOAD = 1408
const OVERHEAD = 64
const BURST_PACKETS = 46
/** Bursts a stream may send in one step: what is beyond waits in its send buffer. */
const BURSTS_PER_STEP = 4

export interface MemoryNetworkOptions {
  /** One way, in ms. Default 0: the next turn of the event loop. */
  delay?: number
  /** Receive window of a stream, in bytes, fixed. Default 256 KiB. */
  window?: number
  /** Completion records a driver keeps before it skips. Default 4096. */
  maxRecords?: number
}

/**
 * Drivers joined in memory, without protocol: bounded windows, a delay, and faults that tests switch on and count.
 * Bytes and order are real; loss and congestion are not here, `crates/sim` has them.
 */
export class MemoryNetwork {
  readonly delay: number
  readonly window: number
  readonly maxRecords: number
  readonly drivers = new Map<number, MemoryDriver>()
  /** While true nothing arrives anywhere. What was swallowed is counted. */
  blackHole = false
  swallowed = 0
  /** The next so many bursts fail with `errno` and are sent again. */
  failSends = 0
  errno = 1
  #nextPort = 1000

  constructor(options: MemoryNetworkOptions = {}) {
    this.delay = options.delay ?? 0
    this.window = options.window ?? 256 * 1024
    this.maxRecords = options.maxRecords ?? 4096
  }

  /** A `DriverFactory`. */
  readonly factory = (settings: EndpointSettings): MemoryDriver => {
    const port = settings.port === 0 ? this.#nextPort++ : settings.port
    const driver = new MemoryDriver(this, port, settings)
    this.drivers.set(port, driver)
    return driver
  }

  later(run: () => void): void {
    if (this.delay === 0) setImmediate(run)
    else setTimeout(run, this.delay)
  }

  /** Carries something to the other side, unless it is lost. */
  carry(run: () => void): void {
    if (this.blackHole) this.swallowed += 1
    else this.later(run)
  }
}

/** One end of a stream. */
class End {
  readonly driver: MemoryDriver
  readonly id: number
  readonly peer: MemoryPeer
  remote: End | undefined
  priority = 4
  // Sending
  buffer: Buffer[] = []
  written = 0
  sealed = 0
  acknowledged = 0
  windowLimit: number
  finQueued = false
  finSent = false
  finAcknowledged = false
  wantRoom: number | undefined
  wantAcknowledged: number | undefined
  packetNumber = 0
  packets = 0
  retransmitted = 0
  // Receiving
  received = 0
  consumed = 0
  finReceived = false
  stopped = false
  // Both
  over = false
  recording = false
  transmissions = 0
  completed = 0
  unrecorded = 0

  constructor(driver: MemoryDriver, id: number, peer: MemoryPeer) {
    this.driver = driver
    this.id = id
    this.peer = peer
    this.windowLimit = driver.network.window
  }
}

interface MemoryPeer {
  readonly id: number
  readonly driver: MemoryDriver
  remote: MemoryPeer | undefined
  maxBitrate: number
}

type News = { event: number[] } | { stream: number; bytes: Buffer }

export class MemoryDriver implements Driver {
  readonly address: Driver['address']
  readonly network: MemoryNetwork
  readonly settings: EndpointSettings
  onWake: (() => void) | undefined
  closed = false
  referenced = true
  /** Of all streams. */
  transmissions = 0
  /** What `stats()` and `peerStats()` show besides zeros: tests set it. */
  counts: Partial<DriverStats> = {}
  pathCounts: Partial<DriverPathStats> = {}
  acceptLimit = 0
  /** Every submit, for tests of the encoding. */
  submits = 0
  writes = 0
  /** Largest amount of unsealed bytes any stream had. */
  maxUnsealed = 0
  maxUnsealedInAll = 0
  /** Largest amount of bytes delivered and not consumed any stream had. */
  maxUnconsumed = 0
  readonly commands: number[] = []
  readonly #ends = new Map<number, End>()
  readonly #peers = new Map<number, MemoryPeer>()
  readonly #news: News[] = []
  /** Of handshakes under way. */
  readonly #timers = new Set<NodeJS.Timeout>()
  #armed = true
  #stepping = false
  #nextId = 2
  #records = 0
  #skipped = new Map<number, number>()

  constructor(network: MemoryNetwork, port: number, settings: EndpointSettings) {
    this.network = network
    this.settings = settings
    this.address = { address: settings.host, port, family: settings.host.includes(':') ? 'IPv6' : 'IPv4' }
  }

  connect(id: number, _address: string, port: number, options: DriverConnectOptions): void {
    const peer: MemoryPeer = { id, driver: this, remote: undefined, maxBitrate: options.maxBitrate }
    this.#peers.set(id, peer)
    const other = this.network.drivers.get(port)
    const knows = other?.settings.secrets.some((secret) => Buffer.compare(secret, options.secrets[0] ?? NOTHING) === 0) ?? false
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      if (this.#peers.delete(id)) this.tell([Event.PeerClosed, 5, id, FailureNumber.HandshakeTimeout, 0])
    }, options.handshakeTimeout)
    this.#timers.add(timer)
    if (other === undefined || !knows || other.closed) return
    this.network.carry(() => {
      const remote: MemoryPeer = { id: other.#takeId(), driver: other, remote: peer, maxBitrate: 0 }
      other.#peers.set(remote.id, remote)
      other.tell([Event.PeerOpen, 4, remote.id, 1])
      this.network.carry(() => {
        clearTimeout(timer)
        this.#timers.delete(timer)
        if (!this.#peers.has(id)) return
        peer.remote = remote
        this.tell([Event.PeerOpen, 4, id, 0])
      })
    })
  }

  /** What was injected, as it came: tests look at what became of the bytes. */
  readonly injected: { address: string; port: number; options: DriverInjectOptions }[] = []

  /** A peer that leads nowhere. */
  inject(id: number, address: string, port: number, options: DriverInjectOptions): void {
    this.injected.push({ address, port, options })
    this.#peers.set(id, { id, driver: this, remote: undefined, maxBitrate: options.maxBitrate })
    this.network.later(() => {
      if (this.#peers.has(id)) this.tell([Event.PeerOpen, 4, id, 0])
    })
  }

  submit(commands: Uint8Array): void {
    this.submits += 1
    const view = new DataView(commands.buffer, commands.byteOffset, commands.byteLength)
    for (let at = 0; at < commands.length; ) {
      const length = view.getUint32(at + 8, true)
      const body = commands.subarray(at + 16, at + 16 + length)
      this.#command(view.getUint32(at, true), view.getUint32(at + 4, true), view.getUint32(at + 12, true), body)
      at += 16 + Math.ceil(length / 8) * 8
    }
    this.#schedule()
  }

  write(stream: number, chunk: Uint8Array): void {
    this.writes += 1
    this.#append(stream, chunk)
    this.#schedule()
  }

  drain(events: Float64Array, slab: Uint8Array, slabOffset: number): number {
    let at = 0
    for (let news = this.#news[0]; news !== undefined; news = this.#news[0]) {
      if ('event' in news) {
        if (at + news.event.length > events.length) break
        events.set(news.event, at)
        at += news.event.length
        if (news.event[0] === Event.Completion) this.#records -= 1
      } else {
        const size = Math.min(news.bytes.length, slab.length - slabOffset)
        if (size === 0 || at + 5 > events.length) break
        slab.set(news.bytes.subarray(0, size), slabOffset)
        events.set([Event.Data, 5, news.stream, slabOffset, size], at)
        at += 5
        slabOffset += size
        news.bytes = news.bytes.subarray(size)
        if (news.bytes.length > 0) break
      }
      this.#news.shift()
    }
    if (at === 0) this.#armed = true
    return at
  }

  now(): number {
    return performance.now()
  }

  stats(): DriverStats {
    return { ...noStats(), ...this.counts, streams: this.#ends.size }
  }

  peerStats(id: number): DriverPathStats | undefined {
    return this.#peers.has(id) ? { ...noPathStats(), ...this.pathCounts } : undefined
  }

  peerAddress(id: number): { address: string; port: number } | undefined {
    const other = this.#peers.get(id)?.remote?.driver
    return other === undefined ? undefined : { address: other.address.address, port: other.address.port }
  }

  ref(): void {
    this.referenced = true
  }

  unref(): void {
    this.referenced = false
  }

  close(): void {
    this.closed = true
    this.network.drivers.delete(this.address.port)
    this.#news.length = 0
    // Or the process would wait for them.
    for (const timer of this.#timers) clearTimeout(timer)
    this.#timers.clear()
  }

  /** Ends a stream from inside, as a timeout would; a little later on the other side, too. */
  failStream(id: number, failure: number, detail = 0): void {
    const end = this.#ends.get(id)
    if (end === undefined) return
    const { remote } = end
    this.#finish(end, [failure, detail])
    if (remote !== undefined) this.network.carry(() => remote.driver.#finish(remote, [failure, detail]))
  }

  /** Ends a stream from inside without a failure. */
  closeStream(id: number): void {
    const end = this.#ends.get(id)
    if (end !== undefined) this.#finish(end)
  }

  failPeer(id: number, failure: number, detail = 0): void {
    this.#peers.delete(id)
    this.tell([Event.PeerClosed, 5, id, failure, detail])
  }

  maxBitrateOf(id: number): number | undefined {
    return this.#peers.get(id)?.maxBitrate
  }

  priorityOf(id: number): number | undefined {
    return this.#ends.get(id)?.priority
  }

  #takeId(): number {
    this.#nextId += 2
    return this.#nextId - 2
  }

  #command(op: number, id: number, arg: number, body: Uint8Array): void {
    this.commands.push(op)
    const number = body.length === 8 ? Number(new DataView(body.buffer, body.byteOffset, 8).getBigUint64(0, true)) : 0
    const end = this.#ends.get(id)
    const peer = this.#peers.get(id)
    switch (op) {
      case Op.Open: {
        const to = this.#peers.get(number)
        if (to === undefined) return
        const opened = new End(this, id, to)
        opened.priority = arg
        this.#ends.set(id, opened)
        break
      }
      case Op.Write:
        this.#append(id, body)
        break
      case Op.Finish:
        if (end !== undefined) end.finQueued = true
        break
      case Op.Reset:
        if (end !== undefined) this.#reset(end, number)
        break
      case Op.StopReading:
        if (end !== undefined) end.stopped = true
        break
      case Op.Consume:
        if (end !== undefined) this.#consume(end, number)
        break
      case Op.WantRoom:
        if (end !== undefined) end.wantRoom = number
        break
      case Op.WantAcknowledged:
        if (end !== undefined) end.wantAcknowledged = number >= 2 ** 64 ? Infinity : number
        break
      case Op.Record:
        if (end !== undefined && !end.recording) {
          end.recording = true
          end.unrecorded = end.completed
        }
        break
      case Op.SetPriority:
        if (end !== undefined) end.priority = arg
        break
      case Op.SetMaxBitrate:
        if (peer !== undefined) peer.maxBitrate = number
        break
      case Op.AcceptStreams:
        this.acceptLimit = arg
        break
      case Op.ClosePeer:
        this.#peers.delete(id)
        for (const each of this.#ends.values()) if (each.peer.id === id) this.#finish(each, [FailureNumber.Closed, 0])
        this.tell([Event.PeerClosed, 5, id, 0, 0])
        break
      case Op.Shutdown:
        for (const each of this.#ends.values()) this.#reset(each, 0)
        this.tell([Event.Drained, 2])
        break
      default:
        throw new Error(`unknown command ${op}`)
    }
  }

  #append(id: number, chunk: Uint8Array): void {
    const end = this.#ends.get(id)
    if (end === undefined) return
    end.buffer.push(Buffer.from(chunk))
    end.written += chunk.length
    this.maxUnsealed = Math.max(this.maxUnsealed, end.written - end.sealed)
    let all = 0
    for (const each of this.#ends.values()) all += each.written - each.sealed
    this.maxUnsealedInAll = Math.max(this.maxUnsealedInAll, all)
  }

  #schedule(): void {
    if (this.#stepping || this.closed) return
    this.#stepping = true
    setImmediate(() => {
      this.#stepping = false
      if (this.closed) return
      let more = false
      for (const end of this.#ends.values()) more = this.#step(end) || more
      if (more) this.#schedule()
    })
  }

  /** Sends what may be sent; returns whether there is more that may. */
  #step(end: End): boolean {
    if (end.peer.remote === undefined) return end.peer.driver.#peers.has(end.peer.id)
    for (let bursts = 0; bursts < BURSTS_PER_STEP && !end.over; bursts += 1) {
      const size = Math.min(end.written - end.sealed, end.windowLimit - end.sealed, BURST_PACKETS * PAYLOAD)
      const fin = end.finQueued && !end.finSent && end.sealed + size === end.written
      if (size <= 0 && !fin) break
      this.#send(end, size, fin)
    }
    this.#progress(end)
    if (end.stopped && end.finAcknowledged && !end.over) this.#reset(end, 0, true)
    const left = Math.min(end.written - end.sealed, end.windowLimit - end.sealed)
    return !end.over && (left > 0 || (end.finQueued && !end.finSent))
  }

  #send(end: End, size: number, fin: boolean): void {
    const all = end.buffer.length === 1 && end.buffer[0] !== undefined ? end.buffer[0] : Buffer.concat(end.buffer)
    const bytes = all.subarray(0, size)
    end.buffer = all.length > size ? [all.subarray(size)] : []
    const offset = end.sealed
    end.sealed += size
    if (fin) end.finSent = true
    if (this.network.failSends > 0) {
      this.network.failSends -= 1
      this.#record(end, offset, size, fin, this.network.errno, 0)
      this.#record(end, offset, size, fin, 0, 2 | 4)
    } else {
      this.#record(end, offset, size, fin, 0, 0)
    }
    this.network.carry(() => this.#arrive(end, offset, bytes, fin))
  }

  #record(end: End, offset: number, size: number, fin: boolean, errno: number, flags: number): void {
    end.transmissions += 1
    this.transmissions += 1
    end.completed += 1
    const count = Math.max(1, Math.ceil(size / PAYLOAD))
    end.packets += count
    if ((flags & 2) !== 0) end.retransmitted += count
    if (!end.recording) {
      end.unrecorded += 1
      return
    }
    if (this.#records >= this.network.maxRecords) {
      this.#skipped.set(end.id, (this.#skipped.get(end.id) ?? 0) + 1)
      return
    }
    this.#records += 1
    const packets: number[] = []
    for (let at = 0; at < size || packets.length === 0; at += PAYLOAD) {
      const length = Math.min(PAYLOAD, size - at)
      packets.push(end.packetNumber++, offset + at, length, flags | 8 | (fin && at + length >= size ? 1 : 0) | ((length + OVERHEAD) << 16))
    }
    const now = this.now()
    this.tell([Event.Completion, 7 + packets.length, end.id, errno === 0 ? 0 : 1, now - 0.05, now, errno, ...packets])
  }

  #arrive(from: End, offset: number, bytes: Buffer, fin: boolean): void {
    const other = from.peer.remote?.driver
    if (other === undefined || other.closed || from.over) return
    if (from.remote === undefined) {
      if (other.acceptLimit === 0) {
        this.network.carry(() => this.#finish(from, [FailureNumber.StreamRefused, 0]))
        return
      }
      const remotePeer = from.peer.remote as MemoryPeer
      const accepted = new End(other, other.#takeId(), remotePeer)
      accepted.remote = from
      from.remote = accepted
      other.#ends.set(accepted.id, accepted)
      other.tell([Event.StreamAccepted, 4, accepted.id, remotePeer.id])
    }
    const to = from.remote
    if (offset !== to.received) throw new Error(`bytes out of order: ${offset} after ${to.received}`)
    to.received += bytes.length
    if (!to.over) {
      if (to.stopped) other.#consume(to, bytes.length)
      else if (bytes.length > 0) other.#tellData(to.id, bytes)
      other.maxUnconsumed = Math.max(other.maxUnconsumed, to.received - to.consumed)
      if (fin) {
        to.finReceived = true
        if (!to.stopped) other.tell([Event.End, 3, to.id])
        other.#maybeClose(to)
      }
    }
    this.network.carry(() => {
      from.acknowledged = offset + bytes.length
      if (fin) from.finAcknowledged = true
      this.#progress(from)
      this.#maybeClose(from)
      this.#schedule()
    })
  }

  #consume(end: End, bytes: number): void {
    end.consumed += bytes
    const limit = end.consumed + this.network.window
    const { remote } = end
    if (remote === undefined) return
    this.network.carry(() => {
      remote.windowLimit = Math.max(remote.windowLimit, limit)
      remote.driver.#schedule()
    })
  }

  #progress(end: End): void {
    const room = end.wantRoom !== undefined && end.written - end.sealed <= end.wantRoom
    const want = end.wantAcknowledged
    const acknowledged = want !== undefined && (want === Infinity ? end.finAcknowledged : end.acknowledged >= want)
    if (end.over || (!room && !acknowledged)) return
    if (room) end.wantRoom = undefined
    if (acknowledged) end.wantAcknowledged = undefined
    this.#tellProgress(end)
  }

  #tellProgress(end: End): void {
    const sent = [end.transmissions, end.packets, end.retransmitted, end.retransmitted * PAYLOAD, 0]
    this.tell([Event.Progress, 11, end.id, end.sealed, end.acknowledged, end.finAcknowledged ? 1 : 0, ...sent])
  }

  #maybeClose(end: End): void {
    if (end.finAcknowledged && end.finReceived) this.#finish(end)
  }

  #reset(end: End, code: number, quiet = false): void {
    if (end.over) return
    const { remote } = end
    this.#finish(end, quiet ? undefined : [FailureNumber.LocalReset, code])
    if (remote !== undefined) this.network.carry(() => remote.driver.#finish(remote, [FailureNumber.PeerReset, code]))
  }

  #finish(end: End, failure?: [number, number]): void {
    if (end.over) return
    end.over = true
    this.#ends.delete(end.id)
    const skipped = this.#skipped.get(end.id) ?? 0
    this.#skipped.delete(end.id)
    this.#tellProgress(end)
    if (failure !== undefined) this.tell([Event.Failed, 5, end.id, ...failure])
    const acknowledged = failure?.[0] === FailureNumber.KeyRejected ? 0 : end.acknowledged
    this.tell([Event.Closed, 6, end.id, end.transmissions, end.recording ? end.unrecorded : end.transmissions, acknowledged])
    if (skipped > 0) this.tell([Event.Skipped, 4, end.id, skipped])
  }

  /** Tells the endpoint. */
  tell(event: number[]): void {
    this.#push({ event })
  }

  #tellData(stream: number, bytes: Buffer): void {
    this.#push({ stream, bytes })
  }

  #push(news: News): void {
    if (this.closed) return
    this.#news.push(news)
    if (!this.#armed) return
    this.#armed = false
    setImmediate(() => this.onWake?.())
  }
}

const NOTHING = new Uint8Array(0)

import { Event, type Driver } from './driver.js'

/** Elements of the event ring: 128 KiB, about sixty records of a full burst. */
const RING_ELEMENTS = 16 * 1024
/** Received bytes are copied into slabs of this size: the fastest of the measured ways. */
export const SLAB_BYTES = 256 * 1024
/** With less than this left a new slab is begun, so that a drain can always take a good part of a burst. */
const MIN_SLAB_BYTES = 32 * 1024

/** Who the news is for, event by event. `data` gets a view into a slab that others share. */
export interface EventSink {
  peerOpen(peer: number, accepted: boolean): void
  peerClosed(peer: number, failure: number, detail: number): void
  streamAccepted(stream: number, peer: number): void
  data(stream: number, chunk: Buffer): void
  end(stream: number): void
  progress(stream: number, sealed: number, acknowledged: number, finAcknowledged: boolean): void
  /** What the stream sent so far, as of the progress that follows. */
  counted(stream: number, transmissions: number, packets: number, packetsRetransmitted: number, bytesRetransmitted: number, packetsLost: number): void
  failed(stream: number, failure: number, detail: number): void
  streamClosed(stream: number, transmissions: number, unrecorded: number, acknowledged: number): void
  /** `record` is a view that is overwritten later: outcome, scheduledAt, sentAt, errno, then 4 elements a packet. */
  completion(stream: number, record: Float64Array): void
  skipped(stream: number, count: number): void
  drained(): void
  /** Segmentation offload was refused so many times. */
  offloadRefused(total: number): void
  /** The driver could not be drained: there will be no more news. */
  broken(error: unknown): void
  /** No more bytes will go into this slab. */
  slabRetired(slab: Buffer): void
}

/**
 * Takes the driver's news once per turn of the event loop until there is none; then the driver's doorbell is armed again.
 *
 * An exception out of a listener goes where exceptions of listeners go, and costs no event: the rest of the batch is
 * delivered in the next turn.
 */
export class EventPump {
  readonly #driver: Pick<Driver, 'drain'>
  readonly #sink: EventSink
  readonly #ring = new Float64Array(RING_ELEMENTS)
  readonly #step = (): void => {
    this.#turn()
  }
  #slab: Buffer = Buffer.allocUnsafeSlow(0)
  #slabOffset = 0
  /** The batch not yet delivered: elements from `#cursor` to `#length`. */
  #cursor = 0
  #length = 0
  #scheduled = false
  #closed = false

  constructor(driver: Pick<Driver, 'drain'>, sink: EventSink) {
    this.#driver = driver
    this.#sink = sink
  }

  /** There is news. */
  wake(): void {
    if (!this.#scheduled) this.#turn()
  }

  close(): void {
    this.#closed = true
    this.#cursor = this.#length = 0
    this.#slab = Buffer.allocUnsafeSlow(0)
  }

  #turn(): void {
    this.#scheduled = false
    if (this.#closed) return
    if (this.#cursor >= this.#length) {
      if (this.#slab.length - this.#slabOffset < MIN_SLAB_BYTES) this.#replaceSlab()
      this.#cursor = 0
      this.#length = 0
      try {
        this.#length = this.#driver.drain(this.#ring, this.#slab, this.#slabOffset)
      } catch (error) {
        this.#sink.broken(error)
      }
      if (this.#length === 0) return
    }
    this.#scheduled = true
    setImmediate(this.#step)
    this.#deliver()
  }

  #deliver(): void {
    const ring = this.#ring
    while (this.#cursor < this.#length) {
      const at = this.#cursor
      const size = ring[at + 1] ?? 0
      // A record of no length would never end; it can only come from a driver out of step with this file.
      if (size < 2) {
        this.#cursor = this.#length
        this.#sink.broken(new RangeError(`event of length ${size} at ${at}`))
        return
      }
      this.#cursor = at + size
      this.#dispatch(ring[at] ?? 0, at, at + size)
    }
  }

  #dispatch(type: number, at: number, end: number): void {
    const ring = this.#ring
    const sink = this.#sink
    const id = ring[at + 2] ?? 0
    const a = ring[at + 3] ?? 0
    const b = ring[at + 4] ?? 0
    switch (type) {
      case Event.Data:
        this.#slabOffset = a + b
        sink.data(id, this.#slab.subarray(a, a + b))
        break
      case Event.Progress:
        if (end - at > 6) sink.counted(id, ring[at + 6] ?? 0, ring[at + 7] ?? 0, ring[at + 8] ?? 0, ring[at + 9] ?? 0, ring[at + 10] ?? 0)
        sink.progress(id, a, b, ring[at + 5] === 1)
        break
      case Event.Completion:
        sink.completion(id, ring.subarray(at + 3, end))
        break
      case Event.StreamAccepted:
        sink.streamAccepted(id, a)
        break
      case Event.End:
        sink.end(id)
        break
      case Event.Closed:
        sink.streamClosed(id, a, b, ring[at + 5] ?? 0)
        break
      case Event.Failed:
        sink.failed(id, a, b)
        break
      case Event.Skipped:
        sink.skipped(id, a)
        break
      case Event.PeerOpen:
        sink.peerOpen(id, a === 1)
        break
      case Event.PeerClosed:
        sink.peerClosed(id, a, b)
        break
      case Event.Drained:
        sink.drained()
        break
      case Event.Offload:
        sink.offloadRefused(id)
        break
      default:
      // A newer driver may tell more than is understood here.
    }
  }

  #replaceSlab(): void {
    const retired = this.#slab
    this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES)
    this.#slabOffset = 0
    if (retired.length > 0) this.#sink.slabRetired(retired)
  }
}

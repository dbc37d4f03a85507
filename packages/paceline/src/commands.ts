import { Op, type Driver } from './driver.js'

const HEADER_BYTES = 16
/** Commands go out when this much has gathered, so that the worker starts before the tick of JavaScript ends. */
const SLAB_BYTES = 64 * 1024
/** A chunk from this size on is cheaper by itself than through the slab (measured: reference numbers of the boundary). */
export const DIRECT_BYTES = 16 * 1024
const TWO_POW_32 = 2 ** 32
const NO_RECORD = -1

/**
 * Encodes commands into a slab of its own and hands them to the driver once per tick.
 *
 * `process.nextTick` runs after the running callback and, inside a promise job, after all promise jobs: a loop of
 * awaited writes with room in the send buffer is one submit, not one per write.
 */
export class CommandQueue {
  readonly #driver: Pick<Driver, 'submit' | 'write'>
  readonly #slab = new Uint8Array(SLAB_BYTES)
  readonly #view = new DataView(this.#slab.buffer)
  readonly #onTick = (): void => {
    this.#scheduled = false
    this.flush()
  }
  #length = 0
  /** Where the last record begins: a Write or Consume of the same stream is added to it instead of a new one. */
  #last = NO_RECORD
  #scheduled = false
  #closed = false

  constructor(driver: Pick<Driver, 'submit' | 'write'>) {
    this.#driver = driver
  }

  open(stream: number, peer: number, priority: number): void {
    this.#number(Op.Open, stream, priority, peer)
  }

  /** Appends to the send buffer; the bytes are copied before this returns. */
  write(stream: number, chunk: Uint8Array): void {
    if (chunk.length >= DIRECT_BYTES) {
      if (this.#closed) return
      this.flush()
      this.#driver.write(stream, chunk)
      return
    }
    if (chunk.length === 0 || this.#extend(stream, chunk)) return
    const at = this.#begin(Op.Write, stream, 0, chunk.length)
    if (at !== NO_RECORD) this.#slab.set(chunk, at + HEADER_BYTES)
  }

  finish(stream: number): void {
    this.#begin(Op.Finish, stream, 0, 0)
  }

  reset(stream: number, code: number): void {
    this.#number(Op.Reset, stream, 0, code)
  }

  stopReading(stream: number): void {
    this.#begin(Op.StopReading, stream, 0, 0)
  }

  consume(stream: number, bytes: number): void {
    const last = this.#last
    if (last !== NO_RECORD && this.#view.getUint32(last, true) === Op.Consume && this.#view.getUint32(last + 4, true) === stream) {
      this.#u64(last + HEADER_BYTES, this.#view.getUint32(last + HEADER_BYTES, true) + this.#view.getUint32(last + HEADER_BYTES + 4, true) * TWO_POW_32 + bytes)
      return
    }
    this.#number(Op.Consume, stream, 0, bytes)
  }

  wantRoom(stream: number, level: number): void {
    this.#number(Op.WantRoom, stream, 0, level)
  }

  /** `Infinity`: everything and the FIN. */
  wantAcknowledged(stream: number, offset: number): void {
    this.#number(Op.WantAcknowledged, stream, 0, offset)
  }

  record(stream: number): void {
    this.#begin(Op.Record, stream, 0, 0)
  }

  setPriority(stream: number, priority: number): void {
    this.#begin(Op.SetPriority, stream, priority, 0)
  }

  setMaxBitrate(peer: number, bitsPerSecond: number): void {
    this.#number(Op.SetMaxBitrate, peer, 0, bitsPerSecond)
  }

  acceptStreams(count: number): void {
    this.#begin(Op.AcceptStreams, 0, count, 0)
  }

  closePeer(peer: number): void {
    this.#begin(Op.ClosePeer, peer, 0, 0)
  }

  shutdown(): void {
    this.#begin(Op.Shutdown, 0, 0, 0)
  }

  /** Hands over what has gathered. */
  flush(): void {
    if (this.#length === 0 || this.#closed) return
    const commands = this.#slab.subarray(0, this.#length)
    this.#length = 0
    this.#last = NO_RECORD
    this.#driver.submit(commands)
  }

  /** Drops what has gathered and whatever comes. */
  close(): void {
    this.#closed = true
    this.#length = 0
    this.#last = NO_RECORD
  }

  #number(op: number, id: number, arg: number, value: number): void {
    const at = this.#begin(op, id, arg, 8)
    if (at !== NO_RECORD) this.#u64(at + HEADER_BYTES, value)
  }

  #u64(at: number, value: number): void {
    if (value === Infinity) {
      this.#view.setUint32(at, 0xffff_ffff, true)
      this.#view.setUint32(at + 4, 0xffff_ffff, true)
    } else {
      this.#view.setUint32(at, value % TWO_POW_32, true)
      this.#view.setUint32(at + 4, Math.floor(value / TWO_POW_32), true)
    }
  }

  /** Writes a header and zero padding; returns where the record begins. */
  #begin(op: number, id: number, arg: number, bodyBytes: number): number {
    if (this.#closed) return NO_RECORD
    const size = HEADER_BYTES + padded(bodyBytes)
    if (this.#length + size > SLAB_BYTES) this.flush()
    const at = this.#length
    this.#view.setUint32(at, op, true)
    this.#view.setUint32(at + 4, id, true)
    this.#view.setUint32(at + 8, bodyBytes, true)
    this.#view.setUint32(at + 12, arg, true)
    if (bodyBytes % 8 !== 0) this.#slab.fill(0, at + HEADER_BYTES + bodyBytes, at + size)
    this.#length = at + size
    this.#last = at
    if (!this.#scheduled) {
      this.#scheduled = true
      process.nextTick(this.#onTick)
    }
    return at
  }

  /** Adds the chunk to the last record if that is a Write of the same stream: one allocation in the driver for many small writes. */
  #extend(stream: number, chunk: Uint8Array): boolean {
    const last = this.#last
    if (last === NO_RECORD || this.#view.getUint32(last, true) !== Op.Write || this.#view.getUint32(last + 4, true) !== stream) return false
    const before = this.#view.getUint32(last + 8, true)
    const end = last + HEADER_BYTES + padded(before + chunk.length)
    if (end > SLAB_BYTES) return false
    const at = last + HEADER_BYTES + before
    this.#slab.set(chunk, at)
    this.#slab.fill(0, at + chunk.length, end)
    this.#view.setUint32(last + 8, before + chunk.length, true)
    this.#length = end
    return true
  }
}

function padded(bytes: number): number {
  return (bytes + 7) & ~7
}

import type { Waiter } from './abort.js'
import type { CommandQueue } from './commands.js'
import { StreamError } from './errors.js'
import { Fifo } from './fifo.js'
import { Reason, type Hold } from './hold.js'

/** What a receiving half needs from its endpoint. */
export interface ReceiveLink {
  readonly commands: CommandQueue
  /** Inboxes that hold parts of the present slab. */
  readonly slabHolders: Set<Inbox>
}

/** Somebody who waits for a chunk; `owner` is the iterator it does so with. */
interface ChunkWaiter {
  readonly owner: object
  readonly waiter: Waiter<IteratorResult<Buffer, undefined>>
}

/** Where bytes go that nobody takes through an iterator: the readable side of the Duplex. */
export interface Readable {
  /** As in `node:stream`: returns whether more is wanted. */
  push(chunk: Buffer | null): boolean
  /** `read(0)` makes an ended and empty Readable emit 'end'. */
  read(size: number): unknown
}

/** Received chunks that nobody has taken. Knows no stream, so that whoever knows it keeps none. */
export class Inbox extends Fifo<Buffer> {
  /** Bytes held in a slab. */
  heldIn(slab: Buffer): number {
    let bytes = 0
    for (const chunk of this) if (chunk.buffer === slab.buffer) bytes += chunk.length
    return bytes
  }

  /** Copies what is held in a slab, so that the slab can go. */
  copyOutOf(slab: Buffer): void {
    this.rewrite((chunk) => {
      if (chunk.buffer !== slab.buffer) return chunk
      const copy = Buffer.allocUnsafeSlow(chunk.length)
      chunk.copy(copy)
      return copy
    })
  }
}

export const DONE: IteratorReturnResult<undefined> = { done: true, value: undefined }

/**
 * The receiving half of a stream: what has arrived and was not yet taken.
 *
 * ```
 *  Data event ──► waiting iterator              (fast lane)
 *            ├──► readable.push()               (stock lane, once something has called read())
 *            └──► inbox ──► either, later
 * ```
 * Bytes are reported consumed when they leave the inbox. So the inbox is bounded by the receive window, and a slow reader
 * closes the window.
 */
export class ReceiveHalf {
  readonly #id: number
  readonly #link: ReceiveLink
  readonly #readable: Readable
  readonly #hold: Hold
  readonly #inbox = new Inbox()
  #waiters: ChunkWaiter[] = []
  #wanting = false
  #endPushed = false
  #stopped = false
  /** Something that had arrived was dropped unread. */
  #lost = false
  #failure: Error | undefined

  /** Bytes that arrived. */
  received = 0
  /** Of them, taken by the application. */
  consumed = 0
  /** Everything up to the peer's FIN has arrived. */
  ended = false
  /** Something has called read(), as 'data', 'readable' and pipe() do: the stock machinery owns the bytes. */
  stock = false

  constructor(id: number, link: ReceiveLink, readable: Readable, hold: Hold) {
    this.#id = id
    this.#link = link
    this.#hold = hold
    this.#readable = readable
  }

  /** Bytes that arrived and were not taken. */
  get unread(): number {
    return this.#inbox.length === 0 ? 0 : this.received - this.consumed
  }

  /** Everything has arrived and was taken. */
  get complete(): boolean {
    return this.ended && !this.#lost && this.#inbox.length === 0
  }

  /** Nobody will miss anything: all was taken, or reading was stopped while nobody read. */
  get settled(): boolean {
    return this.complete || (this.#stopped && !this.stock)
  }

  get stopped(): boolean {
    return this.#stopped
  }

  data(chunk: Buffer): void {
    this.received += chunk.length
    if (this.#failure !== undefined) return
    if (this.#inbox.length > 0) {
      this.#inbox.push(chunk)
    } else if (this.#waiters.length > 0) {
      this.#consume(chunk)
      const next = this.#waiters.shift()
      if (this.#waiters.length === 0) this.#hold.clear(Reason.Reading)
      next?.waiter.resolve({ done: false, value: chunk })
    } else if (this.#wanting) {
      this.#consume(chunk)
      this.#wanting = this.#readable.push(chunk)
    } else {
      this.#inbox.push(chunk)
      this.#link.slabHolders.add(this.#inbox)
    }
  }

  end(): void {
    this.ended = true
    if (this.#inbox.length > 0) return
    if (this.#waiters.length > 0) this.#endWaiters()
    else if (this.stock) this.#pushEnd()
  }

  /** The stock machinery wants bytes. */
  read(): void {
    this.stock = true
    this.#wanting = true
    while (this.#wanting) {
      const chunk = this.#inbox.shift()
      if (chunk === undefined) break
      this.#consume(chunk)
      this.#wanting = this.#readable.push(chunk)
    }
    if (this.complete) this.#pushEnd()
  }

  /** The fast lane of an iterator. */
  next(owner: object, waiter: Waiter<IteratorResult<Buffer, undefined>>): void {
    const chunk = this.#inbox.shift()
    if (chunk !== undefined) {
      this.#consume(chunk)
      waiter.resolve({ done: false, value: chunk })
    } else if (this.complete) {
      this.finish()
      waiter.resolve(DONE)
    } else if (this.#failure !== undefined) {
      waiter.reject(this.#failure)
    } else {
      this.#waiters.push({ owner, waiter })
      this.#hold.set(Reason.Reading)
    }
  }

  abandon(waiter: Waiter<IteratorResult<Buffer, undefined>>): void {
    this.#keep((entry) => entry.waiter !== waiter)
  }

  /** Ends what an iterator waits for: it must not take a chunk from the others. */
  leave(owner: object): void {
    const left = this.#waiters.filter((entry) => entry.owner === owner)
    if (left.length === 0) return
    this.#keep((entry) => entry.owner !== owner)
    for (const { waiter } of left) waiter.resolve(DONE)
  }

  /** Ends the readable side of a half that is settled, without anybody reading. */
  finish(): void {
    if (!this.settled) return
    this.#pushEnd()
    this.#readable.read(0)
  }

  /** Drops what is here and what will come. Who reads gets an error, never an end: that would look like all there was. */
  stop(): void {
    if (this.#stopped || this.complete) return
    this.#stopped = true
    this.fail(new StreamError('ERR_PACELINE_STREAM_CLOSED', 'reading was stopped before the end of the stream'))
    this.finish()
  }

  fail(error: Error): void {
    if (this.#failure !== undefined) return
    this.#failure = error
    this.#lost = this.#inbox.length > 0
    this.#inbox.clear()
    if (this.complete) {
      this.#endWaiters()
      return
    }
    for (const { waiter } of this.#takeWaiters()) waiter.reject(error)
  }

  #consume(chunk: Buffer): void {
    this.consumed += chunk.length
    this.#link.commands.consume(this.#id, chunk.length)
  }

  #endWaiters(): void {
    const waiters = this.#takeWaiters()
    if (waiters.length > 0) this.finish()
    for (const { waiter } of waiters) waiter.resolve(DONE)
  }

  #keep(stays: (entry: ChunkWaiter) => boolean): void {
    this.#waiters = this.#waiters.filter(stays)
    if (this.#waiters.length === 0) this.#hold.clear(Reason.Reading)
  }

  #takeWaiters(): ChunkWaiter[] {
    const waiters = this.#waiters
    this.#waiters = []
    this.#hold.clear(Reason.Reading)
    return waiters
  }

  #pushEnd(): void {
    if (this.#endPushed) return
    this.#endPushed = true
    this.#readable.push(null)
  }
}

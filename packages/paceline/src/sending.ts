import type { Waiter } from './abort.js'
import type { SendBudget, Spender } from './budget.js'
import type { CommandQueue } from './commands.js'
import { channels, debug } from './diagnostics.js'
import type { Driver } from './driver.js'
import { PacelineError, StreamError } from './errors.js'
import { Fifo } from './fifo.js'
import { Reason, type Hold } from './hold.js'

/** Something that waits for its turn to be handed to the driver: bytes, a marker (no bytes), or the FIN. */
export interface Pending {
  readonly chunks: readonly Uint8Array[]
  readonly fin: boolean
  /** Bytes not yet handed over. */
  remaining: number
  /** Chunk and offset in it where the rest begins. */
  index: number
  offset: number
  /** Called once, from `enqueue` or from the drain loop. */
  done(error: Error | null): void
}

interface AcknowledgementWaiter {
  /** `Infinity`: everything and the FIN. */
  readonly offset: number
  readonly waiter: Waiter<void>
}

/** What a sending half needs from its endpoint. */
export interface SendLink {
  readonly commands: CommandQueue
  readonly budget: SendBudget
  readonly sendBufferBytes: number
  readonly driver: Pick<Driver, 'now'>
}

const NO_CHUNKS: readonly Uint8Array[] = []

/**
 * The sending half of a stream: how much is in the driver's send buffer, who waits for room, who waits for acknowledgements.
 *
 * Room is counted here, from what was handed over and what the driver said it has sealed; so a write with room costs no
 * question.
 */
export class SendHalf implements Spender {
  readonly #id: number
  readonly #link: SendLink
  readonly #hold: Hold
  readonly #queue = new Fifo<Pending>()
  #acknowledgements: AcknowledgementWaiter[] = []
  #askedOffset = -1
  #askedRoom = false
  #failure: Error | undefined
  /** Since when something waits for room, in ms; known only if somebody wants to know. */
  #blockedAt: number | undefined

  /** Bytes handed to the driver. */
  written = 0
  /** Of them, as far as known: sealed. */
  sealed = 0
  /** Of them, as far as known: acknowledged without a gap. */
  acknowledged = 0
  /** The FIN was handed to the driver. */
  finished = false
  finAcknowledged = false
  /** The driver has forgotten the stream: `acknowledged` is final. */
  over = false

  constructor(id: number, link: SendLink, hold: Hold) {
    this.#id = id
    this.#link = link
    this.#hold = hold
  }

  get unsealed(): number {
    return this.written - this.sealed
  }

  get failure(): Error | undefined {
    return this.#failure
  }

  /** Bytes that wait for room. */
  get pendingBytes(): number {
    let bytes = 0
    for (const pending of this.#queue) bytes += pending.remaining
    return bytes
  }

  /** Bytes that can be handed over now. */
  get room(): number {
    const own = this.unsealed
    return Math.max(0, Math.min(this.#link.sendBufferBytes - own, this.#link.budget.room(own)))
  }

  /** The same for somebody who asks instead of waiting: what little room there is as far as known, is asked about. */
  askRoom(): number {
    const { room } = this
    if (room < this.#link.sendBufferBytes / 2 && this.#failure === undefined) this.#waitForRoom()
    return room
  }

  /** Hands the chunk over if nobody waits and all of it has room. */
  tryWrite(chunk: Uint8Array): boolean {
    if (this.#failure !== undefined || this.#queue.length > 0 || chunk.length > this.room) return false
    this.#handOver(chunk)
    return true
  }

  /** Hands over as soon as there is room, in order. A chunk no larger than a quarter of the send buffer goes whole. */
  enqueue(chunks: readonly Uint8Array[], done: (error: Error | null) => void, fin = false): Pending {
    let remaining = 0
    for (const chunk of chunks) remaining += chunk.length
    const pending: Pending = { chunks, fin, remaining, index: 0, offset: 0, done }
    if (this.#failure !== undefined && (remaining > 0 || !fin)) {
      done(this.#failure)
      return pending
    }
    this.#queue.push(pending)
    if (this.#queue.length === 1) this.retry()
    if (this.#queue.length > 0) this.#hold.set(Reason.Sending)
    return pending
  }

  /** FIN after everything that waits. */
  finish(done: (error: Error | null) => void): void {
    this.enqueue(NO_CHUNKS, done, true)
  }

  /** Takes back what has not begun to be handed over. Returns whether it was in time. */
  withdraw(pending: Pending): boolean {
    if (pending.index > 0 || pending.offset > 0) return false
    let found = false
    this.#queue.rewrite((entry) => {
      if (entry !== pending) return entry
      found = true
      return undefined
    })
    this.retry()
    return found
  }

  /** Resolves once everything up to `offset` is acknowledged; `Infinity` is everything and the FIN. */
  awaitAcknowledged(offset: number, waiter: Waiter<void>): void {
    if (this.#isAcknowledged(offset)) waiter.resolve()
    else if (this.#failure !== undefined || this.over) waiter.reject(this.#failure ?? closedError())
    else {
      const waiters = this.#acknowledgements
      let at = waiters.length
      while (at > 0 && (waiters[at - 1]?.offset ?? 0) > offset) at -= 1
      waiters.splice(at, 0, { offset, waiter })
      this.#hold.set(Reason.Acknowledging)
      this.#askAcknowledged()
    }
  }

  abandonAcknowledged(waiter: Waiter<void>): void {
    this.#acknowledgements = this.#acknowledgements.filter((entry) => entry.waiter !== waiter)
    if (this.#acknowledgements.length === 0) this.#hold.clear(Reason.Acknowledging)
  }

  progress(sealed: number, acknowledged: number, finAcknowledged: boolean): void {
    const came = sealed - this.sealed
    this.acknowledged = Math.max(this.acknowledged, acknowledged)
    this.finAcknowledged ||= finAcknowledged
    this.#askedRoom = false
    if (came > 0) {
      this.sealed = sealed
      this.#link.budget.release(this, came)
    }
    this.#settleAcknowledged()
    this.retry()
  }

  /** Nothing can be sent any more. What waits is told. */
  fail(error: Error): void {
    if (this.#failure !== undefined) return
    this.#failure = error
    const waiting = [...this.#queue]
    this.#queue.clear()
    this.#unblock()
    this.#hold.clear(Reason.Sending)
    for (const pending of waiting) {
      // A FIN behind nothing has nothing to lose: `end()` on a stream whose peer has gone is not an error.
      pending.done(pending.fin && pending.remaining === 0 && waiting.length === 1 && this.#nothingLost() ? null : error)
    }
    this.#rejectAcknowledgements(error)
    this.#letGo()
  }

  /** The driver has forgotten the stream. */
  close(acknowledged: number): void {
    if (this.over) return
    // A close never takes back what was acknowledged, except when the peer rejected the whole stream.
    this.acknowledged = acknowledged
    this.over = true
    if (this.#failure === undefined && this.finished && this.#nothingLost()) this.finAcknowledged = true
    this.#settleAcknowledged()
    this.fail(closedError())
    this.#rejectAcknowledgements(this.#failure ?? closedError())
    this.#letGo()
  }

  retry(): void {
    for (let pending = this.#queue.peek(); pending !== undefined; pending = this.#queue.peek()) {
      if (!this.#handOverPending(pending)) return
      this.#queue.shift()
      if (pending.fin) {
        this.#link.commands.finish(this.#id)
        this.finished = true
        this.#hold.finished()
      }
      pending.done(null)
    }
    this.#unblock()
    this.#hold.clear(Reason.Sending)
  }

  refresh(): void {
    if (this.#askedRoom || this.unsealed === 0) return
    this.#askedRoom = true
    this.#link.commands.wantRoom(this.#id, this.unsealed - 1)
  }

  #nothingLost(): boolean {
    return this.acknowledged >= this.written
  }

  #handOver(chunk: Uint8Array): void {
    if (chunk.length === 0) return
    this.#link.budget.take(this, chunk.length)
    this.written += chunk.length
    this.#link.commands.write(this.#id, chunk)
  }

  /** Returns whether nothing remains. */
  #handOverPending(pending: Pending): boolean {
    while (pending.remaining > 0) {
      const room = this.room
      const untouched = pending.index === 0 && pending.offset === 0
      // Whole if it is small, so that an aborted write leaves no half chunk; in parts when there is no other way.
      const whole = untouched && this.unsealed > 0 ? Math.min(pending.remaining, this.#link.sendBufferBytes >> 2) : 1
      if (room < whole) {
        this.#waitForRoom()
        return false
      }
      this.#handOverPart(pending, room)
    }
    return true
  }

  #handOverPart(pending: Pending, room: number): void {
    for (let left = room; left > 0 && pending.remaining > 0; ) {
      const chunk = pending.chunks[pending.index]
      if (chunk === undefined) {
        // Shorter than it was: somebody has detached the buffer meanwhile.
        pending.remaining = 0
        return
      }
      const part = pending.offset === 0 && chunk.length <= left ? chunk : chunk.subarray(pending.offset, pending.offset + left)
      this.#handOver(part)
      left -= part.length
      pending.remaining -= part.length
      pending.offset += part.length
      if (pending.offset >= chunk.length) {
        pending.index += 1
        pending.offset = 0
      }
    }
  }

  #block(): void {
    if (this.#blockedAt !== undefined) return
    if (!debug.enabled && !channels.streamBlocked.hasSubscribers && !channels.streamUnblocked.hasSubscribers) return
    const { stream } = this.#hold
    if (stream === undefined) return
    this.#blockedAt = this.#link.driver.now()
    const waiting = this.pendingBytes
    debug('stream %d: %d bytes wait for room', this.#id, waiting)
    if (channels.streamBlocked.hasSubscribers) channels.streamBlocked.publish({ stream, waiting })
  }

  #unblock(): void {
    if (this.#blockedAt === undefined) return
    const blockedFor = this.#link.driver.now() - this.#blockedAt
    this.#blockedAt = undefined
    debug('stream %d: nothing waits for room after %d ms', this.#id, blockedFor)
    const { stream } = this.#hold
    if (stream !== undefined && channels.streamUnblocked.hasSubscribers) channels.streamUnblocked.publish({ stream, blockedFor })
  }

  #waitForRoom(): void {
    this.#block()
    const own = this.unsealed
    if (own === 0) {
      this.#link.budget.starve(this)
    } else if (!this.#askedRoom) {
      this.#askedRoom = true
      // Three quarters, not none: the driver must not run dry while the news is on its way to a busy event loop.
      this.#link.commands.wantRoom(this.#id, Math.floor(Math.min(this.#link.sendBufferBytes, own) * 0.75))
    }
  }

  #isAcknowledged(offset: number): boolean {
    return offset === Infinity ? this.finAcknowledged && this.acknowledged >= this.written : this.acknowledged >= offset
  }

  #askAcknowledged(): void {
    const next = this.#acknowledgements[0]
    if (next === undefined || next.offset === this.#askedOffset) return
    this.#askedOffset = next.offset
    this.#link.commands.wantAcknowledged(this.#id, next.offset)
  }

  #settleAcknowledged(): void {
    for (let next = this.#acknowledgements[0]; next !== undefined && this.#isAcknowledged(next.offset); next = this.#acknowledgements[0]) {
      this.#acknowledgements.shift()
      next.waiter.resolve()
    }
    if (this.#acknowledgements.length === 0) this.#hold.clear(Reason.Acknowledging)
    else this.#askAcknowledged()
  }

  #rejectAcknowledgements(error: Error): void {
    const waiting = this.#acknowledgements
    this.#acknowledgements = []
    this.#hold.clear(Reason.Acknowledging)
    for (const { waiter } of waiting) waiter.reject(error)
  }

  /** What the driver still holds of a stream that is over does not count any more. */
  #letGo(): void {
    const came = this.unsealed
    this.sealed = this.written
    this.#link.budget.forget(this)
    this.#link.budget.release(this, came)
  }
}

function closedError(): PacelineError {
  return new StreamError('ERR_PACELINE_STREAM_CLOSED')
}

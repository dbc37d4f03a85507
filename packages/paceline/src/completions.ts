import { wait, type Waiter } from './abort.js'
import { AbortError, errnoName, nodeErrno } from './errors.js'
import { Fifo } from './fifo.js'

/** Records that may wait in any iterator, whatever waits in the others: about 1.5 KiB each at most. */
export const OWN_RECORDS = 16
/** Records that may wait beyond those, in all iterators of an endpoint; more are counted as skipped. */
export const MAX_WAITING_RECORDS = 16 * 1024

const PACKETS_AT = 4
const PACKET_ELEMENTS = 4
const Flag = { Fin: 1, Retransmission: 2, Recovery: 4, Ect0: 8 } as const
/** Above the flags. */
const SIZE_SHIFT = 16
const OUTCOMES = ['sent', 'failed', 'cancelled'] as const

/** One packet of a transmission. */
export interface CompletionPacket {
  /** Packet number in its space. */
  readonly number: number
  /** Which numbers `number` counts in: first transmissions, or retransmissions and probes. */
  readonly space: 'stream' | 'recovery'
  /** Where its payload begins in the stream, in bytes. */
  readonly offset: number
  /** Stream bytes in it. */
  readonly length: number
  /** Bytes of the whole packet, which is the payload of one UDP datagram. */
  readonly size: number
  /** The payload ends at the end of the stream. */
  readonly fin: boolean
  /** Codepoint in the IP header. */
  readonly ecn: 'ect0' | 'not-ect'
  /** A copy of an earlier packet. */
  readonly retransmission: boolean
}

/**
 * What became of one transmission: a burst of packets that left, could not, or will not. That it was sent does not say that
 * it arrived: `flush()` and `close()` do.
 */
export class Completion {
  /** `stream.id` of the stream it belongs to. */
  readonly streamId: number
  readonly #record: Float64Array
  #packets: readonly CompletionPacket[] | undefined

  /** @internal */
  constructor(record: Float64Array, streamId: number) {
    this.#record = record
    this.streamId = streamId
  }

  /** `'sent'`: handed to the network; `'failed'`: refused by it; `'cancelled'`: taken back unsent. */
  get outcome(): 'sent' | 'failed' | 'cancelled' {
    return OUTCOMES[this.#record[0] ?? 0] ?? 'failed'
  }

  /** Planned departure, in ms on the line of `performance.now()`. */
  get scheduledAt(): number {
    return this.#record[1] ?? NaN
  }

  /** When it was handed to the network, in ms on the line of `performance.now()`; `undefined` if cancelled. */
  get sentAt(): number | undefined {
    const at = this.#record[2] ?? NaN
    return Number.isNaN(at) ? undefined : at
  }

  /** Why it failed, as in Node's system errors (negative). */
  get errno(): number | undefined {
    const errno = this.#record[3] ?? 0
    return errno === 0 ? undefined : nodeErrno(errno)
  }

  /** Name of `errno`. Example: `'EPERM'`. */
  get code(): string | undefined {
    return this.errno === undefined ? undefined : errnoName(this.errno)
  }

  /** How many packets; cheaper than `packets.length`. */
  get packetCount(): number {
    return (this.#record.length - PACKETS_AT) / PACKET_ELEMENTS
  }

  /** Stream bytes in all packets; cheaper than adding up `packets`. */
  get bytes(): number {
    let bytes = 0
    for (let at = PACKETS_AT; at < this.#record.length; at += PACKET_ELEMENTS) bytes += this.#record[at + 2] ?? 0
    return bytes
  }

  /** The packets in the order they left. Built on first use: 46 objects a burst would cost more than the transfer. */
  get packets(): readonly CompletionPacket[] {
    if (this.#packets !== undefined) return this.#packets
    const packets: CompletionPacket[] = []
    for (let at = PACKETS_AT; at < this.#record.length; at += PACKET_ELEMENTS) {
      const flags = this.#record[at + 3] ?? 0
      packets.push({
        number: this.#record[at] ?? 0,
        space: (flags & Flag.Recovery) === 0 ? 'stream' : 'recovery',
        offset: this.#record[at + 1] ?? 0,
        length: this.#record[at + 2] ?? 0,
        size: flags >>> SIZE_SHIFT,
        fin: (flags & Flag.Fin) !== 0,
        ecn: (flags & Flag.Ect0) === 0 ? 'not-ect' : 'ect0',
        retransmission: (flags & Flag.Retransmission) !== 0,
      })
    }
    this.#packets = packets
    return packets
  }

  toJSON(): object {
    const { streamId, outcome, scheduledAt, sentAt, errno, code, packets } = this
    return { streamId, outcome, scheduledAt, sentAt, errno, code, packets }
  }

  /** @internal */
  [Symbol.for('nodejs.util.inspect.custom')](): object {
    return this.toJSON()
  }
}

/** Counts the records that wait in all iterators of an endpoint, beyond the {@link OWN_RECORDS} of each. */
export interface RecordBudget {
  waiting: number
}

/** What an iterator has of the budget. */
interface Loan {
  readonly budget: RecordBudget
  records: number
}

/** Gives back what an iterator had that the program has dropped. */
const dropped = new FinalizationRegistry<Loan>((loan) => {
  loan.budget.waiting -= loan.records
})

/**
 * The completions of a stream, from the call of `stream.completions()` on, until after the last one of a closed stream; or of all
 * streams of an endpoint, from the call of `endpoint.completions()` on, until the endpoint is closed.
 *
 * Every transmission of the stream is in exactly one entry, or counted once in {@link skipped}, or completed before the
 * recording and counted once in {@link unrecorded}. For an endpoint this holds for the streams that were not closed when it began.
 */
export class Completions implements AsyncIterableIterator<Completion> {
  readonly #loan: Loan
  readonly #left: (completions: Completions) => void
  readonly #signal: AbortSignal | undefined
  /** Transmissions whose record had come when this iterator began. */
  readonly #before: number
  readonly #queue = new Fifo<Completion>()
  #waiters: Waiter<IteratorResult<Completion, undefined>>[] = []
  #over = false
  #skipped = 0
  #unrecorded: number | undefined

  /** @internal */
  constructor(budget: RecordBudget, before: number, left: (completions: Completions) => void, signal?: AbortSignal) {
    this.#signal = signal
    this.#loan = { budget, records: 0 }
    this.#before = before
    this.#left = left
    dropped.register(this, this.#loan)
  }

  /** Transmissions without an entry because nobody took the entries fast enough, so far. */
  get skipped(): number {
    return this.#skipped
  }

  /** Transmissions that completed before the recording began; known once the stream (the endpoint) is closed. */
  get unrecorded(): number | undefined {
    return this.#unrecorded
  }

  next(): Promise<IteratorResult<Completion, undefined>> {
    const signal = this.#signal
    if (signal?.aborted === true && !(this.#over && this.#queue.length === 0)) {
      // A loop that an error ends does not call return().
      void this.return()
      return Promise.reject(new AbortError(signal.reason))
    }
    const value = this.#queue.shift()
    if (value !== undefined) {
      this.#giveBack(1)
      return Promise.resolve({ done: false, value })
    }
    if (this.#over) return Promise.resolve({ done: true, value: undefined })
    return wait(
      signal,
      (waiter) => {
        this.#waiters.push(waiter)
      },
      () => void this.return(),
    )
  }

  return(): Promise<IteratorResult<Completion, undefined>> {
    this.#skipped += this.#queue.length
    this.#queue.clear()
    this.#giveBack(Infinity)
    this.end(undefined)
    return Promise.resolve({ done: true, value: undefined })
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  /** @internal */
  push(record: Float64Array, streamId: number): void {
    const waiter = this.#waiters.shift()
    if (waiter !== undefined) {
      waiter.resolve({ done: false, value: new Completion(record, streamId) })
    } else if (this.#queue.length < OWN_RECORDS || this.#borrow()) {
      this.#queue.push(new Completion(record, streamId))
    } else {
      this.#skipped += 1
    }
  }

  /** @internal */
  skip(count: number): void {
    this.#skipped += count
  }

  /** @internal */
  end(unrecorded: number | undefined): void {
    if (this.#over) return
    this.#over = true
    if (unrecorded !== undefined) this.#unrecorded = unrecorded + this.#before
    const waiters = this.#waiters
    this.#waiters = []
    for (const waiter of waiters) waiter.resolve({ done: true, value: undefined })
    this.#left(this)
  }

  #borrow(): boolean {
    const { budget } = this.#loan
    if (budget.waiting >= MAX_WAITING_RECORDS) return false
    budget.waiting += 1
    this.#loan.records += 1
    return true
  }

  #giveBack(most: number): void {
    const records = Math.min(most, this.#loan.records)
    this.#loan.records -= records
    this.#loan.budget.waiting -= records
  }
}

/**
 * What a stream does with its records: hands them to whoever iterates, and knows when the last one has come.
 */
export class Recorder {
  readonly #budget: RecordBudget
  readonly #id: number
  readonly #sinks = new Set<Completions>()
  #recording = false
  #came = 0
  #expected = Infinity
  #unrecorded = 0
  readonly #onLeft: () => void

  /** `onLeft` is called when nobody takes completions any more. */
  constructor(budget: RecordBudget, id: number, onLeft: () => void) {
    this.#budget = budget
    this.#id = id
    this.#onLeft = onLeft
  }

  /** Records that came, for whomever. */
  get came(): number {
    return this.#came
  }

  /** Somebody takes completions, or did. */
  get recording(): boolean {
    return this.#recording
  }

  /** No record will come any more. */
  get over(): boolean {
    return this.#came >= this.#expected
  }

  open(start: () => void, signal?: AbortSignal): Completions {
    // A closed stream that nobody recorded here counts all of its transmissions as unrecorded, whoever got their records.
    const before = this.over && !this.#recording ? 0 : this.#came
    const completions = new Completions(
      this.#budget,
      before,
      (left) => {
        this.#sinks.delete(left)
        if (this.#sinks.size === 0) this.#onLeft()
      },
      signal,
    )
    if (this.over) {
      completions.end(this.#unrecorded)
      return completions
    }
    this.#sinks.add(completions)
    if (!this.#recording) {
      this.#recording = true
      start()
    }
    return completions
  }

  completion(record: Float64Array): void {
    this.#came += 1
    if (this.#sinks.size > 0) {
      const copy = record.slice()
      for (const sink of this.#sinks) sink.push(copy, this.#id)
    }
    this.#settle()
  }

  skipped(count: number): void {
    this.#came += count
    for (const sink of this.#sinks) sink.skip(count)
    this.#settle()
  }

  /** The stream is closed: so many records have come, or will. */
  closed(transmissions: number, unrecorded: number): void {
    this.#expected = this.#recording ? transmissions - unrecorded : 0
    this.#unrecorded = this.#recording ? unrecorded : transmissions
    this.#settle()
  }

  /** The driver is gone: nothing will come. */
  abandon(): void {
    this.#expected = 0
    this.#settle()
  }

  #settle(): void {
    if (!this.over) return
    for (const sink of this.#sinks) sink.end(this.#unrecorded)
  }
}

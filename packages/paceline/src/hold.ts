import type { CommandQueue } from './commands.js'
import { debug } from './diagnostics.js'
import { DEFAULT_RESET_CODE } from './errors.js'
import type { SendHalf } from './sending.js'
import type { Stream } from './stream.js'

/** Why a stream stays although the program may hold nothing of it. */
export const Reason = {
  /** It has listeners: 'data', pipe(), finished(), … */
  Listening: 1,
  /** Bytes or the end wait to be handed to the driver. */
  Sending: 2,
  /** Somebody waits for acknowledgements, or its end is not acknowledged. */
  Acknowledging: 4,
  /** An iterator waits for a chunk. */
  Reading: 8,
  /** Its completions were asked for. */
  Recording: 16,
} as const

/** Resets what the program has forgotten without an end. */
const forgotten = new FinalizationRegistry<Hold>((hold) => {
  hold.forgotten()
})

/** Nobody asks, but the answer keeps the stream until it comes. */
const NOBODY = { resolve(): void {}, reject(): void {} }

/**
 * How an endpoint holds a stream: for good while there is a {@link Reason}, else weakly, so that a stream that nobody can
 * observe any more is collected, and then reset.
 *
 * The first second it holds it for good: to be collectable costs 3 µs, and most streams do not live that long.
 */
export class Hold {
  readonly id: number
  /** Called once the endpoint is done with the stream. Must not hold the stream. */
  released: (() => void) | undefined
  #strong: Stream | undefined
  #weak: WeakRef<Stream> | undefined
  #reasons = 0
  readonly #commands: CommandQueue
  #send: SendHalf | undefined

  constructor(id: number, commands: CommandQueue) {
    this.id = id
    this.#commands = commands
  }

  /** The stream, unless it was collected. */
  get stream(): Stream | undefined {
    return this.#strong ?? this.#weak?.deref()
  }

  /** The stream and its sending half, which does not lead back to it. */
  begin(stream: Stream, send: SendHalf): void {
    this.#strong = stream
    this.#send = send
  }

  set(reason: number): void {
    this.#reasons |= reason
    this.#strong ??= this.#weak?.deref()
  }

  clear(reason: number): void {
    this.#reasons &= ~reason
    if (this.#reasons === 0 && this.#weak !== undefined) this.#strong = undefined
  }

  /** From now on for a reason only. */
  weaken(): void {
    const stream = this.#strong
    if (stream === undefined || this.#weak !== undefined) return
    this.#weak = new WeakRef(stream)
    forgotten.register(stream, this, this)
    this.finished()
    this.clear(0)
  }

  /** The end was handed over: what is ended gets there, also if it is forgotten. */
  finished(): void {
    if (this.#weak !== undefined && this.#send?.finished === true) this.#send.awaitAcknowledged(Infinity, NOBODY)
  }

  /** Nothing more will come for the stream. */
  get over(): boolean {
    return this.#send?.over === true && this.stream?._forgettable !== false
  }

  /** The endpoint is done with the stream. */
  release(): void {
    if (this.#weak !== undefined) forgotten.unregister(this)
    this.#strong = this.#weak = undefined
    this.released?.()
    this.released = undefined
  }

  /** The driver is done with a stream that was collected: its bytes leave the budget. */
  closed(acknowledged: number): void {
    this.#send?.close(acknowledged)
    this.release()
  }

  /** The stream was collected. */
  forgotten(): void {
    if (this.#send === undefined || this.#send.over) return
    debug('stream %d was forgotten', this.id)
    // Everything written has arrived, and nobody is left to read: as close() does it.
    if (this.#send.finAcknowledged) this.#commands.stopReading(this.id)
    else this.#commands.reset(this.id, DEFAULT_RESET_CODE)
  }
}

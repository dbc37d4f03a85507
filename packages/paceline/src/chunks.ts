import type { Duplex } from 'node:stream'
import { wait, type Waiter } from './abort.js'
import { StreamError } from './errors.js'
import { DONE, type ReceiveHalf } from './receiving.js'

type Result = IteratorResult<Buffer, undefined>

/**
 * The iterator over received chunks.
 *
 * The stock one costs twenty times as much and destroys the sending half with the stream. This one takes chunks where they
 * arrive; once something has called read(), as 'data', 'readable' and pipe() do, it takes them from there.
 */
export class Chunks implements AsyncIterableIterator<Buffer> {
  readonly #stream: Duplex
  readonly #receive: ReceiveHalf
  readonly #signal: AbortSignal | undefined
  #left = false
  /** Ends the waits of the stock lane. */
  readonly #waits = new Set<() => void>()

  /** @internal */
  constructor(stream: Duplex, receive: ReceiveHalf, signal: AbortSignal | undefined) {
    this.#stream = stream
    this.#receive = receive
    this.#signal = signal
  }

  next(): Promise<Result> {
    if (this.#left) return Promise.resolve(DONE)
    if (this.#receive.stock || this.#stream.readableLength > 0 || this.#stream.readableEncoding !== null) return this.#stockNext()
    return wait<Result>(
      this.#signal,
      (waiter) => {
        this.#receive.next(this, waiter)
      },
      (waiter) => {
        this.#receive.abandon(waiter)
      },
    )
  }

  /** Leaving the loop leaves the stream as it is; another loop goes on from there. What still waits here gets the end. */
  return(): Promise<Result> {
    this.#left = true
    this.#receive.leave(this)
    for (const end of this.#waits) end()
    return Promise.resolve(DONE)
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return()
  }

  #stockNext(): Promise<Result> {
    const stream = this.#stream
    let listener: (() => void) | undefined
    let end: (() => void) | undefined
    const unlisten = (): void => {
      if (end !== undefined) this.#waits.delete(end)
      if (listener === undefined) return
      for (const event of ['readable', 'end', 'close']) stream.off(event, listener)
    }
    const attempt = (waiter: Waiter<Result>): void => {
      const chunk: unknown = stream.destroyed ? null : stream.read()
      if (chunk === null && !stream.readableEnded && !stream.destroyed) {
        if (listener !== undefined) return
        listener = () => {
          attempt(waiter)
        }
        for (const event of ['readable', 'end', 'close']) stream.on(event, listener)
        end = () => {
          unlisten()
          waiter.resolve(DONE)
        }
        this.#waits.add(end)
        return
      }
      unlisten()
      if (chunk !== null) waiter.resolve({ done: false, value: chunk as Buffer })
      else if (stream.readableEnded) waiter.resolve(DONE)
      else waiter.reject(stream.errored ?? new StreamError('ERR_PACELINE_STREAM_CLOSED'))
    }
    return wait(this.#signal, attempt, unlisten)
  }
}

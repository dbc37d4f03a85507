import { RESOLVED, wait } from './abort.js'
import { AbortError, PacelineError, resetCodeOf, StreamError } from './errors.js'
import { waitSignal, wrongOption, type WaitOptions } from './options.js'
import type { SendHalf } from './sending.js'
import type { Stream } from './stream.js'

/** What can be written: bytes, or text that is encoded as UTF-8. */
export type Writable = Uint8Array | string

/**
 * The waiting way to write, after the one of `node:quic`: `stream.writer`.
 *
 * Writes keep their order among each other and with `stream.write()`. The bytes of a chunk are copied when it is handed
 * over, which is when its promise resolves; do not change them before.
 */
export class Writer {
  readonly #stream: Stream
  readonly #send: SendHalf

  /** @internal */
  constructor(stream: Stream, send: SendHalf) {
    this.#stream = stream
    this.#send = send
  }

  /**
   * Bytes that can be written now without waiting, as far as known: asking also asks the worker, whose answer comes with a
   * later turn of the event loop. 0 after `end()`; `null` once the stream has failed.
   */
  get desiredSize(): number | null {
    if (this.#send.failure !== undefined) return null
    if (this.#stream.writableEnded) return 0
    return this.#send.pendingBytes > 0 ? 0 : Math.max(0, this.#send.askRoom() - this.#stream.writableLength)
  }

  /**
   * Resolves when the chunk is in the send buffer; waits while that is full. Not yet acknowledged: see `stream.flush()`.
   *
   * An abort during the wait takes the chunk back if none of it was handed over (chunks up to a quarter of the send
   * buffer are handed over whole) and no `stream.write()` waits before it; otherwise the stream would have a hole, so it is reset with the
   * reason's `errorCode`.
   *
   * @throws {StreamError} why the stream ended; `ERR_PACELINE_WRITE_AFTER_END`
   * @throws {AbortError} the signal was aborted
   */
  write(chunk: Writable, options?: WaitOptions): Promise<void> {
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk
    if (!(bytes instanceof Uint8Array)) return Promise.reject(wrongOption('chunk', 'a Uint8Array or a string', chunk))
    let signal: AbortSignal | undefined
    if (options !== undefined) {
      try {
        signal = waitSignal(options)
      } catch (error) {
        return Promise.reject(error as Error)
      }
    }
    if (signal?.aborted !== true && !this.#stream.writableEnded && this.#stream.writableLength === 0 && this.#send.tryWrite(bytes)) {
      return RESOLVED
    }
    return this.#write([bytes], options)
  }

  /** As `write` for several chunks, in one piece. */
  writev(chunks: Iterable<Writable>, options?: WaitOptions): Promise<void> {
    const list: Uint8Array[] = []
    // A string is iterable, too, and a mistake.
    if (typeof chunks !== 'object' || chunks === null || !(Symbol.iterator in chunks) || chunks instanceof Uint8Array) {
      return Promise.reject(wrongOption('chunks', 'an iterable of Uint8Arrays or strings', chunks))
    }
    try {
      for (const chunk of chunks) {
        const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk
        if (!(bytes instanceof Uint8Array)) throw wrongOption('chunks', 'Uint8Arrays or strings', chunk)
        list.push(bytes)
      }
    } catch (error) {
      return Promise.reject(error as Error)
    }
    return this.#write(list, options)
  }

  /** Ends the sending half. Resolves with the bytes of the stream when the FIN is handed over; not yet acknowledged: see `stream.close()`. */
  end(options?: WaitOptions): Promise<number> {
    return this.#guarded(options, (signal) => {
      if (this.#stream.writableFinished) return Promise.resolve(this.#send.written)
      return wait<number>(
        signal,
        (waiter) => {
          this.#stream.end((error?: Error | null) => {
            if (error == null) waiter.resolve(this.#send.written)
            else waiter.reject(this.#send.failure ?? error)
          })
        },
        // An end cannot be taken back.
        (_waiter, error) => this.#stream._abort(error),
      )
    })
  }

  /** Resets the stream, with the reason's integer `errorCode`, else 256. */
  fail(reason?: unknown): void {
    const error = reason instanceof Error ? reason : new StreamError('ERR_PACELINE_STREAM_ABORTED', undefined, { cause: reason, errorCode: resetCodeOf(reason) })
    this.#stream._abort(error)
  }

  /** `await using`: ends, waits at most 30 s for acknowledgement. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stream[Symbol.asyncDispose]()
  }

  #write(chunks: Uint8Array[], options: WaitOptions | undefined): Promise<void> {
    return this.#guarded(options, (signal) => {
      if (signal?.aborted === true) return Promise.reject(new AbortError(signal.reason))
      const { failure } = this.#send
      if (failure !== undefined) return Promise.reject(failure)
      if (this.#stream.writableEnded) return Promise.reject(new StreamError('ERR_PACELINE_WRITE_AFTER_END'))
      return this.#stream.writableLength > 0 ? this.#writeBehind(chunks, signal) : this.#writeNow(chunks, signal)
    })
  }

  /** Option errors as rejections, like every other error of a promise. */
  #guarded<T>(options: WaitOptions | undefined, run: (signal: AbortSignal | undefined) => Promise<T>): Promise<T> {
    try {
      return run(waitSignal(options))
    } catch (error) {
      return Promise.reject(error instanceof PacelineError ? error : new PacelineError('ERR_PACELINE_OPTION', undefined, { cause: error }))
    }
  }

  #writeNow(chunks: Uint8Array[], signal: AbortSignal | undefined): Promise<void> {
    let handedOver = false
    let failure: Error | null = null
    let waiting: { resolve(): void; reject(error: Error): void } | undefined
    const pending = this.#send.enqueue(chunks, (error) => {
      handedOver = error === null
      failure = error
      if (error === null) waiting?.resolve()
      else waiting?.reject(error)
    })
    if (handedOver) return RESOLVED
    if (failure !== null) return Promise.reject(failure as Error)
    return wait<void>(
      signal,
      (waiter) => {
        waiting = waiter
      },
      (_waiter, error) => {
        if (!this.#send.withdraw(pending)) this.#stream._abort(error)
      },
    )
  }

  /** Stock writes wait in the Writable's own buffer: behind those, to keep the order. */
  #writeBehind(chunks: Uint8Array[], signal: AbortSignal | undefined): Promise<void> {
    return wait<void>(
      signal,
      (waiter) => {
        this.#stream.write(Buffer.concat(chunks), (error) => {
          if (error == null) waiter.resolve()
          else waiter.reject(this.#send.failure ?? error)
        })
      },
      (_waiter, error) => this.#stream._abort(error),
    )
  }
}

import { Duplex, type Writable as NodeWritable } from 'node:stream'
import { wait } from './abort.js'
import { Chunks } from './chunks.js'
import { acknowledgedBy, DISPOSE_DEADLINE, Over, type CloseResult } from './closing.js'
import { Recorder, type Completions } from './completions.js'
import type { Core } from './core.js'
import { channels, debug, isMeasuring, measure } from './diagnostics.js'
import { FailureNumber } from './driver.js'
import { AbortError, DEFAULT_RESET_CODE, failureError, resetCodeOf, StreamError } from './errors.js'
import { Reason, type Hold } from './hold.js'
import { booleanOption, closeSettings, DEFAULT_PRIORITY, integerOption, numberOption, objectOption, priorityOption, requiredOption, waitSignal, wrongOption, type CloseOptions, type DuplexSettings, type WaitOptions } from './options.js'
import type { Peer } from './peer.js'
import { QLOG_NAMES, writeQlog, type QlogOptions, type QlogResult } from './qlog.js'
import { ReceiveHalf } from './receiving.js'
import { SendHalf } from './sending.js'
import { Book, type StatsOptions, type StreamCounts, type StreamStats } from './stats.js'
import { webStreams, type WebStreams } from './web.js'
import { Writer } from './writer.js'

/** Longest wait for the final count of acknowledged bytes after a stream has failed, in ms. It comes with the failure, or never. */
const FINAL_COUNT_WAIT = 100
const NOTHING = Buffer.alloc(0)
const NOTHING_SENT: Readonly<Pick<StreamCounts, 'transmissions' | 'packets' | 'packetsRetransmitted' | 'bytesRetransmitted' | 'packetsLost'>> = {
  transmissions: 0,
  packets: 0,
  packetsRetransmitted: 0,
  bytesRetransmitted: 0,
  packetsLost: 0,
}

/**
 * A reliable byte stream each way; a `node:stream` Duplex.
 *
 * 'finish' says that the FIN was handed over; 'close' after a complete stream says that everything was acknowledged.
 * `for await` reads without ending the sending half. Received chunks are views into shared 256 KiB slabs: copy what you
 * keep for long.
 *
 * Errors from outside (reset, timeout) reject what waits and are emitted as 'error' if somebody listens; without a
 * listener they do not end the process, so no peer can.
 */
export class Stream extends Duplex {
  /** As the endpoint names it; odd if opened here. */
  readonly id: number
  /** Who it leads to. */
  readonly peer: Peer
  readonly #core: Core
  readonly #hold: Hold
  readonly #send: SendHalf
  readonly #receive: ReceiveHalf
  readonly #recorder: Recorder
  readonly #began: number
  /** Made when somebody asks. */
  #book: Book<StreamCounts, StreamStats> | undefined
  #sent = NOTHING_SENT
  #priority: number
  #writer: Writer | undefined
  /** Why the stream ended early. Errors that stand here or in the sending half came from outside or from our own methods. */
  #failure: Error | undefined
  readonly #failureWatchers: ((error: Error) => void)[] = []
  #resetCode: number | undefined
  /** Nothing more can be asked of the driver for it: it failed, or a reset was sent. */
  #failed = false
  readonly #over = new Over()
  /** A reset with code 0 that is an error only if bytes are missing, which `Closed` tells. */
  #undecided: Error | undefined
  /** Bytes accepted from the application, fixed when it failed. */
  #accepted: number | undefined
  /** Bytes of the stock write that waits in the sending half. */
  #stockPending = 0

  /** @internal */
  constructor(core: Core, hold: Hold, peer: Peer, duplex: DuplexSettings, priority: number = DEFAULT_PRIORITY) {
    super(duplex)
    const { id } = hold
    this.id = id
    this.peer = peer
    this.#core = core
    this.#hold = hold
    this.#began = core.driver.now()
    this.#priority = priority
    this.#send = new SendHalf(id, core, hold)
    this.#receive = new ReceiveHalf(id, core, this, hold)
    hold.begin(this, this.#send)
    this.#recorder = new Recorder(core.records, id, () => {
      hold.clear(Reason.Recording)
    })
  }

  /** Writes that wait, with `AbortSignal`. */
  get writer(): Writer {
    this.#writer ??= new Writer(this, this.#send)
    return this.#writer
  }

  /**
   * Counters since the stream was opened, or since an earlier `stats()`.
   *
   * @example
   * const { bytesAcknowledged, packetsRetransmitted } = stream.stats()
   *
   * @throws {OptionError} `ERR_PACELINE_OPTION`: `since` is not from here
   */
  stats(options: StatsOptions<StreamStats> = {}): StreamStats {
    const at = this.#core.driver.now()
    this.#book ??= new Book('stream', this.#began)
    const since = this.#book.since(options)
    const bytesWritten = this.#acceptedBytes()
    const counts: StreamCounts = {
      bytesWritten,
      bytesWaiting: Math.max(0, bytesWritten - this.#send.written),
      bytesBuffered: this.#send.unsealed,
      bytesAcknowledged: this.#send.acknowledged,
      bytesReceived: this.#receive.received,
      bytesRead: this.#receive.consumed,
      ...this.#sent,
      priority: this.#priority,
    }
    return this.#book.show(counts, at, since)
  }

  /**
   * What becomes of every transmission from now on: left, could not, will not. Recording costs, so it begins here.
   *
   * @example
   * for await (const { outcome, scheduledAt, packetCount } of stream.completions()) console.log(outcome, scheduledAt, packetCount)
   *
   * @throws {AbortError} from the loop, when the signal is aborted; that ends the loop as leaving it does
   */
  completions(options: WaitOptions = {}): Completions {
    const signal = waitSignal(options)
    this.#hold.set(Reason.Recording)
    return this.#recorder.open(() => {
      this.#core.commands.record(this.id)
    }, signal)
  }

  /**
   * Logs this stream's transmissions and its path's measurements from now on, as qlog (JSON-SEQ, `qlog_version` 0.3) that qvis reads, until
   * the stream is over. Never holds the transfer back: what the writable does not take at once is left out, counted, and told in the log.
   *
   * @example
   * const logged = stream.qlog(createWriteStream('stream.sqlog'))
   * await stream.close()
   * const { dropped } = await logged
   *
   * @returns what became of the log, also when the writable fails
   * @throws {OptionError} `ERR_PACELINE_OPTION`
   */
  async qlog(writable: NodeWritable, options: QlogOptions = {}): Promise<QlogResult> {
    const given = objectOption('options', options, QLOG_NAMES)
    if (typeof writable !== 'object' || writable === null || typeof writable.write !== 'function') throw wrongOption('writable', 'a Writable of node:stream', writable)
    const interval = numberOption('options.interval', given.interval, 50, 1, 60_000, ' ms')
    const end = booleanOption('options.end', given.end, true)
    const { title = `paceline stream ${this.id}` } = given
    if (typeof title !== 'string') throw wrongOption('options.title', 'a string', title)
    const source = {
      id: this.id,
      vantage: this.id % 2 === 1 ? ('client' as const) : ('server' as const),
      completions: this.completions(),
      now: () => this.#core.driver.now(),
      path: () => this.peer.stats(),
    }
    return writeQlog(source, writable, { title, interval, end })
  }

  /**
   * Resolves when every byte written so far is acknowledged; what is corked leaves with `uncork()`, not before.
   *
   * @throws {StreamError} why the stream ended before
   * @throws {AbortError} the signal was aborted; only the waiting ends
   */
  async flush(options: WaitOptions = {}): Promise<void> {
    const signal = waitSignal(options)
    return wait<void>(
      signal,
      (waiter) => {
        const handedOver = (error?: Error | null): void => {
          if (error == null) this.#send.awaitAcknowledged(this.#send.written, waiter)
          else if (this.#acceptedBytes() <= this.#send.acknowledged) waiter.resolve()
          else waiter.reject(this.#send.failure ?? error)
        }
        if (this.writableLength > 0 && this.#send.failure === undefined) {
          // An empty chunk behind those that wait in the Writable's buffer; after end(), the end itself.
          if (this.writableEnded) this.end(handedOver)
          else this.write(NOTHING, handedOver)
        } else {
          this.#send.enqueue([NOTHING], handedOver)
        }
      },
      (waiter) => {
        this.#send.abandonAcknowledged(waiter)
      },
    )
  }

  /**
   * Ends the stream and waits until everything, with the FIN, is acknowledged; then stops reading, too. At the deadline
   * (default: none, but `idleTimeout` ends a dead peer's stream) the rest is reset. Never silent about a loss: resolves
   * with how many bytes got there, also when the stream has failed.
   *
   * @throws {AbortError} the signal was aborted; the stream is reset with the reason's `errorCode`
   */
  async close(options: CloseOptions = {}): Promise<CloseResult> {
    const { signal, deadline } = closeSettings(options, Infinity)
    if (signal?.aborted === true) {
      const error = new AbortError(signal.reason)
      this._abort(error)
      throw error
    }
    if (!this.writableEnded && !this.destroyed) this.end()
    const acknowledged = await acknowledgedBy(this.#send, deadline, this.#core.clock, signal, (error) => {
      this._abort(error)
    })
    if (acknowledged) {
      if (!this.#receive.ended) this.stopReading()
      else this.#receive.finish()
    } else {
      this.#abandon(DEFAULT_RESET_CODE)
      await this.#over.within(FINAL_COUNT_WAIT, this.#core.clock)
    }
    return this._result
  }

  /** Ends both halves at once with an application code, 256 to 2^53-1. What was not acknowledged may be lost. */
  reset(code: number = DEFAULT_RESET_CODE): void {
    this.#abandon(integerOption('code', code, DEFAULT_RESET_CODE, DEFAULT_RESET_CODE, Number.MAX_SAFE_INTEGER))
  }

  /** Drops what has arrived and what will; the sending half goes on. Who reads gets an error. */
  stopReading(): void {
    if (this.#receive.stopped || this.#receive.complete) return
    if (!this.#failed && !this.#receive.ended) this.#core.commands.stopReading(this.id)
    this.#receive.stop()
  }

  /** 1 (leaves first) to 7; a change applies when nothing of the stream is scheduled. Example: `stream.priority = 1`. */
  get priority(): number {
    return this.#priority
  }

  set priority(priority: number) {
    this.setPriority(priority)
  }

  /** As setting {@link Stream.priority}. */
  setPriority(priority: number): void {
    const checked = priorityOption('priority', requiredOption('priority', 'an integer from 1 to 7', priority))
    if (checked === this.#priority) return
    this.#priority = checked
    if (!this.#failed) this.#core.commands.setPriority(this.id, checked)
  }

  /**
   * Both halves as Web Streams; several times slower than the Duplex itself. Each half ends by itself, unlike with
   * `Duplex.toWeb()`. `cancel()` stops reading; `abort(reason)` resets with the reason's integer `errorCode`, else 256.
   *
   * @throws {OptionError} `ERR_PACELINE_OPTION` after `setEncoding()`: a `ReadableStream` of bytes carries no text
   */
  toWeb(): WebStreams {
    return webStreams(this)
  }

  /**
   * The chunks as they arrive: Buffers, or, which the type does not say, strings after `setEncoding()`. Leaving the loop does not
   * end the stream, but what still waits with it; its end does not end the sending half.
   *
   * @throws {AbortError} from the loop, when the signal is aborted; only the waiting ends
   */
  chunks(options: WaitOptions = {}): Chunks {
    return new Chunks(this, this.#receive, waitSignal(options))
  }

  override [Symbol.asyncIterator](): Chunks {
    return this.chunks()
  }

  /** `await using`: as `close()` with a deadline of 30 s. */
  override async [Symbol.asyncDispose](): Promise<void> {
    if (this.#failed) return
    await this.close({ deadline: DISPOSE_DEADLINE })
  }

  /** @internal */
  override _read(): void {
    this.#receive.read()
  }

  /** @internal */
  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    if (this.#send.tryWrite(chunk)) callback()
    else this.#writeLater([chunk], callback)
  }

  /** @internal */
  override _writev(chunks: { chunk: Buffer }[], callback: (error?: Error | null) => void): void {
    this.#writeLater(
      chunks.map(({ chunk }) => chunk),
      callback,
    )
  }

  /** @internal */
  override _final(callback: (error?: Error | null) => void): void {
    this.#send.finish(callback)
  }

  /** @internal */
  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    if (error === null && this.writableFinished && this.#receive.settled && this.#failure === undefined) {
      // Complete from the application's view. 'close' waits for the acknowledgements.
      this.#over.when(() => {
        const ownDoing = this.#resetCode !== undefined
        if (this.#failure === undefined || ownDoing) callback(null)
        else this.#emitHarmlessly(this.#failure, callback)
      })
      return
    }
    const known = error !== null && (error === this.#failure || error === this.#send.failure)
    this.#endBoth(this.#failure ?? error ?? new StreamError('ERR_PACELINE_STREAM_CLOSED'), error)
    if (known) this.#emitHarmlessly(error, callback)
    else callback(error)
  }

  /** Ends the stream because of something here that is not the user's destroy(): abort, fail. @internal */
  _abort(error: Error): void {
    this.#resetCode ??= resetCodeOf(error)
    if (this.destroyed) this.#endBoth(error, error)
    else this.#fail(error)
  }

  /** @internal */
  _whenFailed(run: (error: Error) => void): void {
    if (this.#failure === undefined) this.#failureWatchers.push(run)
    else run(this.#failure)
  }

  /** @internal */
  get _complete(): boolean {
    return this.#receive.ended
  }

  /** Runs when nothing more will come for it, also if it was forgotten. @internal */
  _whenReleased(run: () => void): void {
    this.#hold.released = run
  }

  /** Whether somebody listens may have changed. @internal */
  _listening(): void {
    if (this.eventNames().length > 0) this.#hold.set(Reason.Listening)
    else this.#hold.clear(Reason.Listening)
  }

  /** @internal */
  _data(chunk: Buffer): void {
    this.#receive.data(chunk)
  }

  /** @internal */
  _end(): void {
    this.#receive.end()
  }

  /** @internal */
  _progress(sealed: number, acknowledged: number, finAcknowledged: boolean): void {
    this.#send.progress(sealed, acknowledged, finAcknowledged)
  }

  /** @internal */
  _counted(transmissions: number, packets: number, packetsRetransmitted: number, bytesRetransmitted: number, packetsLost: number): void {
    this.#sent = { transmissions, packets, packetsRetransmitted, bytesRetransmitted, packetsLost }
  }

  /** @internal */
  _failed(failure: number, detail: number): void {
    this.#failed = true
    if (failure === FailureNumber.PeerReset && channels.streamReset.hasSubscribers) channels.streamReset.publish({ stream: this, code: detail, remote: true })
    if (this.#failure !== undefined) return
    // Our own stopReading() after everything has arrived there, as close() does it, is how a stream ends, and no failure of it.
    if (failure === FailureNumber.LocalReset && detail === 0 && this.#receive.stopped) return
    const error = failureError(failure, detail, this.peer.remoteAddress)
    if (failure === FailureNumber.PeerReset && detail === 0 && this.#receive.ended) this.#peerLeft(error)
    else this.#fail(error)
  }

  /** @internal */
  _closed(transmissions: number, unrecorded: number, acknowledged: number): void {
    this.#failed = true
    this.#over.begin()
    this.#recorder.closed(transmissions, unrecorded)
    const healthy = this.#failure === undefined && this.#send.failure === undefined
    if (this.#undecided !== undefined || (healthy && this.#receive.ended && !this.#send.finished)) {
      this.#send.progress(this.#send.sealed, acknowledged, false)
      this.#peerLeft(this.#undecided ?? new StreamError('ERR_PACELINE_STREAM_CLOSED'), true)
    }
    this.#accepted ??= this.#acceptedBytes()
    this.#send.close(acknowledged)
    if (healthy && !this.#receive.ended && !this.#receive.stopped) this.#fail(new StreamError('ERR_PACELINE_STREAM_CLOSED'))
    // Nobody may read a half that carried nothing: end it, so that 'close' comes. Only if the application has opened the
    // stream or ended its half; otherwise it may not have seen the stream yet, and would miss 'end'.
    if ((this.writableEnded || this.id % 2 === 1) && !this.#receive.stock) this.#receive.finish()
    // Somebody reads through the stock machinery, where only an error can say that it is not all.
    if (this.#receive.stopped && !this.#receive.settled) this.#fail(new StreamError('ERR_PACELINE_STREAM_CLOSED'))
    debug('stream %d closed', this.id)
    if (channels.streamClosed.hasSubscribers) channels.streamClosed.publish({ stream: this, ...this._result })
    if (isMeasuring()) measure('paceline:stream', this.#began, this.#core.driver.now(), { id: this.id, ...this._result })
    this.#over.settle()
  }

  /** The endpoint is gone. @internal */
  _lost(error: Error): void {
    if (this.#over.is) return
    this.#failed = true
    this.#over.begin()
    this.#recorder.abandon()
    this.#accepted ??= this.#acceptedBytes()
    if (this.#failure === undefined && !this.#send.finAcknowledged) this.#fail(error)
    else if (!this.#receive.complete && !this.#receive.ended) this.#fail(error)
    this.#send.close(this.#send.acknowledged)
    this.#over.settle()
  }

  /** @internal */
  _completion(record: Float64Array): void {
    this.#recorder.completion(record)
  }

  /** @internal */
  _skipped(count: number): void {
    this.#recorder.skipped(count)
  }

  /** Records that came. @internal */
  get _records(): number {
    return this.#recorder.came
  }

  /** The driver has nothing more to tell about it. @internal */
  get _forgettable(): boolean {
    return this.#over.is && this.#recorder.over
  }

  /** What got there and what did not, as far as known. @internal */
  get _result(): CloseResult {
    const acknowledged = this.#send.acknowledged
    return { acknowledged, undelivered: Math.max(0, this.#acceptedBytes() - acknowledged) }
  }

  #acceptedBytes(): number {
    return this.#accepted ?? this.#send.written + this.#send.pendingBytes + Math.max(0, this.writableLength - this.#stockPending)
  }

  #writeLater(chunks: Buffer[], callback: (error?: Error | null) => void): void {
    for (const chunk of chunks) this.#stockPending += chunk.length
    this.#send.enqueue(chunks, (error) => {
      this.#stockPending = 0
      callback(error)
    })
  }

  #fail(error: Error): void {
    if (this.#failure !== undefined) return
    this.#accepted ??= this.#acceptedBytes()
    this.#setFailure(error)
    debug('stream %d: %s', this.id, error.message)
    if (channels.streamError.hasSubscribers) channels.streamError.publish({ stream: this, error })
    const stockWaits = this.#stockPending > 0
    this.#send.fail(error)
    if (this.#failed && this.#receive.ended && this.#receive.unread > 0 && !stockWaits) {
      // The receiving half is complete: let it be read first.
      this.once('end', () => this.destroy(error))
    } else {
      this.destroy(error)
    }
  }

  #setFailure(error: Error): void {
    if (this.#failure !== undefined) return
    this.#failure = error
    for (const run of this.#failureWatchers) run(error)
  }

  #endBoth(reason: Error, cause: unknown): void {
    this.#accepted ??= this.#acceptedBytes()
    this.#setFailure(reason)
    if (!this.#failed) {
      this.#failed = true
      const code = this.#resetCode ?? resetCodeOf(cause)
      this.#core.commands.reset(this.id, code)
      debug('stream %d reset with code %d', this.id, code)
      if (channels.streamReset.hasSubscribers) channels.streamReset.publish({ stream: this, code, remote: false })
    }
    this.#send.fail(reason)
    this.#receive.fail(reason)
  }

  #abandon(code: number): void {
    if (this.#failed) return
    this.#resetCode = code
    const error = new StreamError('ERR_PACELINE_STREAM_ABORTED', `the stream was reset with code ${code}`, { errorCode: code })
    this.#endBoth(error, error)
    this.destroy()
  }

  /** The peer has closed its end after all of its data. An error only if something of ours is missing there. */
  #peerLeft(error: Error, final = false): void {
    const missing = this.#acceptedBytes() > this.#send.acknowledged
    if (missing && !final) {
      this.#undecided = error
      return
    }
    this.#undecided = undefined
    if (missing) {
      this.#fail(error)
      return
    }
    this.#send.fail(new StreamError('ERR_PACELINE_STREAM_CLOSED', 'the peer has closed the stream'))
    if (this.readableEnded) this.destroy()
    else this.once('end', () => this.destroy())
  }

  /** 'error' without a listener would end the process; who listens when it is emitted is known only then. */
  #emitHarmlessly(error: Error, callback: (error?: Error | null) => void): void {
    this.on('error', () => undefined)
    callback(error)
  }
}

/**
 * Listeners keep a stream that the program has forgotten. These are all the ways to add and remove one; wrapped here, as
 * their many signatures say nothing new.
 */
for (const name of ['on', 'addListener', 'prependListener', 'off', 'removeListener', 'removeAllListeners'] as const) {
  const inherited: (...args: never) => Duplex = Duplex.prototype[name]
  Object.defineProperty(Stream.prototype, name, {
    value(this: Stream, ...args: never): Stream {
      inherited.apply(this, args)
      this._listening()
      return this
    },
    configurable: true,
    writable: true,
  })
}

import { createHash, type Hash } from 'node:crypto'
import type { FileHandle } from 'node:fs/promises'
import type { Peer, Stream } from '../index.js'
import { Fault, meaning } from './faults.js'
import { bits, printable, size } from './output.js'
import type { Progress } from './progress.js'
import { ByteReader, Kind, MAX_PIECE_BYTES, ProtocolError, Verdict, encodeHead, encodeNumber, readReply, type Answer, type Offer } from './protocol.js'
import type { CompletionCounts, FileReport } from './report.js'
import { openFile, type Source } from './sources.js'
import { changed, readWhole, shorter, WHOLE_BYTES } from './whole-file.js'

/** Read and written in turns, two at a time: large enough that a turn's fixed cost vanishes, small beside the send buffer. */
const CHUNK_BYTES = 512 * 1024
/** Smaller files are sent at once, without asking what is there already: that costs a round trip. */
const RESUME_BYTES = 1 << 20
const CLOSE_MS = 1000

/** The receiver does not want this file, or it cannot be read any more; the connection is well. */
export class Refused extends Error {
  override readonly name = 'Refused'
}

/** Time during which anything is under way. */
export class Stopwatch {
  #running = 0
  #since = 0
  #sum = 0

  start(): void {
    if (this.#running++ === 0) this.#since = performance.now()
  }

  stop(): void {
    if (--this.#running === 0) this.#sum += performance.now() - this.#since
  }

  get milliseconds(): number {
    return this.#sum + (this.#running > 0 ? performance.now() - this.#since : 0)
  }
}

/** One stream, one file or folder. */
export class Transfer {
  readonly #source: Source
  readonly #resumes: boolean
  readonly #thing: bigint
  readonly #progress: Progress
  readonly #clock: Stopwatch
  readonly completions: CompletionCounts = { sent: 0, failed: 0, cancelled: 0 }
  bytes: number
  sha256Sent: string | null = null
  sha256Received: string | null = null
  /** Where it went on. */
  resumedAt = 0
  milliseconds = 0

  constructor(source: Source, { resumes }: { readonly resumes: boolean }, things: number, progress: Progress, clock: Stopwatch) {
    this.#source = source
    this.#resumes = resumes && source.kind === Kind.File && source.bytes >= RESUME_BYTES
    this.#thing = (BigInt(things) << 32n) | BigInt(source.thing)
    this.#progress = progress
    this.#clock = clock
    this.bytes = source.bytes
  }

  get isFolder(): boolean {
    return this.#source.kind === Kind.Folder
  }

  async run(peer: Peer, interrupt: AbortSignal): Promise<void> {
    const { kind, path, bytes } = this.#source
    const content = kind === Kind.File && bytes <= WHOLE_BYTES ? readWhole(path) : undefined
    let handle: FileHandle | undefined
    let missing: Fault | undefined
    try {
      if (kind === Kind.File && content === undefined) handle = await openFile(path)
    } catch (error) {
      if (!(error instanceof Fault)) throw error
      missing = error
    }
    this.#clock.start()
    try {
      await this.#ship(peer, interrupt, content ?? handle)
    } finally {
      this.#clock.stop()
      await handle?.close()
    }
    if (missing !== undefined) throw new Refused(missing.message)
  }

  async #ship(peer: Peer, interrupt: AbortSignal, file: Buffer | FileHandle | undefined): Promise<void> {
    const stop = new AbortController()
    const stopNow = () => stop.abort(interrupt.reason)
    if (interrupt.aborted) stopNow()
    interrupt.addEventListener('abort', stopNow, { once: true })
    const begin = performance.now()
    const stream = peer.openStream()
    const counted = this.#count(stream)
    // The answer normally comes last. One that comes early is a refusal, and stops the writing; so does a stream that breaks.
    const reader = new ByteReader(stream)
    let offered: (offer: Offer) => void = () => {}
    const offer = new Promise<Offer>((resolve) => (offered = resolve))
    const answered = this.#readAnswer(reader, offered)
    answered.catch((error: unknown) => stop.abort(error))
    try {
      if (file instanceof Uint8Array) await this.#writeWhole(stream, file, stop.signal)
      else {
        await this.#write(stream, file, offer, stop.signal)
        await stream.flush({ signal: stop.signal })
        this.milliseconds = performance.now() - begin
      }
      const answer = await withSignal(answered, stop.signal)
      if (this.milliseconds === 0) this.milliseconds = performance.now() - begin
      if (this.sha256Sent !== null) {
        this.sha256Received = answer.sha256.toString('hex')
        if (this.sha256Received !== this.sha256Sent) {
          throw new ProtocolError(`expected the receiver to have SHA-256 ${this.sha256Sent} of ${this.#source.name}, got ${this.sha256Received}`)
        }
      }
      await stream.close({ deadline: CLOSE_MS })
      await counted
    } catch (error) {
      stream.destroy()
      throw stop.signal.aborted && !(error instanceof Fault) ? stop.signal.reason : error
    } finally {
      interrupt.removeEventListener('abort', stopNow)
    }
  }

  async #readAnswer(reader: ByteReader, offered: (offer: Offer) => void): Promise<Answer> {
    const again = this.#resumes ? '; sent again, it goes on where it stood' : ''
    const expected = `expected the receiver to store ${printable(this.#source.name)}, got the end of the stream: it was stopped${again}`
    let reply = await readReply(reader, this.#resumes, expected)
    if ('offset' in reply) {
      offered(reply)
      reply = await readReply(reader, false, expected)
    }
    if ('offset' in reply) throw new ProtocolError('expected an answer, got a second offer')
    if (reply.verdict !== Verdict.Stored) throw refusal(this.#source.name, reply)
    if ((await reader.some(1)) !== undefined) throw new ProtocolError("expected the end of the stream after the receiver's answer, got more bytes")
    return reply
  }

  async #count(stream: Stream): Promise<void> {
    for await (const completion of stream.completions()) this.completions[completion.outcome]++
  }

  /** All of it in one turn: one hand-over, one packet where that is enough. The answer says soon enough that it has arrived. */
  async #writeWhole(stream: Stream, content: Buffer, signal: AbortSignal): Promise<void> {
    const { kind, name, mode, changedAt, entries } = this.#source
    this.bytes = content.length
    const digest = createHash('sha256').update(content).digest()
    this.sha256Sent = digest.toString('hex')
    const head = encodeHead({ kind, awaitsOffer: false, mode, changedAt, size: this.bytes, thing: this.#thing, entries, name })
    await Promise.all([stream.writer.writev([head, content, digest], { signal }), stream.writer.end({ signal })])
    this.#progress.add(this.bytes)
  }

  /** Head, bytes, digest, end. */
  async #write(stream: Stream, handle: FileHandle | undefined, offer: Promise<Offer>, signal: AbortSignal): Promise<void> {
    const { kind, name, mode, changedAt, entries } = this.#source
    const stats = await handle?.stat()
    this.bytes = stats?.size ?? 0
    const real = kind === Kind.File && handle === undefined ? Kind.Missing : kind
    const head = { kind: real, awaitsOffer: this.#resumes && handle !== undefined, mode, changedAt, size: this.bytes, thing: this.#thing, entries, name }
    await stream.writer.write(encodeHead(head), { signal })
    if (real === Kind.Stdin) await this.#writeStdin(stream, signal)
    else if (handle !== undefined && stats !== undefined) await this.#writeFile(stream, handle, stats.mtimeMs, head.awaitsOffer ? offer : undefined, signal)
    await stream.writer.end({ signal })
  }

  async #writeFile(stream: Stream, handle: FileHandle, changedAt: number, offer: Promise<Offer> | undefined, signal: AbortSignal): Promise<void> {
    const { path } = this.#source
    const { bytes } = this
    const hash = createHash('sha256')
    if (offer !== undefined) {
      const found = await withSignal(offer, signal)
      if (found.offset > 0 && found.offset <= bytes && (await this.#agrees(handle, hash, found, signal))) this.resumedAt = found.offset
      await stream.writer.write(encodeNumber(this.resumedAt, 8), { signal })
      this.#progress.skip(this.resumedAt)
    }
    const whole = this.resumedAt > 0 || offer === undefined ? hash : createHash('sha256')
    for await (const part of readAhead(handle, path, this.resumedAt, bytes)) {
      whole.update(part)
      await stream.writer.write(part, { signal })
      this.#progress.add(part.length)
    }
    const stats = await handle.stat()
    // Without the digest the receiver throws it away: half of the old and half of the new is no file.
    if (stats.size !== bytes || stats.mtimeMs !== changedAt) throw changed(path)
    const digest = whole.digest()
    this.sha256Sent = digest.toString('hex')
    await stream.writer.write(digest, { signal })
  }

  /** Whether our file begins with what the receiver has; the hash stands at its end then. */
  async #agrees(handle: FileHandle, hash: Hash, { offset, sha256 }: Offer, signal: AbortSignal): Promise<boolean> {
    for await (const part of readAhead(handle, this.#source.path, 0, offset)) {
      signal.throwIfAborted()
      hash.update(part)
    }
    return hash.copy().digest().equals(sha256)
  }

  /** Pieces with their length in front, as nobody knows how many there will be. */
  async #writeStdin(stream: Stream, signal: AbortSignal): Promise<void> {
    const hash = createHash('sha256')
    // A terminal or pipe that stays silent does not keep us from stopping.
    const stop = () => process.stdin.destroy(signal.reason as Error)
    if (signal.aborted) stop()
    signal.addEventListener('abort', stop, { once: true })
    try {
      for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
        for (let at = 0; at < chunk.length; at += MAX_PIECE_BYTES) {
          const piece = chunk.subarray(at, at + MAX_PIECE_BYTES)
          hash.update(piece)
          await stream.writer.writev([encodeNumber(piece.length, 4), piece], { signal })
          this.bytes += piece.length
          this.#progress.add(piece.length)
        }
      }
    } catch (error) {
      signal.throwIfAborted()
      throw new Fault(`expected to read stdin to its end, got ${meaning(error)}`)
    } finally {
      signal.removeEventListener('abort', stop)
    }
    const digest = hash.digest()
    this.sha256Sent = digest.toString('hex')
    await stream.writer.writev([encodeNumber(0, 4), digest], { signal })
  }

  describe(): string {
    const { name } = this.#source
    const sent = this.bytes - this.resumedAt
    const rate = sent === 0 ? [] : [bits((sent * 8000) / this.milliseconds)]
    const resumed = this.resumedAt > 0 ? [`the first ${size(this.resumedAt)} were there`] : []
    const notes = [...rate, ...resumed].join(', ')
    return `sent ${printable(name)}  ${size(this.bytes)} in ${(this.milliseconds / 1000).toFixed(2)} s${notes === '' ? '' : ` (${notes})`}  sha256 ${this.sha256Sent}`
  }

  toReport(): FileReport {
    const { resumedAt } = this
    return { name: this.#source.name, bytes: this.bytes, sha256Sent: this.sha256Sent, sha256Received: this.sha256Received, ...(resumedAt > 0 && { resumedAt }) }
  }
}

/** A file's bytes from `from` to `to`. One chunk is read while the one before is used. */
async function* readAhead(handle: FileHandle, path: string, from: number, to: number): AsyncGenerator<Buffer> {
  const length = Math.min(CHUNK_BYTES, to - from)
  let [chunk, spare] = [Buffer.allocUnsafeSlow(length), Buffer.allocUnsafeSlow(to - from > length ? length : 0)]
  const read = (buffer: Buffer, position: number) =>
    handle.read(buffer, 0, Math.min(CHUNK_BYTES, to - position), position).then(
      ({ bytesRead }) => bytesRead,
      (error: unknown) => new Fault(`expected to read ${path} to its end, got ${meaning(error)}`),
    )
  let next = from < to ? read(chunk, from) : Promise.resolve(0)
  try {
    for (let position = from; position < to; ) {
      const length = await next
      if (length instanceof Fault) throw length
      if (length === 0) throw shorter(path, to, position)
      const part = chunk.subarray(0, length)
      position += length
      ;[chunk, spare] = [spare, chunk]
      next = position < to ? read(chunk, position) : Promise.resolve(0)
      yield part
    }
  } finally {
    // The file must not be closed under a read.
    await next
  }
}

function refusal(name: string, answer: Answer): Refused {
  const why = answer.explanation === '' ? `verdict ${answer.verdict}` : printable(answer.explanation)
  return new Refused(`expected the receiver to store ${printable(name)}, got a refusal: ${why}`)
}

/** The value, or the signal's reason if that comes first. */
function withSignal<T>(value: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) reject(signal.reason)
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
    value.then(resolve, reject)
  })
}

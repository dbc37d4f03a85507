import { createHash, type Hash } from 'node:crypto'
import type { Stream } from '../index.js'
import type { Board, BoardEntry } from './board.js'
import { meaning } from './faults.js'
import { DiskError, PartialFile, dressFolder } from './partial.js'
import {
  ByteReader,
  DIGEST_BYTES,
  Kind,
  MAX_PIECE_BYTES,
  ProtocolError,
  Verdict,
  encodeAnswer,
  encodeOffer,
  readHead,
  type Answer,
  type FileHead,
} from './protocol.js'

/** Bytes gathered for one write to the disk, while the one before is on its way; less where more files than these arrive at once. */
const WRITE_BYTES = 1024 * 1024
const SHARERS = 16
/** What comes in a moment may be refused at its end as well. */
const SMALL_BYTES = 64 << 10
/** A stream that does not say what it brings makes room for others. */
const HEAD_MS = 10_000
/** How long a sender may take to notice that its file is refused. */
const REFUSED_MS = 2000
const CLOSE_MS = 1000

/** What decides where a file goes. */
export interface IncomingOptions {
  readonly overwrite: boolean
  /** Instead of files: everything to stdout. */
  readonly toStdout: boolean
}

/** Where bytes go: a file, or stdout. */
interface Sink {
  /** Bytes of an earlier attempt. */
  readonly length: number
  readonly target: string | undefined
  read(): AsyncIterable<Buffer>
  restart(): Promise<void>
  write(chunks: readonly Uint8Array[]): Promise<void>
  commit(): Promise<void>
  discard(): Promise<void>
  keep(): Promise<string | undefined>
}

/** stdout: nothing can be taken back, so only the exit code says whether it was whole. */
class StdoutSink implements Sink {
  readonly length = 0
  readonly target = undefined

  async *read(): AsyncGenerator<Buffer> {}

  restart(): Promise<void> {
    return Promise.resolve()
  }

  async write(chunks: readonly Uint8Array[]): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      process.stdout.write(Buffer.concat(chunks), (error) => {
        if (error == null) resolve()
        else reject(new DiskError(`cannot write to stdout: ${meaning(error)}`, { cause: error }))
      })
    })
  }

  commit(): Promise<void> {
    return Promise.resolve()
  }

  discard(): Promise<void> {
    return Promise.resolve()
  }

  keep(): Promise<undefined> {
    return Promise.resolve(undefined)
  }
}

/** One stream, one file or folder. */
export class IncomingFile {
  readonly #stream: Stream
  readonly #reader: ByteReader
  readonly #folder: string
  readonly #options: IncomingOptions
  readonly #board: Board
  readonly #admit: (head: FileHead) => void
  readonly #begin = performance.now()
  head: FileHead | undefined
  admitted = false
  path: string | undefined
  bytes = 0
  resumedAt = 0
  /** The name of what is left for another attempt. */
  kept: string | undefined
  milliseconds = 0

  constructor(stream: Stream, folder: string, options: IncomingOptions, board: Board, admit: (head: FileHead) => void) {
    this.#stream = stream
    this.#reader = new ByteReader(stream)
    this.#folder = folder
    this.#options = options
    this.#board = board
    this.#admit = admit
  }

  /** Resolves with what the sender was told once the file is whole, on the disk and the sender knows it. */
  async run(): Promise<Answer> {
    try {
      const answer = await this.#store()
      await this.#answer(answer)
      await this.#stream.close({ deadline: CLOSE_MS })
      return answer
    } catch (error) {
      if (error instanceof ProtocolError) await this.#refuse(error)
      this.#stream.destroy()
      throw error
    }
  }

  async #store(): Promise<Answer> {
    const head = (this.head = await this.#readHead())
    this.#admit(head)
    this.admitted = true
    if (head.kind === Kind.Folder || head.kind === Kind.Missing) return this.#storeNothing(head)
    const sink = await this.#open(head)
    const entry = this.#board.add(head.name, head.size, this.#stream.peer)
    try {
      const hash = await this.#agree(sink, head)
      entry.skip(this.resumedAt)
      const sha256 = await this.#copy(sink, hash, head, entry)
      const expected = await this.#reader.exactly(DIGEST_BYTES)
      if (!expected.equals(sha256)) {
        throw new ProtocolError(`expected SHA-256 ${expected.toString('hex')}, got ${sha256.toString('hex')}`, Verdict.Digest)
      }
      await this.#mustEnd()
      await sink.commit()
      this.path = sink.target
      this.milliseconds = performance.now() - this.#begin
      return { verdict: Verdict.Stored, sha256, explanation: '' }
    } catch (error) {
      // A connection that broke is worth another attempt; bytes that are wrong, or a full disk, are not.
      if (!(error instanceof ProtocolError)) this.kept = await sink.keep()
      throw error
    } finally {
      entry.end()
      await sink.discard()
    }
  }

  async #storeNothing(head: FileHead): Promise<Answer> {
    if (this.#options.toStdout && head.kind === Kind.Folder) throw new ProtocolError('expected files for stdout, got a folder', Verdict.Name)
    await this.#mustEnd()
    if (head.kind === Kind.Folder) this.path = await dressFolder(this.#folder, head)
    return { verdict: Verdict.Stored, sha256: Buffer.alloc(DIGEST_BYTES), explanation: '' }
  }

  async #mustEnd(): Promise<void> {
    if ((await this.#reader.some(1)) !== undefined) throw new ProtocolError('expected the end of the stream after the digest, got more bytes')
  }

  async #open({ kind, name, size: bytes, mode, changedAt, awaitsOffer }: FileHead): Promise<Sink> {
    if (this.#options.toStdout) return new StdoutSink()
    const { overwrite } = this.#options
    return PartialFile.create(this.#folder, { name, size: bytes, mode, changedAt, overwrite, resumable: awaitsOffer, small: kind === Kind.File && !awaitsOffer && bytes <= SMALL_BYTES })
  }

  /** Tells what is here already, and goes on where the sender says. The hash covers what is kept. */
  async #agree(sink: Sink, { awaitsOffer }: FileHead): Promise<Hash> {
    const hash = createHash('sha256')
    if (!awaitsOffer) return hash
    for await (const part of sink.read()) hash.update(part)
    const offset = sink.length
    const sha256 = offset === 0 ? Buffer.alloc(DIGEST_BYTES) : hash.copy().digest()
    await this.#stream.writer.write(encodeOffer({ offset, sha256 }))
    const begin = Number((await this.#reader.exactly(8)).readBigUInt64BE())
    if (begin !== 0 && begin !== offset) throw new ProtocolError(`expected the file from 0 or ${offset} on, got it from ${begin}`)
    this.resumedAt = begin
    if (begin === offset) return hash
    await sink.restart()
    return createHash('sha256')
  }

  async #readHead(): Promise<FileHead> {
    const timer = setTimeout(() => this.#stream.destroy(new Error(`no file name within ${HEAD_MS / 1000} s`)), HEAD_MS)
    try {
      return await readHead(this.#reader)
    } finally {
      clearTimeout(timer)
    }
  }

  /** Bytes from the stream to the disk and through the hash; one write is on its way while the next is gathered. */
  async #copy(sink: Sink, hash: Hash, head: FileHead, entry: BoardEntry): Promise<Buffer> {
    let writing: Promise<void> = Promise.resolve()
    let chunks: Buffer[] = []
    let gathered = 0
    this.bytes = this.resumedAt
    const flush = async () => {
      await writing
      writing = sink.write(chunks)
      // Awaited in the next round; until then a failure is nobody's.
      writing.catch(() => {})
      ;[chunks, gathered] = [[], 0]
    }
    try {
      for await (const part of head.kind === Kind.Stdin ? this.#pieces() : this.#rest(head.size)) {
        hash.update(part)
        chunks.push(part)
        this.bytes += part.length
        gathered += part.length
        if (gathered >= WRITE_BYTES / Math.max(1, this.#board.active / SHARERS)) await flush()
        entry.add(part.length)
      }
      if (gathered > 0) await flush()
    } finally {
      // The file must not be closed under a write.
      await writing.catch(() => {})
      // What arrived before a connection broke need not be sent again.
      if (gathered > 0 && head.awaitsOffer) await sink.write(chunks).catch(() => {})
    }
    await writing
    return hash.digest()
  }

  async *#rest(bytes: number): AsyncGenerator<Buffer> {
    for (let done = this.resumedAt; done < bytes; ) {
      const part = await this.#reader.some(bytes - done)
      if (part === undefined) throw new ProtocolError(`expected ${bytes} bytes, got the end of the stream after ${done}`)
      done += part.length
      yield part
    }
  }

  async *#pieces(): AsyncGenerator<Buffer> {
    for (;;) {
      const length = (await this.#reader.exactly(4)).readUInt32BE()
      if (length === 0) return
      if (length > MAX_PIECE_BYTES) throw new ProtocolError(`expected a piece of at most ${MAX_PIECE_BYTES} bytes, got ${length}`)
      for (let done = 0; done < length; ) {
        const part = await this.#reader.some(length - done)
        if (part === undefined) throw new ProtocolError('expected more of stdin, got the end of the stream')
        done += part.length
        yield part
      }
    }
  }

  async #answer(answer: Answer): Promise<void> {
    const { writer } = this.#stream
    await Promise.all([writer.write(encodeAnswer(answer)), writer.end()])
    await this.#stream.flush()
  }

  /** Says why, and reads on until the sender has understood: an abrupt end could overtake the explanation. */
  async #refuse(error: ProtocolError): Promise<void> {
    // Where our folders are is not the sender's business.
    const explanation = error instanceof DiskError ? `the receiver's disk: ${meaning(error)}` : error.message
    const refused = new AbortController()
    const timer = setTimeout(() => {
      refused.abort()
      this.#stream.destroy()
    }, REFUSED_MS)
    try {
      await this.#answer({ verdict: error.verdict, sha256: Buffer.alloc(DIGEST_BYTES), explanation })
      while (!refused.signal.aborted && (await this.#reader.some(Number.MAX_SAFE_INTEGER)) !== undefined);
    } catch {
      // It has hung up, which is all we waited for.
    } finally {
      clearTimeout(timer)
    }
  }
}

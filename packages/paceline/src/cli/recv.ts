import { createHash, type Hash } from 'node:crypto'
import { resolve } from 'node:path'
import { Endpoint, type Peer, type Stream } from '../index.js'
import { Board, type BoardEntry } from './board.js'
import { ExitCode, Fault, UsageError, isLocalDisk, meaning, oneLine, pacelineCode, systemCode } from './faults.js'
import { onInterrupt } from './interrupt.js'
import { idle, integer, parseOptions, type OptionSpecs } from './options.js'
import { paint, printable, say, sayJson, sayResult, size } from './output.js'
import { DiskError, PartialFile, checkFolder, dressFolder } from './partial.js'
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
import { loadSecrets } from './secret.js'

/** Files received at the same time; the next wait in the transport, which bounds them too. Each holds up to twice {@link WRITE_BYTES}. */
const MAX_FILES_AT_ONCE = 16
/** Bytes gathered for one write to the disk, while the one before is on its way. */
const WRITE_BYTES = 1024 * 1024
/** A stream that does not say what it brings makes room for others. */
const HEAD_MS = 10_000
/** How long a sender may take to notice that its file is refused. */
const REFUSED_MS = 2000
const CLOSE_MS = 1000
const INTERRUPTED_CLOSE_MS = 300

export const recvOptions: OptionSpecs = {
  'secret-file': { value: 'FILE', help: 'the secret both sides share (else PACELINE_SECRET); a line per rotation entry' },
  port: { value: 'PORT', help: 'the UDP port to listen on; 0 takes a free one' },
  host: { value: 'ADDRESS', help: 'the address to listen on (default: all)' },
  out: { value: 'DIR', help: 'the folder for what arrives, NAME.part until it is whole; "-" is stdout, for one file' },
  count: { value: 'N', help: 'end after so many files (a folder counts as one); exit code 1 if one of them failed' },
  once: { help: 'the same as --count 1' },
  'idle-timeout': { value: 'TIME', help: 'give a sender up that falls silent: 1s to 600s (default 10s)' },
  overwrite: { help: 'replace files that exist already (default: refuse them)' },
  json: { help: 'print one JSON object per event on stdout: listening, file, folder, closed' },
  quiet: { help: 'no progress' },
  help: { help: 'this text' },
}

export const recvNotes = [
  'Runs until --count files have arrived, or Ctrl-C. A file that exists already is refused. Names are relative and lead nowhere but down; links are not followed. Set-user-id bits are never set.',
  'What was interrupted stays as NAME.part and is continued by the next attempt, if its SHA-256 agrees. Wrong bytes and full disks leave nothing.',
]

export const recvUsage = 'paceline recv --port PORT --secret-file FILE --out DIR'

export async function runRecv(args: readonly string[]): Promise<number> {
  const { switches, values, positionals } = parseOptions('recv', recvOptions, args)
  if (positionals.length > 0) throw new UsageError(`expected options only, got ${positionals.join(' ')}`, 'recv')
  const required = (name: string): string => {
    const value = values.get(name)
    if (value === undefined) throw new UsageError(`expected --${name} ${recvOptions[name]?.value ?? ''}, got none`, 'recv')
    return value
  }
  const port = integer('recv', 'port', required('port'), 0, 65_535)
  const out = required('out')
  const toStdout = out === '-'
  if (toStdout && switches.has('json')) throw new UsageError('expected --json or --out -, got both: they are for stdout', 'recv')
  const folder = resolve(out)
  const countText = values.get('count')
  if (toStdout && countText !== undefined) throw new UsageError('expected --count or --out -, got both: stdout is for one file', 'recv')
  if (countText !== undefined && switches.has('once')) throw new UsageError('expected --count or --once, got both', 'recv')
  const count = countText !== undefined ? integer('recv', 'count', countText, 1, 1e9) : switches.has('once') || toStdout ? 1 : Number.POSITIVE_INFINITY
  const secret = await loadSecrets(values.get('secret-file'))
  if (!toStdout) await checkFolder(folder)
  // Whoever reads a pipe may go: that is an error of a write, which is told, and none of the process.
  else process.stdout.on('error', () => {})
  const interrupt = onInterrupt()
  const host = values.get('host')
  const idleTimeout = idle('recv', values.get('idle-timeout'))
  const endpoint = await listen(port, host, secret, idleTimeout)
  const receiver = new Receiver(endpoint, folder, count, {
    json: switches.has('json'),
    quiet: switches.has('quiet'),
    overwrite: switches.has('overwrite'),
    toStdout,
  })
  return receiver.run(interrupt)
}

async function listen(port: number, host: string | undefined, secret: Uint8Array[], idleTimeout: number): Promise<Endpoint> {
  const options = { port, secret, idleTimeout, ...(host !== undefined && { host }) }
  return Endpoint.listen(options).catch((error: unknown) => {
    const code = systemCode(error)
    if (code === undefined) throw error
    const what = code === 'EADDRINUSE' || code === 'EACCES' ? `a free UDP port for --port` : 'an address of this machine for --host'
    throw new Fault(`expected ${what}, got ${host ?? '*'}:${port}: ${meaning(error)}`, { cause: error })
  })
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    signal.addEventListener('abort', () => resolve(), { once: true })
  })
}

interface ReceiverOptions {
  readonly json: boolean
  readonly quiet: boolean
  readonly overwrite: boolean
  /** Instead of files: everything to stdout. */
  readonly toStdout: boolean
}

/** A file or folder that was named on a sender's command line, while it arrives. */
interface Thing {
  /** Files and folders of it that have not come yet. */
  missing: number
  active: number
}

class Receiver {
  readonly #endpoint: Endpoint
  readonly #folder: string
  readonly #count: number
  readonly #options: ReceiverOptions
  readonly #board: Board
  readonly #active = new Set<Promise<void>>()
  readonly #things = new Map<string, Thing>()
  /** Ends the accepting: an interrupt, enough files, or a disk that takes no more. */
  readonly #stop = new AbortController()
  #admitted = 0
  #over = 0
  #stored = 0
  #failed = 0

  constructor(endpoint: Endpoint, folder: string, count: number, options: ReceiverOptions) {
    this.#endpoint = endpoint
    this.#folder = folder
    this.#count = count
    this.#options = options
    this.#board = new Board(options.quiet)
  }

  async run(interrupt: AbortSignal): Promise<number> {
    const stop = () => this.#stop.abort(interrupt.reason)
    interrupt.addEventListener('abort', stop, { once: true })
    try {
      await this.#accept()
      // An interrupt does not wait for what is under way; closing the endpoint resets it.
      if (!interrupt.aborted) await Promise.race([Promise.all(this.#active), aborted(interrupt)])
      interrupt.throwIfAborted()
    } finally {
      const stats = this.#endpoint.stats()
      await this.#endpoint.close({ deadline: interrupt.aborted ? INTERRUPTED_CLOSE_MS : CLOSE_MS }).catch(() => {})
      await Promise.all(this.#active)
      if (this.#options.json) sayJson({ event: 'closed', ok: this.#failed === 0, stored: this.#stored, failed: this.#failed, stats })
    }
    return this.#failed === 0 ? ExitCode.Ok : ExitCode.Failed
  }

  /** Takes streams until there are enough, or there is a reason to stop. */
  async #accept(): Promise<void> {
    const streams = this.#endpoint.streams({ signal: this.#stop.signal })
    let next = streams.next()
    try {
      // Streams are refused until somebody waits for them. Who reads the announcement may open one at once.
      await Promise.race([next, new Promise(setImmediate)])
      this.#announce()
      for (;;) {
        const { value: stream, done } = await next
        if (done === true) return
        const task = this.#receive(stream).finally(() => this.#active.delete(task))
        this.#active.add(task)
        if (this.#active.size >= MAX_FILES_AT_ONCE) await Promise.race(this.#active)
        next = streams.next()
      }
    } catch (error) {
      if (!this.#stop.signal.aborted) throw error
    }
  }

  #announce(): void {
    const { address, port } = this.#endpoint.address
    if (this.#options.json) sayJson({ event: 'listening', address, port })
    else say(`listening on ${address.includes(':') ? `[${address}]` : address}:${port}, receiving ${this.#options.toStdout ? 'for stdout' : `into ${this.#folder}`}`)
  }

  async #receive(stream: Stream): Promise<void> {
    const file = new IncomingFile(stream, this.#folder, this.#options, this.#board, (head) => this.#admit(stream.peer, head))
    let broken = false
    try {
      const answer = await file.run()
      if (file.head?.kind === Kind.Missing) {
        this.#failed++
        this.#complain(file, new Error('the sender cannot read it'))
      } else {
        if (file.head?.kind !== Kind.Folder) this.#stored++
        this.#tell(file, answer)
      }
    } catch (error) {
      this.#failed++
      broken = !(error instanceof ProtocolError)
      this.#complain(file, error)
      if (error instanceof DiskError && isLocalDisk(error)) this.#stop.abort(error)
    } finally {
      if (file.admitted && file.head !== undefined) this.#leave(stream.peer, file.head, broken)
    }
  }

  /** Whether there is room for what this belongs to. */
  #admit(peer: Peer, { thing, entries }: FileHead): void {
    const key = `${peer.id} ${thing}`
    let found = this.#things.get(key)
    if (found === undefined) {
      if (this.#admitted >= this.#count) throw new ProtocolError(`expected ${this.#count === 1 ? 'one file' : `${this.#count} files`}, got more`, Verdict.Closing)
      this.#admitted++
      this.#things.set(key, (found = { missing: entries, active: 0 }))
    }
    found.missing--
    found.active++
  }

  /** A thing is over when all of it came, or when a stream of it broke: then the rest will not come. */
  #leave(peer: Peer, { thing }: FileHead, broken: boolean): void {
    const key = `${peer.id} ${thing}`
    const found = this.#things.get(key)
    if (found === undefined) return
    found.active--
    if (broken) found.missing = 0
    if (found.active > 0 || found.missing > 0) return
    this.#things.delete(key)
    this.#over++
    if (this.#over >= this.#count) this.#stop.abort()
  }

  #tell(file: IncomingFile, answer: Answer): void {
    const { name, kind } = file.head ?? { name: '', kind: Kind.File }
    if (kind === Kind.Folder) {
      if (this.#options.json) sayJson({ event: 'folder', ok: true, name, path: file.path })
      return
    }
    const { bytes, resumedAt } = file
    const sha256 = answer.sha256.toString('hex')
    if (this.#options.json) sayJson({ event: 'file', ok: true, name, bytes, sha256, path: file.path, ...(resumedAt > 0 && { resumedAt }) })
    else {
      this.#board.clear()
      const resumed = resumedAt > 0 ? ` (${size(resumedAt)} were here)` : ''
      const line = `received ${printable(name)}  ${size(bytes)} in ${(file.milliseconds / 1000).toFixed(2)} s${resumed}  sha256 ${sha256}`
      sayResult(line, this.#options.toStdout ? process.stderr : process.stdout)
    }
  }

  #complain(file: IncomingFile, error: unknown): void {
    const name = file.head === undefined ? 'a file' : printable(file.head.name)
    const kept = file.kept === undefined ? '' : `; ${printable(file.kept)} is kept, to be continued when it is sent again`
    const message = `expected ${name} to arrive whole, got: ${printable(oneLine(error))}${kept}`
    if (this.#options.json) sayJson({ event: 'file', ok: false, name: file.head?.name ?? null, code: pacelineCode(error) ?? null, error: message })
    this.#board.clear()
    say(`${paint('red', 'paceline:')} ${message}`)
  }
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
class IncomingFile {
  readonly #stream: Stream
  readonly #reader: ByteReader
  readonly #folder: string
  readonly #options: ReceiverOptions
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

  constructor(stream: Stream, folder: string, options: ReceiverOptions, board: Board, admit: (head: FileHead) => void) {
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

  async #open({ name, size: bytes, mode, changedAt, awaitsOffer }: FileHead): Promise<Sink> {
    if (this.#options.toStdout) return new StdoutSink()
    const { overwrite } = this.#options
    return PartialFile.create(this.#folder, { name, size: bytes, mode, changedAt, overwrite, resumable: awaitsOffer })
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
        if (gathered >= WRITE_BYTES) await flush()
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
    await this.#stream.writer.write(encodeAnswer(answer))
    await this.#stream.writer.end()
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

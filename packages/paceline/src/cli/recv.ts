import { createHash } from 'node:crypto'
import { resolve } from 'node:path'
import { Endpoint, type Stream } from '../index.js'
import { ExitCode, Fault, UsageError, isLocalDisk, meaning, oneLine, pacelineCode, systemCode } from './faults.js'
import { onInterrupt } from './interrupt.js'
import { integer, parseOptions, type OptionSpecs } from './options.js'
import { paint, printable, say, sayJson, size } from './output.js'
import { DiskError, PartialFile, checkFolder } from './partial.js'
import { Progress } from './progress.js'
import { ByteReader, DIGEST_BYTES, ProtocolError, Verdict, encodeAnswer, readHead, type Answer, type FileHead } from './protocol.js'
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
  out: { value: 'DIR', help: 'the folder for what arrives; NAME.part until it is whole' },
  count: { value: 'N', help: 'end after so many files; exit code 1 if one of them failed' },
  once: { help: 'the same as --count 1' },
  overwrite: { help: 'replace files that exist already (default: refuse them)' },
  json: { help: 'print one JSON object per event on stdout: listening, file, closed' },
  quiet: { help: 'no progress' },
  help: { help: 'this text' },
}

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
  const folder = resolve(required('out'))
  const countText = values.get('count')
  if (countText !== undefined && switches.has('once')) throw new UsageError('expected --count or --once, got both', 'recv')
  const count = countText !== undefined ? integer('recv', 'count', countText, 1, 1e9) : switches.has('once') ? 1 : Number.POSITIVE_INFINITY
  const secret = await loadSecrets(values.get('secret-file'))
  await checkFolder(folder)
  const interrupt = onInterrupt()
  const host = values.get('host')
  const endpoint = await listen(port, host, secret)
  const receiver = new Receiver(endpoint, folder, count, {
    json: switches.has('json'),
    quiet: switches.has('quiet'),
    overwrite: switches.has('overwrite'),
  })
  return receiver.run(interrupt)
}

async function listen(port: number, host: string | undefined, secret: Uint8Array[]): Promise<Endpoint> {
  const options = { port, secret, ...(host !== undefined && { host }) }
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
}

class Receiver {
  readonly #endpoint: Endpoint
  readonly #folder: string
  readonly #count: number
  readonly #options: ReceiverOptions
  readonly #active = new Set<Promise<void>>()
  /** Ends the accepting: an interrupt, or a disk that takes no more. */
  readonly #stop = new AbortController()
  #stored = 0
  #failed = 0

  constructor(endpoint: Endpoint, folder: string, count: number, options: ReceiverOptions) {
    this.#endpoint = endpoint
    this.#folder = folder
    this.#count = count
    this.#options = options
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
      for (let accepted = 1; ; accepted++) {
        const { value: stream, done } = await next
        if (done === true) return
        const task = this.#receive(stream).finally(() => this.#active.delete(task))
        this.#active.add(task)
        if (accepted >= this.#count) return
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
    else say(`listening on ${address.includes(':') ? `[${address}]` : address}:${port}, receiving into ${this.#folder}`)
  }

  async #receive(stream: Stream): Promise<void> {
    const file = new IncomingFile(stream, this.#folder, this.#options)
    try {
      const answer = await file.run()
      this.#stored++
      this.#tell(file, answer)
    } catch (error) {
      this.#failed++
      this.#complain(file, error)
      if (error instanceof DiskError && isLocalDisk(error)) this.#stop.abort(error)
    }
  }

  #tell(file: IncomingFile, answer: Answer): void {
    const { name, size: bytes } = file.head ?? { name: '', size: 0 }
    const sha256 = answer.sha256.toString('hex')
    if (this.#options.json) sayJson({ event: 'file', ok: true, name, bytes, sha256, path: file.path })
    else process.stdout.write(`received ${printable(name)}  ${size(bytes)} in ${(file.milliseconds / 1000).toFixed(2)} s  sha256 ${sha256}\n`)
  }

  #complain(file: IncomingFile, error: unknown): void {
    const name = file.head === undefined ? 'a file' : printable(file.head.name)
    const message = `expected ${name} to arrive whole, got: ${printable(oneLine(error))}`
    if (this.#options.json) sayJson({ event: 'file', ok: false, name: file.head?.name ?? null, code: pacelineCode(error) ?? null, error: message })
    say(`${paint('red', 'paceline:')} ${message}`)
  }
}

/** One stream, one file. */
class IncomingFile {
  readonly #stream: Stream
  readonly #reader: ByteReader
  readonly #folder: string
  readonly #options: ReceiverOptions
  readonly #begin = performance.now()
  head: FileHead | undefined
  path: string | undefined
  milliseconds = 0

  constructor(stream: Stream, folder: string, options: ReceiverOptions) {
    this.#stream = stream
    this.#reader = new ByteReader(stream)
    this.#folder = folder
    this.#options = options
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
    this.head = await this.#readHead()
    const { name, size: bytes } = this.head
    const file = await PartialFile.create(this.#folder, name, bytes, this.#options.overwrite)
    const progress = new Progress(name, bytes, this.#options.quiet)
    try {
      const sha256 = await this.#copy(file, bytes, progress)
      const expected = await this.#reader.exactly(DIGEST_BYTES)
      if (!expected.equals(sha256)) {
        throw new ProtocolError(`expected SHA-256 ${expected.toString('hex')}, got ${sha256.toString('hex')}`, Verdict.Digest)
      }
      if ((await this.#reader.some(1)) !== undefined) throw new ProtocolError('expected the end of the stream after the digest, got more bytes')
      await file.commit()
      this.path = file.target
      this.milliseconds = performance.now() - this.#begin
      return { verdict: Verdict.Stored, sha256, explanation: '' }
    } finally {
      progress.clear()
      await file.discard()
    }
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
  async #copy(file: PartialFile, bytes: number, progress: Progress): Promise<Buffer> {
    const hash = createHash('sha256')
    let writing: Promise<void> = Promise.resolve()
    let chunks: Buffer[] = []
    let gathered = 0
    try {
      for (let done = 0; done < bytes; ) {
        const part = await this.#reader.some(bytes - done)
        if (part === undefined) throw new ProtocolError(`expected ${bytes} bytes, got the end of the stream after ${done}`)
        hash.update(part)
        chunks.push(part)
        done += part.length
        gathered += part.length
        if (gathered >= WRITE_BYTES || done === bytes) {
          await writing
          writing = file.write(chunks)
          // Awaited in the next round; until then a failure is nobody's.
          writing.catch(() => {})
          ;[chunks, gathered] = [[], 0]
        }
        progress.update(done)
      }
    } finally {
      // The file must not be closed under a write.
      await writing.catch(() => {})
    }
    await writing
    return hash.digest()
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

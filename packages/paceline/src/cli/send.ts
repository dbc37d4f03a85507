import { createHash, randomBytes, type Hash } from 'node:crypto'
import { setMaxListeners } from 'node:events'
import { lookup } from 'node:dns/promises'
import type { FileHandle } from 'node:fs/promises'
import { Endpoint, type Peer, type Stream } from '../index.js'
import { ExitCode, Fault, UsageError, meaning } from './faults.js'
import { onInterrupt } from './interrupt.js'
import { address, bitrate, duration, idle, parseOptions, type OptionSpecs } from './options.js'
import { paint, printable, say, sayJson, sayResult, size } from './output.js'
import { Progress, pathTail } from './progress.js'
import { ByteReader, Kind, MAX_PIECE_BYTES, ProtocolError, Verdict, encodeHead, encodeNumber, readReply, type Answer, type Offer } from './protocol.js'
import { rounded, type CompletionCounts, type FileReport, type Report } from './report.js'
import { loadSecrets } from './secret.js'
import { listSources, openFile, type Listing, type Source } from './sources.js'

/** Read and written in turns, two at a time: large enough that a turn's fixed cost vanishes, small beside the send buffer. */
const CHUNK_BYTES = 512 * 1024
/** After everything was acknowledged, or an interrupt, there is little left to say. */
const CLOSE_MS = 1000
const INTERRUPTED_CLOSE_MS = 300
const DEFAULT_HANDSHAKE_MS = 10_000

export const sendOptions: OptionSpecs = {
  'secret-file': { value: 'FILE', help: 'the secret both sides share (else PACELINE_SECRET)' },
  'max-bitrate': { value: 'BPS', help: 'send at most so many bits per second: 500k, 100M, 2.5G' },
  'handshake-timeout': { value: 'TIME', help: 'give up when nobody answers: 500ms, 10s (default 10s)' },
  'idle-timeout': { value: 'TIME', help: 'give up when the receiver falls silent: 1s to 600s (default 10s)' },
  name: { value: 'NAME', help: 'what stdin ("-") is called there (default stdin)' },
  'no-resume': { help: 'send everything, whatever the receiver has of an earlier attempt' },
  'no-times': { help: 'files get the time of their arrival, not that of their last change' },
  json: { help: 'print one JSON object with the result on stdout' },
  quiet: { help: 'no progress' },
  help: { help: 'this text' },
}

export const sendNotes = [
  'Folders go with everything below them. Permissions and times are kept; symbolic links, devices and pipes inside of folders are left out and named. "-" is stdin.',
  'A file of 1 MiB or more that was interrupted goes on where it stood: the receiver tells what it has and its SHA-256, and the sender compares.',
  'A secret is never an argument: others on this machine could read it.',
]

export const sendUsage = 'paceline send --secret-file FILE HOST:PORT FILE|FOLDER|-…'

/** Files at the same time: small ones wait for each other's round trips, large ones for nothing. */
const MAX_FILES_AT_ONCE = 16
/** Bytes of them: a file of that size, or a larger one, goes alone. */
const MAX_BYTES_AT_ONCE = 16 << 20
/** Smaller files are sent at once, without asking what is there already: that costs a round trip. */
const RESUME_BYTES = 1 << 20
/** More files than this get one line together. */
const MOST_LINES = 20

export async function runSend(args: readonly string[]): Promise<number> {
  const { switches, values, positionals } = parseOptions('send', sendOptions, args)
  const [target, ...paths] = positionals
  if (target === undefined) throw new UsageError('expected HOST:PORT and at least one FILE, got neither', 'send')
  const { host, port } = address('send', target)
  if (paths.length === 0) throw new UsageError(`expected at least one FILE after ${target}, got none`, 'send')
  const maxBitrate = values.get('max-bitrate')
  const timeout = values.get('handshake-timeout')
  const connectOptions = {
    handshakeTimeout: timeout === undefined ? DEFAULT_HANDSHAKE_MS : duration('send', 'handshake-timeout', timeout),
    ...(maxBitrate !== undefined && { maxBitrate: bitrate('send', 'max-bitrate', maxBitrate) }),
  }
  const idleTimeout = idle('send', values.get('idle-timeout'))
  const name = values.get('name')
  if (name !== undefined && !paths.includes('-')) throw new UsageError('expected "-" (stdin) beside --name, got none', 'send')
  const quiet = switches.has('quiet')
  const json = switches.has('json')
  const secret = await loadSecrets(values.get('secret-file'))
  const interrupt = onInterrupt()
  const listing = await listSources(paths, name ?? 'stdin', !switches.has('no-times'))
  const remote = await resolve(host)
  const endpoint = await Endpoint.bind({ host: remote.family === 6 ? '::' : '0.0.0.0', idleTimeout })
  let closeMs = CLOSE_MS
  try {
    const peer = await endpoint.connect(remote.address, port, { ...connectOptions, secret, signal: interrupt })
    const shipment = new Shipment(endpoint, peer, listing, { quiet, json, resumes: !switches.has('no-resume') }, interrupt)
    return await shipment.run()
  } catch (error) {
    closeMs = INTERRUPTED_CLOSE_MS
    interrupt.throwIfAborted()
    throw error
  } finally {
    await endpoint.close({ deadline: closeMs }).catch(() => {})
  }
}

/** The address decides which kind of socket is needed. */
async function resolve(host: string): Promise<{ address: string; family: number }> {
  return lookup(host).catch((error: unknown) => {
    throw new Fault(`expected a host that can be found, got ${host}: ${meaning(error)}`)
  })
}

/** The receiver does not want this file, or it cannot be read any more; the connection is well. */
class Refused extends Error {
  override readonly name = 'Refused'
}

interface SendOptions {
  readonly quiet: boolean
  readonly json: boolean
  readonly resumes: boolean
}

/** Everything that one command sends. */
class Shipment {
  readonly #endpoint: Endpoint
  readonly #peer: Peer
  readonly #listing: Listing
  readonly #options: SendOptions
  readonly #stop = new AbortController()
  readonly #interrupt: AbortSignal
  readonly #progress: Progress
  readonly #things = randomBytes(4).readUInt32BE()
  readonly #clock = new Stopwatch()
  readonly #refusals: Refused[] = []

  constructor(endpoint: Endpoint, peer: Peer, listing: Listing, options: SendOptions, interrupt: AbortSignal) {
    this.#endpoint = endpoint
    this.#peer = peer
    this.#listing = listing
    this.#options = options
    this.#interrupt = interrupt
    const { files } = listing
    const total = files.some(({ kind }) => kind === Kind.Stdin) ? 0 : files.reduce((sum, { bytes }) => sum + bytes, 0)
    const title = files.length === 1 ? (files[0]?.name ?? '') : `${files.length} files`
    const tail = () => pathTail(peer.stats().smoothedRttUs, endpoint.stats().packetsRetransmitted)
    this.#progress = new Progress(title, total, options.quiet, undefined, tail)
  }

  async run(): Promise<number> {
    // One listener a file, and there are many at the same time.
    setMaxListeners(0, this.#stop.signal)
    const stopNow = () => this.#stop.abort(this.#interrupt.reason)
    if (this.#interrupt.aborted) stopNow()
    this.#interrupt.addEventListener('abort', stopNow, { once: true })
    const { files, folders, skipped } = this.#listing
    const transfers = [...files, ...folders].map((source) => new Transfer(source, this.#options, this.#things, this.#progress, this.#clock))
    try {
      await this.#pool(transfers.slice(0, files.length))
      // A folder's time is set after its files came, and before its parent's.
      for (const transfer of transfers.slice(files.length)) await this.#one(transfer)
    } finally {
      this.#progress.clear()
      this.#interrupt.removeEventListener('abort', stopNow)
    }
    const ok = this.#refusals.length === 0
    const sent = transfers.slice(0, files.length)
    if (this.#options.json) sayJson({ ...summarize(this.#endpoint, this.#peer, sent, this.#clock.milliseconds, ok), ...(skipped > 0 && { skipped }) })
    else if (files.length > MOST_LINES || files.length === 0) process.stdout.write(`${this.#describe(sent)}\n`)
    return ok ? ExitCode.Ok : ExitCode.Failed
  }

  /** As many at a time as their number and size allow. */
  async #pool(transfers: readonly Transfer[]): Promise<void> {
    const active = new Set<Promise<void>>()
    let bytes = 0
    for (const transfer of transfers) {
      const weight = Math.min(transfer.bytes, MAX_BYTES_AT_ONCE)
      while (active.size > 0 && (active.size >= MAX_FILES_AT_ONCE || bytes + weight > MAX_BYTES_AT_ONCE)) await Promise.race(active)
      this.#stop.signal.throwIfAborted()
      bytes += weight
      const task = this.#one(transfer).finally(() => {
        bytes -= weight
        active.delete(task)
      })
      // Awaited below, or by the race above.
      task.catch(() => {})
      active.add(task)
    }
    await Promise.all(active)
  }

  async #one(transfer: Transfer): Promise<void> {
    try {
      await transfer.run(this.#peer, this.#stop.signal)
      if (this.#options.json || this.#listing.files.length > MOST_LINES || transfer.isFolder) return
      this.#progress.clear()
      sayResult(transfer.describe())
    } catch (error) {
      if (!(error instanceof Refused)) {
        this.#stop.abort(error)
        throw error
      }
      // One file refused is no reason to withhold the others.
      this.#refusals.push(error)
      this.#progress.clear()
      say(`${paint('red', 'paceline:')} ${error.message}`)
    }
  }

  #describe(transfers: readonly Transfer[]): string {
    const whole = transfers.filter(({ sha256Received }) => sha256Received !== null)
    const bytes = whole.reduce((sum, transfer) => sum + transfer.bytes, 0)
    const { milliseconds } = this.#clock
    const folders = this.#listing.folders.length
    const what = `${whole.length} files${folders === 0 ? '' : ` in ${folders} ${folders === 1 ? 'folder' : 'folders'}`}`
    return `sent ${what}  ${size(bytes)} in ${(milliseconds / 1000).toFixed(2)} s (${((bytes * 8) / Math.max(1, milliseconds) / 1e6).toFixed(2)} Gbit/s)`
  }
}

/** Time during which anything is under way. */
class Stopwatch {
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

class Transfer {
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

  constructor(source: Source, { resumes }: SendOptions, things: number, progress: Progress, clock: Stopwatch) {
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
    const { kind, path } = this.#source
    let handle: FileHandle | undefined
    let missing: Fault | undefined
    try {
      if (kind === Kind.File) handle = await openFile(path)
    } catch (error) {
      if (!(error instanceof Fault)) throw error
      missing = error
    }
    this.#clock.start()
    try {
      await this.#ship(peer, interrupt, handle)
    } finally {
      this.#clock.stop()
      await handle?.close()
    }
    if (missing !== undefined) throw new Refused(missing.message)
  }

  async #ship(peer: Peer, interrupt: AbortSignal, handle: FileHandle | undefined): Promise<void> {
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
      await this.#write(stream, handle, offer, stop.signal)
      await stream.flush({ signal: stop.signal })
      this.milliseconds = performance.now() - begin
      const answer = await withSignal(answered, stop.signal)
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
    let reply = await readReply(reader, this.#resumes)
    if ('offset' in reply) {
      offered(reply)
      reply = await readReply(reader, false)
    }
    if ('offset' in reply) throw new ProtocolError('expected an answer, got a second offer')
    if (reply.verdict !== Verdict.Stored) throw refusal(this.#source.name, reply)
    if ((await reader.some(1)) !== undefined) throw new ProtocolError("expected the end of the stream after the receiver's answer, got more bytes")
    return reply
  }

  async #count(stream: Stream): Promise<void> {
    for await (const completion of stream.completions()) this.completions[completion.outcome]++
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
    if (stats.size !== bytes || stats.mtimeMs !== changedAt) throw new Fault(`expected ${path} to stay as it is, got a change while it was sent`)
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
    const rate = (sent * 8) / (this.milliseconds * 1e6)
    const resumed = this.resumedAt > 0 ? `, the first ${size(this.resumedAt)} were there` : ''
    return `sent ${printable(name)}  ${size(this.bytes)} in ${(this.milliseconds / 1000).toFixed(2)} s (${rate.toFixed(2)} Gbit/s${resumed})  sha256 ${this.sha256Sent}`
  }

  toReport(): FileReport {
    const { resumedAt } = this
    return { name: this.#source.name, bytes: this.bytes, sha256Sent: this.sha256Sent, sha256Received: this.sha256Received, ...(resumedAt > 0 && { resumedAt }) }
  }
}

/** A file's bytes from `from` to `to`. One chunk is read while the one before is used. */
async function* readAhead(handle: FileHandle, path: string, from: number, to: number): AsyncGenerator<Buffer> {
  let [chunk, spare] = [Buffer.allocUnsafeSlow(CHUNK_BYTES), Buffer.allocUnsafeSlow(CHUNK_BYTES)]
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
      if (length === 0) throw new Fault(`expected ${to} bytes in ${path}, got ${position}: it became shorter while it was sent`)
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

function summarize(endpoint: Endpoint, peer: Peer, transfers: readonly Transfer[], milliseconds: number, ok: boolean): Report {
  const stats = endpoint.stats()
  const path = peer.stats()
  const files = transfers.map((transfer) => transfer.toReport())
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0)
  const seconds = milliseconds / 1000
  const count = (outcome: keyof CompletionCounts) => transfers.reduce((sum, transfer) => sum + transfer.completions[outcome], 0)
  return {
    ok,
    files,
    seconds: rounded(seconds, 6),
    gbitPerSecond: rounded((bytes * 8) / seconds / 1e9, 4),
    cipher: path?.cipher ?? '',
    transmissions: stats.transmissions,
    packets: stats.packets,
    packetsPerTransmission: rounded(stats.packets / stats.transmissions, 3),
    completions: { sent: count('sent'), failed: count('failed'), cancelled: count('cancelled') },
    departureErrorUs: { p50: stats.pacingErrorUs.p50, p99: stats.pacingErrorUs.p99 },
    retransmittedPackets: stats.packetsRetransmitted,
    smoothedRttUs: path?.smoothedRttUs ?? 0,
    pacingRateBps: path?.pacingRateBps ?? 0,
  }
}


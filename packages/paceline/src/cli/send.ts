import { createHash } from 'node:crypto'
import { lookup } from 'node:dns/promises'
import { open, type FileHandle } from 'node:fs/promises'
import { basename } from 'node:path'
import { Endpoint, type Peer, type Stream } from '../index.js'
import { ExitCode, Fault, UsageError, meaning } from './faults.js'
import { onInterrupt } from './interrupt.js'
import { address, bitrate, duration, parseOptions, type OptionSpecs } from './options.js'
import { paint, printable, say, sayJson, size } from './output.js'
import { Progress } from './progress.js'
import { ByteReader, ProtocolError, Verdict, checkName, encodeHead, readAnswer, type Answer } from './protocol.js'
import { rounded, type CompletionCounts, type FileReport, type Report } from './report.js'
import { loadSecrets } from './secret.js'

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
  json: { help: 'print one JSON object with the result on stdout' },
  quiet: { help: 'no progress' },
  help: { help: 'this text' },
}

export const sendUsage = 'paceline send --secret-file FILE HOST:PORT FILE…'

interface Source {
  readonly path: string
  readonly name: string
  readonly bytes: number
  readonly changedAt: number
  readonly handle: FileHandle
}

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
  const quiet = switches.has('quiet')
  const json = switches.has('json')
  const secret = await loadSecrets(values.get('secret-file'))
  const interrupt = onInterrupt()
  const sources = await openSources(paths)
  const remote = await resolve(host)
  const endpoint = await Endpoint.bind({ host: remote.family === 6 ? '::' : '0.0.0.0' })
  let closeMs = CLOSE_MS
  try {
    const peer = await endpoint.connect(remote.address, port, { ...connectOptions, secret, signal: interrupt })
    const transfers: Transfer[] = []
    const faults: Error[] = []
    for (const source of sources) {
      const transfer = new Transfer(source, quiet)
      transfers.push(transfer)
      try {
        await transfer.run(peer, interrupt)
        if (!json) process.stdout.write(`${transfer.describe()}\n`)
      } catch (error) {
        if (!(error instanceof Refused)) throw error
        // One file refused is no reason to withhold the others.
        faults.push(error)
        say(`${paint('red', 'paceline:')} ${error.message}`)
      }
    }
    if (json) sayJson(summarize(endpoint, peer, transfers, faults.length === 0))
    return faults.length === 0 ? ExitCode.Ok : ExitCode.Failed
  } catch (error) {
    closeMs = INTERRUPTED_CLOSE_MS
    interrupt.throwIfAborted()
    throw error
  } finally {
    await endpoint.close({ deadline: closeMs }).catch(() => {})
    await Promise.all(sources.map(({ handle }) => handle.close()))
  }
}

/** The address decides which kind of socket is needed. */
async function resolve(host: string): Promise<{ address: string; family: number }> {
  return lookup(host).catch((error: unknown) => {
    throw new Fault(`expected a host that can be found, got ${host}: ${meaning(error)}`)
  })
}

/** All of them before the first byte leaves: a typing error in the last name should not cost an hour. */
async function openSources(paths: readonly string[]): Promise<Source[]> {
  const sources: Source[] = []
  try {
    for (const path of paths) {
      const name = basename(path)
      checkName(name)
      if (sources.some((other) => other.name === name)) throw new Fault(`expected different file names, got ${name} twice`)
      sources.push(await openSource(path, name))
    }
    return sources
  } catch (error) {
    await Promise.all(sources.map(({ handle }) => handle.close()))
    throw error
  }
}

async function openSource(path: string, name: string): Promise<Source> {
  const handle = await open(path, 'r').catch((error: unknown) => {
    throw new Fault(`expected a readable file, got ${path}: ${meaning(error)}`)
  })
  try {
    const stats = await handle.stat()
    if (stats.isFile()) return { path, name, bytes: stats.size, changedAt: stats.mtimeMs, handle }
    throw new Fault(`expected a regular file, got ${path}: ${stats.isDirectory() ? 'EISDIR (it is a directory)' : 'a device or pipe'}`)
  } catch (error) {
    await handle.close()
    throw error
  }
}

/** The receiver does not want this file; the connection is well. */
class Refused extends Error {
  override readonly name = 'Refused'
}

class Transfer {
  readonly #source: Source
  readonly #quiet: boolean
  readonly completions: CompletionCounts = { sent: 0, failed: 0, cancelled: 0 }
  sha256Sent: string | null = null
  sha256Received: string | null = null
  milliseconds = 0

  constructor(source: Source, quiet: boolean) {
    this.#source = source
    this.#quiet = quiet
  }

  async run(peer: Peer, interrupt: AbortSignal): Promise<void> {
    const { name, bytes } = this.#source
    const stop = new AbortController()
    const stopNow = () => stop.abort(interrupt.reason)
    interrupt.addEventListener('abort', stopNow, { once: true })
    const progress = new Progress(name, bytes, this.#quiet)
    const begin = performance.now()
    const stream = peer.openStream()
    const counted = this.#count(stream)
    // The answer normally comes last. One that comes early is a refusal, and stops the writing; so does a stream that breaks.
    const answered = this.#readAnswer(stream)
    answered.catch((error: unknown) => stop.abort(error))
    try {
      await this.#write(stream, stop.signal, progress)
      await stream.flush({ signal: stop.signal })
      this.milliseconds = performance.now() - begin
      const answer = await withSignal(answered, stop.signal)
      this.sha256Received = answer.sha256.toString('hex')
      if (this.sha256Received !== this.sha256Sent) {
        throw new ProtocolError(`expected the receiver to have SHA-256 ${this.sha256Sent} of ${name}, got ${this.sha256Received}`)
      }
      await stream.close({ deadline: CLOSE_MS })
      await counted
    } catch (error) {
      stream.destroy()
      throw stop.signal.aborted && !(error instanceof Fault) ? stop.signal.reason : error
    } finally {
      progress.clear()
      interrupt.removeEventListener('abort', stopNow)
    }
  }

  async #readAnswer(stream: Stream): Promise<Answer> {
    const reader = new ByteReader(stream)
    const answer = await readAnswer(reader)
    if (answer.verdict !== Verdict.Stored) throw refusal(this.#source.name, answer)
    if ((await reader.some(1)) !== undefined) throw new ProtocolError("expected the end of the stream after the receiver's answer, got more bytes")
    return answer
  }

  async #count(stream: Stream): Promise<void> {
    for await (const completion of stream.completions()) this.completions[completion.outcome]++
  }

  /** Head, bytes, digest, end. One chunk is read while the one before is written. */
  async #write(stream: Stream, signal: AbortSignal, progress: Progress): Promise<void> {
    const { handle, path, bytes, changedAt } = this.#source
    const hash = createHash('sha256')
    let [chunk, spare] = [Buffer.allocUnsafeSlow(CHUNK_BYTES), Buffer.allocUnsafeSlow(CHUNK_BYTES)]
    await stream.writer.write(encodeHead({ name: this.#source.name, size: bytes }), { signal })
    const read = (buffer: Buffer, position: number) =>
      handle.read(buffer, 0, Math.min(CHUNK_BYTES, bytes - position), position).then(
        ({ bytesRead }) => bytesRead,
        (error: unknown) => new Fault(`expected to read ${path} to its end, got ${meaning(error)}`),
      )
    let next = read(chunk, 0)
    for (let position = 0; position < bytes; ) {
      const length = await next
      if (length instanceof Fault) throw length
      if (length === 0) throw new Fault(`expected ${bytes} bytes in ${path}, got ${position}: it became shorter while it was sent`)
      const part = chunk.subarray(0, length)
      position += length
      ;[chunk, spare] = [spare, chunk]
      next = position < bytes ? read(chunk, position) : Promise.resolve(0)
      hash.update(part)
      await stream.writer.write(part, { signal })
      progress.update(position)
    }
    const stats = await handle.stat()
    // Without the digest the receiver throws it away: half of the old and half of the new is no file.
    if (stats.size !== bytes || stats.mtimeMs !== changedAt) throw new Fault(`expected ${path} to stay as it is, got a change while it was sent`)
    const digest = hash.digest()
    this.sha256Sent = digest.toString('hex')
    await stream.writer.write(digest, { signal })
    await stream.writer.end({ signal })
  }

  describe(): string {
    const { name, bytes } = this.#source
    const rate = (bytes * 8) / (this.milliseconds * 1e6)
    return `sent ${name}  ${size(bytes)} in ${(this.milliseconds / 1000).toFixed(2)} s (${rate.toFixed(2)} Gbit/s)  sha256 ${this.sha256Sent}`
  }

  toReport(): FileReport {
    return { name: this.#source.name, bytes: this.#source.bytes, sha256Sent: this.sha256Sent, sha256Received: this.sha256Received }
  }
}

function refusal(name: string, answer: Answer): Refused {
  const why = answer.explanation === '' ? `verdict ${answer.verdict}` : printable(answer.explanation)
  return new Refused(`expected the receiver to store ${name}, got a refusal: ${why}`)
}

/** The value, or the signal's reason if that comes first. */
function withSignal<T>(value: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) reject(signal.reason)
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
    value.then(resolve, reject)
  })
}

function summarize(endpoint: Endpoint, peer: Peer, transfers: readonly Transfer[], ok: boolean): Report {
  const stats = endpoint.stats()
  const path = peer.stats()
  const files = transfers.map((transfer) => transfer.toReport())
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0)
  const seconds = transfers.reduce((sum, transfer) => sum + transfer.milliseconds, 0) / 1000
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


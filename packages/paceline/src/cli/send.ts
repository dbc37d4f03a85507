import { randomBytes } from 'node:crypto'
import { setMaxListeners } from 'node:events'
import { lookup } from 'node:dns/promises'
import { Endpoint, type Peer } from '../index.js'
import { ExitCode, Fault, UsageError, meaning } from './faults.js'
import { onInterrupt } from './interrupt.js'
import { address, bitrate, handshake, idle, parseOptions, type OptionSpecs } from './options.js'
import { bits, grouped, paint, say, sayJson, sayResult, size } from './output.js'
import { connectKeys, pathSecretOptions } from './path-secret.js'
import { Progress, awaited, pathTail } from './progress.js'
import { Kind } from './protocol.js'
import { rounded, type CompletionCounts, type Report } from './report.js'
import { listSources, type Listing } from './sources.js'
import { Refused, Stopwatch, Transfer } from './transfer.js'

/** After everything was acknowledged, or an interrupt, there is little left to say. */
const CLOSE_MS = 1000
const INTERRUPTED_CLOSE_MS = 300

export const sendOptions: OptionSpecs = {
  'secret-file': { value: 'FILE', help: 'the secret both sides share (else PACELINE_SECRET)' },
  ...pathSecretOptions,
  'max-bitrate': { value: 'BPS', help: 'send at most so many bits per second, 8k or more: 500k, 100M, 2.5G' },
  'handshake-timeout': { value: 'TIME', help: 'give up when nobody answers: 10ms to 600s (default 10s)' },
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

/** Files at the same time: small ones wait for their round trip and for the receiver's disk, large ones for nothing. */
const MAX_FILES_AT_ONCE = 64
/** Bytes of them: a file of that size, or a larger one, goes alone. */
const MAX_BYTES_AT_ONCE = 16 << 20
/** More files than this get one line together. */
const MOST_LINES = 20

export async function runSend(args: readonly string[]): Promise<number> {
  const options = parseOptions('send', sendOptions, args)
  const { switches, values, positionals } = options
  const [target, ...paths] = positionals
  if (target === undefined) throw new UsageError('expected HOST:PORT and at least one FILE, got neither', 'send')
  const { host, port } = address('send', target)
  if (paths.length === 0) throw new UsageError(`expected at least one FILE after ${target}, got none`, 'send')
  const maxBitrate = values.get('max-bitrate')
  const connectOptions = {
    handshakeTimeout: handshake('send', values.get('handshake-timeout')),
    ...(maxBitrate !== undefined && { maxBitrate: bitrate('send', 'max-bitrate', maxBitrate) }),
  }
  const idleTimeout = idle('send', values.get('idle-timeout'))
  const name = values.get('name')
  if (name !== undefined && !paths.includes('-')) throw new UsageError('expected "-" (stdin) beside --name, got none', 'send')
  const quiet = switches.has('quiet')
  const json = switches.has('json')
  const keys = await connectKeys('send', options)
  const interrupt = onInterrupt()
  const listing = await listSources(paths, name ?? 'stdin', !switches.has('no-times'))
  const remote = await resolve(host)
  const endpoint = await Endpoint.bind({ host: remote.family === 6 ? '::' : '0.0.0.0', idleTimeout })
  let closeMs = CLOSE_MS
  try {
    const peer = await awaited(`connecting to ${target}`, quiet, endpoint.connect(remote.address, port, { ...connectOptions, ...keys, signal: interrupt }))
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
    const title = files.length === 1 ? (files[0]?.name ?? '') : files.length
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
    const what = `${grouped(whole.length)} files${folders === 0 ? '' : ` in ${folders} ${folders === 1 ? 'folder' : 'folders'}`}`
    const each = `${((1000 * whole.length) / Math.max(1, milliseconds)).toFixed(0)} files/s`
    return `sent ${what}  ${size(bytes)} in ${(milliseconds / 1000).toFixed(2)} s (${bits((bytes * 8000) / Math.max(1, milliseconds))}, ${each})`
  }
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


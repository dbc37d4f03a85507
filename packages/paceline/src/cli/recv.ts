import { resolve } from 'node:path'
import { Endpoint, type Peer, type Stream } from '../index.js'
import { hostPort } from '../host-port.js'
import { takeStreams } from './accept.js'
import { Board } from './board.js'
import { ExitCode, Fault, UsageError, isLocalDisk, meaning, pacelineCode, systemCode, told } from './faults.js'
import { IncomingFile, type IncomingOptions } from './incoming.js'
import { onInterrupt } from './interrupt.js'
import { idle, integer, parseOptions, type OptionSpecs } from './options.js'
import { paint, printable, say, sayJson, sayResult, size } from './output.js'
import { listenKeys, pathSecretOptions } from './path-secret.js'
import { DiskError, checkFolder } from './partial.js'
import { Kind, ProtocolError, Verdict, type Answer, type FileHead } from './protocol.js'

/** Files received at the same time; the next wait in the transport, which bounds them too. All of them hold up to 32 MiB. */
const MAX_FILES_AT_ONCE = 64
/** Each new file waits for the disk, several together for as long as one: more than the four that Node would let wait. */
const THREADS = '16'
const CLOSE_MS = 1000
const INTERRUPTED_CLOSE_MS = 300

export const recvOptions: OptionSpecs = {
  'secret-file': { value: 'FILE', help: 'the secret both sides share (else PACELINE_SECRET); a line per rotation entry' },
  ...pathSecretOptions,
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
  const options = parseOptions('recv', recvOptions, args)
  const { switches, values, positionals } = options
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
  const idleTimeout = idle('recv', values.get('idle-timeout'))
  // Read when the first of them begins.
  process.env['UV_THREADPOOL_SIZE'] ??= THREADS
  const keys = await listenKeys('recv', 'sender', options)
  if (!toStdout) await checkFolder(folder)
  const interrupt = onInterrupt()
  const host = values.get('host')
  const endpoint = await listen(port, host, keys, idleTimeout)
  const receiverOptions = { json: switches.has('json'), quiet: switches.has('quiet'), overwrite: switches.has('overwrite'), toStdout }
  return new Receiver(endpoint, folder, count, receiverOptions, interrupt).run()
}

async function listen(port: number, host: string | undefined, keys: Awaited<ReturnType<typeof listenKeys>>, idleTimeout: number): Promise<Endpoint> {
  const options = { port, ...keys, idleTimeout, ...(host !== undefined && { host }) }
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

interface ReceiverOptions extends IncomingOptions {
  readonly json: boolean
  readonly quiet: boolean
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
  readonly #interrupt: AbortSignal
  #admitted = 0
  #over = 0
  #stored = 0
  #failed = 0

  constructor(endpoint: Endpoint, folder: string, count: number, options: ReceiverOptions, interrupt: AbortSignal) {
    this.#endpoint = endpoint
    this.#folder = folder
    this.#count = count
    this.#options = options
    this.#board = new Board(options.quiet)
    this.#interrupt = interrupt
  }

  async run(): Promise<number> {
    const interrupt = this.#interrupt
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
    const announce = () => this.#announce()
    await takeStreams(this.#endpoint, this.#stop.signal, announce, async (stream) => {
      const task = this.#receive(stream).finally(() => this.#active.delete(task))
      this.#active.add(task)
      if (this.#active.size >= MAX_FILES_AT_ONCE) await Promise.race(this.#active)
    })
  }

  #announce(): void {
    const { address, port } = this.#endpoint.address
    if (this.#options.json) sayJson({ event: 'listening', address, port })
    else say(`listening on ${hostPort(this.#endpoint.address)}, receiving ${this.#options.toStdout ? 'for stdout' : `into ${this.#folder}`}`)
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
    // Streams that break because we leave have no reason of their own.
    const why = this.#interrupt.aborted ? 'an interrupt here' : printable(told(error, 'the sender'))
    const message = `expected ${name} to arrive whole, got: ${why}${kept}`
    if (this.#options.json) sayJson({ event: 'file', ok: false, name: file.head?.name ?? null, code: pacelineCode(error) ?? null, error: message })
    this.#board.clear()
    say(`${paint('red', 'paceline:')} ${message}`)
  }
}

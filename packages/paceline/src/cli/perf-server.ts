import { Endpoint, type Peer, type Stream } from '../index.js'
import { hostPort } from '../host-port.js'
import { takeStreams } from './accept.js'
import { DEFAULT_PORT } from './doctor.js'
import { ExitCode, Fault, UsageError, oneLine, systemCode, meaning, told } from './faults.js'
import { onInterrupt } from './interrupt.js'
import { integer, parseOptions, type OptionSpecs } from './options.js'
import { bits, paint, printable, say, sayJson } from './output.js'
import { listenKeys, pathSecretOptions } from './path-secret.js'
import { IDLE_MS, MAX_PARALLEL } from './perf-limits.js'
import { checkPlan, encodeTalk, readHead, TalkReader, type Plan } from './perf-protocol.js'
import { intervalHead, intervalRows, Meter, type SideReport } from './perf-report.js'
import { Traffic } from './perf-traffic.js'
import { ByteReader } from './protocol.js'

const CLOSE_MS = 300
/** When the client says that a test is over, what it has sent and we have not read has so long to come. */
const SETTLE_MS = 2000

export const perfServerOptions: OptionSpecs = {
  'secret-file': { value: 'FILE', help: 'the secret both sides share (else PACELINE_SECRET)' },
  ...pathSecretOptions,
  port: { value: 'PORT', help: `the UDP port to listen on; 0 takes a free one (default ${DEFAULT_PORT})` },
  host: { value: 'ADDRESS', help: 'the address to listen on (default: all)' },
  once: { help: 'end after one test (always with --path-secret-file); exit code 1 if it broke off' },
  json: { help: 'print one JSON object per event on stdout: listening, test, failed' },
  quiet: { help: 'no lines per interval' },
  help: { help: 'this text' },
}

export const perfServerUsage = 'paceline perf server [OPTION…]'

export async function runPerfServer(args: readonly string[]): Promise<number> {
  const options = parseOptions('perf server', perfServerOptions, args)
  const { switches, values, positionals } = options
  if (positionals.length > 0) throw new UsageError(`expected options only, got ${positionals.join(' ')}`, 'perf server')
  const portText = values.get('port')
  const port = portText === undefined ? DEFAULT_PORT : integer('perf server', 'port', portText, 0, 65_535)
  const host = values.get('host')
  const keys = await listenKeys('perf server', 'client', options)
  // A second client would repeat the keys and nonces of the first.
  const single = 'pathSecret' in keys
  const once = switches.has('once') || single
  const interrupt = onInterrupt()
  // Every stream of a test, those of the test before that are not quite over, and the talk.
  const maxIncomingStreams = 4 * MAX_PARALLEL
  const endpoint = await Endpoint.listen({ port, ...keys, idleTimeout: IDLE_MS, maxIncomingStreams, ...(host !== undefined && { host }) }).catch((error: unknown) => {
    const code = systemCode(error)
    if (code === undefined) throw error
    const what = code === 'EADDRINUSE' || code === 'EACCES' ? 'a free UDP port for --port' : 'an address of this machine for --host'
    throw new Fault(`expected ${what}, got ${host ?? '*'}:${port}: ${meaning(error)}`, { cause: error })
  })
  const server = new Server(endpoint, { json: switches.has('json'), quiet: switches.has('quiet'), once, knowsPort: !single }, interrupt)
  try {
    return await server.run()
  } catch (error) {
    interrupt.throwIfAborted()
    throw error
  } finally {
    await endpoint.close({ deadline: CLOSE_MS }).catch(() => {})
  }
}

interface ServerOptions {
  readonly json: boolean
  readonly quiet: boolean
  readonly once: boolean
  /** With a path secret the address is the file's, and any port of it will do. */
  readonly knowsPort: boolean
}

class Server {
  readonly #endpoint: Endpoint
  readonly #options: ServerOptions
  readonly #interrupt: AbortSignal
  readonly #done = new AbortController()
  #test: Test | undefined
  #failed = 0

  constructor(endpoint: Endpoint, options: ServerOptions, interrupt: AbortSignal) {
    this.#endpoint = endpoint
    this.#options = options
    this.#interrupt = interrupt
  }

  async run(): Promise<number> {
    const stop = AbortSignal.any([this.#interrupt, this.#done.signal])
    const announce = () => this.#announce()
    await takeStreams(this.#endpoint, stop, announce, (stream) => void this.#take(stream))
    this.#interrupt.throwIfAborted()
    return this.#failed === 0 ? ExitCode.Ok : ExitCode.Failed
  }

  #announce(): void {
    const { address, port } = this.#endpoint.address
    if (this.#options.json) sayJson({ event: 'listening', address, port })
    else say(`listening on ${hostPort(this.#endpoint.address)}, for paceline perf client`)
  }

  async #take(stream: Stream): Promise<void> {
    try {
      const reader = new ByteReader(stream)
      const head = await readHead(reader)
      if (head.kind === 'talk') return await this.#talk(stream, new TalkReader(reader))
      const test = this.#test
      if (test === undefined || test.peer !== stream.peer) throw new Fault('a stream without a test')
      await (head.kind === 'bulk' ? test.bulk(stream, reader, head.index) : test.traffic.answer(stream, reader, head.replyBytes))
    } catch {
      // What a test misses, its counts tell; strangers hear nothing.
      stream.destroy()
    }
  }

  async #talk(stream: Stream, reader: TalkReader): Promise<void> {
    const tell = (message: object) => stream.writer.write(encodeTalk(false, message))
    if (this.#test !== undefined) {
      await tell({ busy: 'a server that runs another test' })
      await stream.close({ deadline: CLOSE_MS })
      return
    }
    const { remoteAddress } = stream.peer
    const who = remoteAddress === undefined ? 'a client' : this.#options.knowsPort ? hostPort(remoteAddress) : remoteAddress.address
    let test: Test | undefined
    try {
      const plan = checkPlan((await reader.next()) ?? {})
      this.#test = test = new Test(this.#endpoint, stream.peer, plan, this.#options)
      if (!this.#options.json) say(`test from ${who}`)
      test.start()
      await tell({ ready: true })
      const over = await reader.next()
      if (over?.['over'] !== true) throw new Fault('the client broke off')
      await test.traffic.settled(SETTLE_MS)
      const server = test.finish()
      // Who has got our word may ask for the next test at once.
      this.#test = undefined
      await tell({ server })
      this.#tell(who, plan, over['client'], server)
      await stream.close({ deadline: CLOSE_MS })
    } catch (error) {
      this.#failed++
      const message = `expected a whole test from ${who}, got: ${printable(told(error, 'the client'))}`
      await tell({ error: oneLine(error) }).catch(() => {})
      if (this.#options.json) sayJson({ event: 'failed', error: message })
      if (!this.#interrupt.aborted) say(`${paint('red', 'paceline:')} ${message}`)
      stream.destroy()
    } finally {
      test?.end()
      if (this.#test === test) this.#test = undefined
      if (this.#options.once) this.#done.abort()
    }
  }

  #tell(who: string, plan: Plan, client: unknown, server: SideReport): void {
    if (this.#options.json) return sayJson({ event: 'test', remote: who, plan, client, server })
    const parts = plan.mode === 'streams'
      ? [`${server.streams?.count ?? 0} streams answered`]
      : [...(plan.sends ? [`received ${bits(server.receivedBitsPerSecond)}`] : []), ...(plan.receives ? [`sent ${bits(server.sentBitsPerSecond)}`] : [])]
    process.stdout.write(`${who}  ${parts.join(', ')} in ${server.seconds.toFixed(2)} s  CPU ${server.cpuPercent.toFixed(0)} %\n`)
  }
}

/** One test, at the server. */
class Test {
  readonly peer: Peer
  readonly traffic: Traffic
  readonly #plan: Plan
  readonly #meter: Meter
  readonly #quiet: boolean
  readonly #stop = new AbortController()

  constructor(endpoint: Endpoint, peer: Peer, plan: Plan, options: ServerOptions) {
    this.peer = peer
    this.#plan = plan
    this.#quiet = options.quiet || options.json
    this.traffic = new Traffic(plan, 'server', this.#stop.signal)
    this.#meter = new Meter(endpoint, peer, this.traffic)
    peer.maxBitrate = plan.receives ? plan.bitsPerSecond : 0
  }

  start(): void {
    const plan = this.#plan
    if (!this.#quiet && plan.intervalMs > 0) process.stdout.write(intervalHead(plan))
    this.#meter.start(plan.intervalMs, (interval) => {
      if (!this.#quiet) process.stdout.write(intervalRows(interval, plan, plan.receives, plan.sends))
    })
  }

  async bulk(stream: Stream, reader: ByteReader, index: number): Promise<void> {
    await this.traffic.bulk(stream, reader, index, 0)
  }

  finish(): SideReport {
    this.#meter.stop(this.#plan.intervalMs, () => {})
    return this.#meter.report(this.#plan)
  }

  end(): void {
    this.#meter.stop(0, () => {})
    this.#stop.abort(new Fault('the test is over'))
  }
}

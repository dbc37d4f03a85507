import { lookup } from 'node:dns/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { Endpoint, type Peer, type Stream } from '../index.js'
import { DEFAULT_PORT } from './doctor.js'
import { ExitCode, Fault, UsageError, meaning } from './faults.js'
import { onInterrupt } from './interrupt.js'
import { beside, columnsOf } from './layout.js'
import { addressOr, bitrate, byteCount, handshake, integer, parseOptions, seconds, type OptionSpecs } from './options.js'
import { bits, paint, say, sayJson, size } from './output.js'
import { connectKeys, pathSecretOptions } from './path-secret.js'
import { describeGate, judgeGate, parseGate, readBaseline, type GateVerdict } from './perf-gate.js'
import { IDLE_MS, MAX_PARALLEL, MAX_SECONDS, MAX_SHORT_BYTES } from './perf-limits.js'
import { encodeHead, encodeTalk, TalkReader, type Plan } from './perf-protocol.js'
import { intervalHead, intervalRows, Meter, span, type Interval, type SideReport } from './perf-report.js'
import { Traffic } from './perf-traffic.js'
import { awaited } from './progress.js'
import { ByteReader } from './protocol.js'
import { packageVersion } from './version.js'

const DEFAULT_MS = 10_000
const DEFAULT_SHORT_BYTES = 1024
const DEFAULT_SHORT_PARALLEL = 64
const CLOSE_MS = 300
/** A test that does not end by itself: after its time, and what is out then, something is broken. */
const PATIENCE_MS = 15_000

export const perfClientOptions: OptionSpecs = {
  'secret-file': { value: 'FILE', help: 'the secret both sides share (else PACELINE_SECRET)' },
  ...pathSecretOptions,
  duration: { short: 't', value: 'TIME', help: 'how long: 10ms to 3600s (default 10s)' },
  bytes: { short: 'n', value: 'SIZE', help: 'instead of a time: so much each way, 100M, 1Gi; with --streams the size of each request and reply (default 1Ki)' },
  reverse: { short: 'R', help: 'the server sends' },
  bidir: { help: 'both send at the same time' },
  parallel: { short: 'P', value: 'N', help: 'so many streams at the same time (default 1; with --streams 64)' },
  rate: { short: 'b', value: 'BPS', help: 'at most so many bits per second each way, 8k or more: 500k, 100M, 2.5G' },
  streams: { value: 'N', help: 'instead of bulk: N short streams in all (0: as many as --duration allows), each a request and its reply; tells streams per second and latency' },
  interval: { short: 'i', value: 'TIME', help: 'a line per so much time, 0 for none (default 1s)' },
  baseline: { value: 'FILE', help: 'compare with an earlier --json output; exit code 3 if slower' },
  'fail-below': { value: 'X', help: 'exit code 3 below X: 90% (of the baseline; the default beside --baseline), 500M (bits per second), with --streams a number per second' },
  'handshake-timeout': { value: 'TIME', help: 'give up when nobody answers: 10ms to 600s (default 10s)' },
  json: { help: 'print one JSON object with the result on stdout, no lines' },
  quiet: { help: 'only the result' },
  help: { help: 'this text' },
}

export const perfClientUsage = 'paceline perf client [OPTION…] HOST[:PORT]'

/** The object of `perf client --json`; docs/cli.md names its fields. */
export interface PerfReport {
  ok: boolean
  version: string
  remote: { host: string; port: number }
  plan: Plan
  client: SideReport
  server: SideReport
  gate: GateVerdict | null
}

export async function runPerfClient(args: readonly string[]): Promise<number> {
  const options = parseOptions('perf client', perfClientOptions, args)
  const { switches, values, positionals } = options
  const [target, ...more] = positionals
  if (target === undefined || more.length > 0) throw new UsageError(`expected one HOST[:PORT], got ${target === undefined ? 'none' : positionals.join(' ')}`, 'perf client')
  const where = addressOr('perf client', target, DEFAULT_PORT)
  const plan = parsePlan(switches, values)
  const gate = parseGate(values.get('baseline'), values.get('fail-below'), plan.mode === 'streams')
  const handshakeTimeout = handshake('perf client', values.get('handshake-timeout'))
  const json = switches.has('json')
  const baseline = await readBaseline(gate)
  const keys = await connectKeys('perf client', options)
  const interrupt = onInterrupt()
  const remote = await lookup(where.host).catch((error: unknown) => {
    throw new Fault(`expected a host that can be found, got ${where.host}: ${meaning(error)}`)
  })
  const endpoint = await Endpoint.bind({ host: remote.family === 6 ? '::' : '0.0.0.0', idleTimeout: IDLE_MS })
  try {
    const peer = await awaited(`connecting to ${target}`, switches.has('quiet'), endpoint.connect(remote.address, where.port, { ...keys, handshakeTimeout, maxBitrate: plan.bitsPerSecond, signal: interrupt }))
    const sides = await new Client(endpoint, peer, plan, json || switches.has('quiet'), interrupt).run()
    const whole = sides.client.sentBytes === sides.server.receivedBytes && sides.server.sentBytes === sides.client.receivedBytes
    const cut = sides.client.undeliveredBytes + sides.server.undeliveredBytes > 0
    const report: PerfReport = {
      ok: (whole || cut || plan.mode === 'streams') && (sides.client.streams?.failed ?? 0) === 0,
      version: packageVersion(),
      remote: where,
      plan,
      ...sides,
      gate: null,
    }
    if (gate !== undefined) report.gate = judgeGate(gate, report, baseline)
    if (json) sayJson(report)
    else process.stdout.write(render(report))
    if (!report.ok) say(`${paint('red', 'paceline:')} expected both ends to count the same, got ${describeDifference(report)}`)
    if (report.gate?.ok === false) for (const line of describeGate(report.gate)) say(`${paint('red', 'paceline:')} ${line}`)
    return !report.ok ? ExitCode.Failed : report.gate?.ok === false ? ExitCode.Slow : ExitCode.Ok
  } catch (error) {
    interrupt.throwIfAborted()
    throw error
  } finally {
    await endpoint.close({ deadline: CLOSE_MS }).catch(() => {})
  }
}

function describeDifference({ client, server }: PerfReport): string {
  const failed = client.streams?.failed ?? 0
  if (failed > 0) return `${failed} streams that failed`
  return `${client.sentBytes} sent and ${server.receivedBytes} received, ${server.sentBytes} sent and ${client.receivedBytes} received back`
}

function parsePlan(switches: ReadonlySet<string>, values: ReadonlyMap<string, string>): Plan {
  const both = (one: string, ...others: string[]) => {
    const other = others.find((name) => switches.has(name) || values.has(name))
    if ((switches.has(one) || values.has(one)) && other !== undefined) throw new UsageError(`expected --${one} or --${other}, got both`, 'perf client')
  }
  both('bidir', 'reverse')
  both('streams', 'bidir', 'reverse', 'rate')
  const short = values.has('streams')
  if (!short) both('bytes', 'duration')
  const text = (name: string) => values.get(name)
  const given = <T>(name: string, parse: (value: string) => T, fallback: T): T => {
    const value = text(name)
    return value === undefined ? fallback : parse(value)
  }
  const count = given('streams', (value) => integer('perf client', 'streams', value, 0, 1e9), 0)
  const bytes = given('bytes', (value) => byteCount('perf client', 'bytes', value, 1, short ? MAX_SHORT_BYTES : 1e15), short ? DEFAULT_SHORT_BYTES : 0)
  const endless = short ? count > 0 : bytes > 0
  return {
    mode: short ? 'streams' : 'bulk',
    sends: short || !switches.has('reverse'),
    receives: short || switches.has('reverse') || switches.has('bidir'),
    parallel: given('parallel', (value) => integer('perf client', 'parallel', value, 1, MAX_PARALLEL), short ? DEFAULT_SHORT_PARALLEL : 1),
    milliseconds: given('duration', (value) => seconds('perf client', 'duration', value, 10, MAX_SECONDS * 1000), endless ? 0 : DEFAULT_MS),
    bytes,
    streams: count,
    bitsPerSecond: given('rate', (value) => bitrate('perf client', 'rate', value), 0),
    intervalMs: given('interval', (value) => (value === '0' ? 0 : seconds('perf client', 'interval', value, 100, MAX_SECONDS * 1000)), 1000),
  }
}

class Client {
  readonly #endpoint: Endpoint
  readonly #peer: Peer
  readonly #plan: Plan
  readonly #quiet: boolean
  readonly #interrupt: AbortSignal

  constructor(endpoint: Endpoint, peer: Peer, plan: Plan, quiet: boolean, interrupt: AbortSignal) {
    this.#endpoint = endpoint
    this.#peer = peer
    this.#plan = plan
    this.#quiet = quiet
    this.#interrupt = interrupt
  }

  async run(): Promise<{ client: SideReport; server: SideReport }> {
    const plan = this.#plan
    const broken = new AbortController()
    const stop = AbortSignal.any([this.#interrupt, broken.signal])
    const talk = this.#peer.openStream({ signal: stop })
    const reader = new TalkReader(new ByteReader(talk))
    const say = (message: object, first = false) => talk.writer.write(encodeTalk(first, message), { signal: stop })
    await say(plan, true)
    const answer = await told(reader)
    if (answer['ready'] !== true) throw new Fault(`expected the server to be ready, got ${typeof answer['busy'] === 'string' ? answer['busy'] : 'another answer'}`)
    const traffic = new Traffic(plan, 'client', stop)
    const meter = new Meter(this.#endpoint, this.#peer, traffic)
    const tell = (interval: Interval) => {
      if (!this.#quiet) process.stdout.write(intervalRows(interval, plan, plan.sends, plan.receives))
    }
    if (!this.#quiet && plan.intervalMs > 0) process.stdout.write(intervalHead(plan))
    meter.start(plan.intervalMs, tell)
    // The server's word comes last; one that comes early, or an end, means that it gave up.
    const word = told(reader)
    word.catch((error: unknown) => broken.abort(error))
    try {
      await withPatience(this.#load(traffic, stop), plan.milliseconds === 0 ? Number.POSITIVE_INFINITY : plan.milliseconds + PATIENCE_MS, stop)
      meter.stop(plan.intervalMs, tell)
      const client = meter.report(plan)
      await say({ over: true, client })
      const { server } = await word
      await talk.close({ deadline: CLOSE_MS })
      return { client, server: server as SideReport }
    } catch (error) {
      throw stop.aborted ? stop.reason : error
    } finally {
      meter.stop(0, tell)
      talk.destroy()
    }
  }

  async #load(traffic: Traffic, stop: AbortSignal): Promise<void> {
    const { mode, parallel } = this.#plan
    if (mode === 'streams') return traffic.ask(() => this.#peer.openStream())
    const streams: Stream[] = Array.from({ length: parallel }, () => this.#peer.openStream({ signal: stop }))
    await Promise.all(
      streams.map(async (stream, index) => {
        await stream.writer.write(encodeHead('bulk', index), { signal: stop })
        await traffic.bulk(stream, new ByteReader(stream), index, Traffic.HEAD)
      }),
    )
  }
}

async function told(reader: TalkReader): Promise<Readonly<Record<string, unknown>>> {
  const message = await reader.next()
  if (message === undefined) throw new Fault('expected the server to answer, got the end of the talk')
  if (typeof message['error'] === 'string') throw new Fault(`expected the server to carry the test out, got: ${message['error']}`)
  return message
}

async function withPatience(work: Promise<void>, milliseconds: number, stop: AbortSignal): Promise<void> {
  if (!Number.isFinite(milliseconds)) return work
  const over = new AbortController()
  const tooLong = sleep(milliseconds, undefined, { signal: AbortSignal.any([over.signal, stop]) }).then(() => {
    throw new Fault(`expected the test to end within ${milliseconds / 1000} s, got no end`)
  })
  tooLong.catch(() => {})
  await Promise.race([work, tooLong]).finally(() => over.abort())
}

/** The summary below the intervals. */
function render({ plan, client, server }: PerfReport): string {
  const rows: [string, string][] = []
  const direction = (name: string, from: SideReport, to: SideReport) => {
    const cut = from.undeliveredBytes > 0 ? `, ${size(from.undeliveredBytes)} cut off` : ''
    rows.push([name, `${bits(to.receivedBitsPerSecond)}  ${size(to.receivedBytes)} in ${to.seconds.toFixed(2)} s${cut}`])
  }
  if (plan.mode === 'streams' && client.streams !== null) {
    const { count, failed, perSecond, latencyUs } = client.streams
    rows.push(['streams', `${perSecond.toFixed(0)} a second  ${count} in ${client.seconds.toFixed(2)} s${failed > 0 ? `, ${failed} failed` : ''}`])
    rows.push(['latency', `p50 ${span(latencyUs.p50)}, p90 ${span(latencyUs.p90)}, p99 ${span(latencyUs.p99)}, most ${span(latencyUs.max)}`])
  } else {
    if (plan.sends) direction('goodput there', client, server)
    if (plan.receives) direction('goodput back', server, client)
  }
  rows.push(['round trip', `${span(client.smoothedRttUs)}, least ${span(client.minRttUs)}`])
  const each = (name: string, of: (side: SideReport) => string) => rows.push([name, `client ${of(client)}; server ${of(server)}`])
  each('retransmitted', (side) => `${side.retransmittedPackets} of ${side.packets} packets`)
  each('pacing error', ({ pacingErrorUs: { p50, p99 } }) => `p50 ${span(p50)}, p99 ${span(p99)}`)
  each('CPU', ({ cpuPercent }) => `${cpuPercent.toFixed(0)} %`)
  rows.push(['cipher', `${client.cipher}, datagrams of ${client.mtu} bytes`])
  const width = Math.max(...rows.map(([name]) => name.length)) + 2
  // A pipe gets a line for each, however long the numbers are.
  const columns = process.stdout.isTTY ? columnsOf(process.stdout) : Number.POSITIVE_INFINITY
  return `\n${rows.map(([name, value]) => beside(name, width, value, columns)).join('')}`
}

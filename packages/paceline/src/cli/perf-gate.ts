import { readFile } from 'node:fs/promises'
import { Fault, UsageError, meaning } from './faults.js'
import { bits } from './output.js'
import type { PerfReport } from './perf-client.js'

/** Of a baseline, unless `--fail-below` says otherwise. Loopback on a shared machine varies by less. */
const DEFAULT_SHARE = 0.9
const MAX_FILE_BYTES = 16 << 20

/** What a result must reach. */
export interface Gate {
  readonly file: string | undefined
  /** Of the baseline. */
  readonly share: number | undefined
  /** Bits per second, or streams per second. */
  readonly absolute: number | undefined
}

/** A number that a gate compares: goodput of the slower direction, or streams per second. */
interface Figure {
  readonly name: string
  readonly value: number
  readonly unit: 'bitsPerSecond' | 'streamsPerSecond'
}

/** What became of it; part of `--json`. */
export interface GateVerdict {
  ok: boolean
  unit: Figure['unit']
  figures: { name: string; value: number; required: number; baseline: number | null }[]
}

/** `90%`, `500M` (bits per second), or with `--streams` a number of streams per second. */
export function parseGate(baseline: string | undefined, failBelow: string | undefined, streams: boolean): Gate | undefined {
  if (failBelow === undefined) return baseline === undefined ? undefined : { file: baseline, share: DEFAULT_SHARE, absolute: undefined }
  const refuse = (expected: string) => new UsageError(`expected --fail-below ${expected}, got "${failBelow}"`, 'perf client')
  const match = /^(\d+(?:\.\d+)?)(%|[kMG]?)$/.exec(failBelow)
  if (match === null) throw refuse('as a share (90%), bits per second (500M), or with --streams streams per second (20k)')
  const value = Number(match[1])
  if (match[2] === '%') {
    if (baseline === undefined) throw refuse('as a share only beside --baseline FILE')
    if (value > 1000) throw refuse('up to 1000%')
    return { file: baseline, share: value / 100, absolute: undefined }
  }
  if (baseline !== undefined) throw refuse('as a share (90%) beside --baseline')
  const absolute = value * ({ k: 1e3, M: 1e6, G: 1e9 }[match[2] ?? ''] ?? 1)
  if (!streams && absolute < 1000) throw refuse('from 1k bits per second')
  return { file: undefined, share: undefined, absolute }
}

/** Before the test: a baseline that cannot be read should not cost its time. */
export async function readBaseline(gate: Gate | undefined): Promise<PerfReport | undefined> {
  const file = gate?.file
  if (file === undefined) return undefined
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    throw new Fault(`expected a readable --baseline, got ${file}: ${meaning(error)}; make one with: npx paceline perf client … --json > FILE`)
  })
  try {
    if (text.length > MAX_FILE_BYTES) throw new Error('too long')
    const report = JSON.parse(text.trim().split('\n').at(-1) ?? '') as PerfReport
    if (figures(report).every(({ value }) => Number.isFinite(value) && value > 0)) return report
  } catch {
    // The same as one without figures.
  }
  throw new Fault(`expected the output of perf client --json in ${file}, got something else`)
}

function figures({ plan, client, server }: PerfReport): Figure[] {
  if (plan.mode === 'streams') return [{ name: 'streams', value: client.streams?.perSecond ?? Number.NaN, unit: 'streamsPerSecond' }]
  const found: Figure[] = []
  if (plan.sends) found.push({ name: 'send', value: server.receivedBitsPerSecond, unit: 'bitsPerSecond' })
  if (plan.receives) found.push({ name: 'receive', value: client.receivedBitsPerSecond, unit: 'bitsPerSecond' })
  return found
}

/** Compares; a direction that the baseline has not is a mistake of its user. */
export function judgeGate(gate: Gate, report: PerfReport, baseline: PerfReport | undefined): GateVerdict {
  const before = baseline === undefined ? [] : figures(baseline)
  const compared = figures(report).map(({ name, value, unit }) => {
    const old = before.find((figure) => figure.name === name && figure.unit === unit)
    if (baseline !== undefined && old === undefined) throw new Fault(`expected a baseline of the same kind of test, got one without ${name} in ${gate.file}`)
    return { name, value, required: Math.round(gate.absolute ?? (old?.value ?? 0) * (gate.share ?? 1)), baseline: old?.value ?? null }
  })
  return { ok: compared.every(({ value, required }) => value >= required), unit: report.plan.mode === 'streams' ? 'streamsPerSecond' : 'bitsPerSecond', figures: compared }
}

/** A line for each figure. */
export function describeGate({ unit, figures: compared }: GateVerdict): string[] {
  const text = (value: number) => (unit === 'bitsPerSecond' ? bits(value) : `${value.toFixed(0)} streams/s`)
  return compared.map(({ name, value, required, baseline }) => {
    const versus = baseline === null ? '' : ` (baseline ${text(baseline)}, now ${((value / baseline) * 100).toFixed(0)} % of it)`
    return `expected ${name} of at least ${text(required)}, got ${text(value)}${versus}`
  })
}

import type { Verdict } from '../simulator.js'
import { paint, size, time } from './output.js'
import { rounded } from './report.js'

/** `failed` names this many seeds at most; `failures` counts all. */
const MAX_FAILED = 100

/** What `sim --json` prints as its last line. */
export interface SimReport {
  seeds: number
  failures: number
  virtualSeconds: number
  wallSeconds: number
  /** How often each kind really happened. */
  faults: Record<string, number>
  invariantsChecked: number
  streams: number
  bytes: number
  packets: number
  steps: number
  /** The longest of any world, by what it took so long. */
  worstMs: Record<string, number>
  /** Sum of the hashes of all event logs: the same for the same seeds, in whatever order they ran. */
  logHash: string
  failed: { seed: number; what: string }[]
  /** Not all seeds were run. */
  interrupted?: true
}

const SUMMED = ['invariantsChecked', 'streams', 'bytes', 'packets', 'steps'] as const

/** Verdicts, added up. */
export class SimTotals {
  readonly #begin = performance.now()
  readonly #failed: { seed: number; what: string }[] = []
  readonly #faults: Record<string, number> = {}
  readonly #worstMs: Record<string, number> = {}
  readonly #sums: Record<(typeof SUMMED)[number], number> = { invariantsChecked: 0, streams: 0, bytes: 0, packets: 0, steps: 0 }
  #virtualMs = 0
  #hash = 0n
  seeds = 0
  failures = 0

  /** A verdict of a world that broke down altogether has little but a seed and a failure. */
  add(verdict: Pick<Verdict, 'seed' | 'failure'> & Partial<Verdict>): void {
    this.seeds++
    for (const name of SUMMED) this.#sums[name] += verdict[name] ?? 0
    for (const [kind, count] of Object.entries(verdict.faults ?? {})) this.#faults[kind] = (this.#faults[kind] ?? 0) + count
    for (const [name, ms] of Object.entries(verdict.worstMs ?? {})) this.#worstMs[name] = Math.max(this.#worstMs[name] ?? 0, ms)
    this.#virtualMs += verdict.virtualMs ?? 0
    this.#hash = BigInt.asUintN(64, this.#hash + BigInt(`0x${verdict.logHash ?? '0'}`))
    if (verdict.failure === null) return
    this.failures++
    this.#failed.push({ seed: verdict.seed, what: verdict.failure })
    this.#failed.sort((a, b) => a.seed - b.seed)
    this.#failed.splice(MAX_FAILED)
  }

  /** The failed world with the smallest seed. */
  get firstFailed(): number | undefined {
    return this.#failed[0]?.seed
  }

  report(interrupted: boolean): SimReport {
    return {
      seeds: this.seeds,
      failures: this.failures,
      virtualSeconds: rounded(this.#virtualMs / 1000, 3),
      wallSeconds: rounded((performance.now() - this.#begin) / 1000, 3),
      faults: this.#faults,
      ...this.#sums,
      worstMs: this.#worstMs,
      logHash: this.#hash.toString(16).padStart(16, '0'),
      failed: this.#failed,
      ...(interrupted && { interrupted }),
    }
  }
}

export const count = (value: number): string => Math.round(value).toLocaleString('en-US')

/** The report for people: at most 80 columns. */
export function render(report: SimReport): string {
  const ratio = report.virtualSeconds / Math.max(report.wallSeconds, 0.001)
  const failures = `${count(report.failures)} ${report.failures === 1 ? 'failure' : 'failures'}`
  const rows: [string, string][] = [
    ['virtual time', `${time(report.virtualSeconds)} in ${report.wallSeconds < 10 ? `${report.wallSeconds.toFixed(2)} s` : time(report.wallSeconds)} (${count(ratio)} times real time)`],
    ['streams', count(report.streams)],
    ['delivered', `${size(report.bytes)}, ${count(report.packets)} packets`],
    ['invariants', `checked ${count(report.invariantsChecked)} times`],
    ['worst', Object.entries(report.worstMs).map(([name, ms]) => `${name} ${count(ms)} ms`).join(', ')],
    ['log hash', report.logHash],
  ]
  const cells = Object.entries(report.faults).map(([kind, value]) => `${kind.padEnd(16)}${count(value).padStart(10)}`)
  for (let at = 0; at < cells.length; at += 2) rows.push([at === 0 ? 'faults' : '', cells.slice(at, at + 2).join('    ')])
  const head = `${count(report.seeds)} ${report.seeds === 1 ? 'world' : 'worlds'}${report.interrupted === true ? ' before the interrupt' : ''}, `
  return `${head}${paint(report.failures > 0 ? 'red' : 'green', failures, process.stdout)}\n${rows.map(([name, value]) => `  ${name.padEnd(14)}${value}\n`).join('')}`
}

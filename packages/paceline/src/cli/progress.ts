import { paint, size, time } from './output.js'

/** How often a terminal is redrawn, and a pipe gets a line. */
const REDRAW_MS = 100
const LINE_MS = 2000
/** The rate shown is that of about the last second: long enough to be steady, short enough to notice a stall. */
const RATE_MEMORY_MS = 1000
const BAR_CELLS = 24

/** What is counted, in words. */
export interface Counted {
  (done: number, total: number, rate: number): string
}

const bytes: Counted = (done, total, rate) => `${size(done)} of ${size(total)}  ${size(rate)}/s`

/** Something's progress on stderr: a bar with rate and remaining time on a terminal, now and then a line in a pipe. */
export class Progress {
  readonly #name: string
  readonly #counted: Counted
  readonly #total: number
  readonly #quiet: boolean
  readonly #terminal = process.stderr.isTTY === true && process.env['TERM'] !== 'dumb'
  #done = 0
  /** The first line comes with the first bytes: also a transfer of a moment has one. */
  #shownAt = Number.NEGATIVE_INFINITY
  #rateAt = performance.now()
  #rateDone = 0
  #rate = 0

  constructor(name: string, total: number, quiet: boolean, counted: Counted = bytes) {
    this.#name = name
    this.#counted = counted
    this.#total = total
    this.#quiet = quiet
  }

  /** So much is done in all. */
  update(done: number): void {
    this.#done = done
    if (this.#quiet) return
    const now = performance.now()
    if (now - this.#shownAt < (this.#terminal ? REDRAW_MS : LINE_MS)) return
    this.#shownAt = now
    this.#measure(now)
    const line = this.#line()
    process.stderr.write(this.#terminal ? `\r\x1b[2K${line}` : `${line}\n`)
  }

  /** Takes the bar away, so that a line can stand in its place. */
  clear(): void {
    if (!this.#quiet && this.#terminal) process.stderr.write('\r\x1b[2K')
  }

  /** The rate forgets exponentially; the first second counts whole. */
  #measure(now: number): void {
    const elapsed = Math.max(1, now - this.#rateAt)
    const rate = ((this.#done - this.#rateDone) / elapsed) * 1000
    const weight = this.#rate === 0 ? 1 : 1 - Math.exp(-elapsed / RATE_MEMORY_MS)
    this.#rate += weight * (rate - this.#rate)
    this.#rateAt = now
    this.#rateDone = this.#done
  }

  #line(): string {
    const share = this.#total === 0 ? 1 : this.#done / this.#total
    const rest = this.#rate > 0 ? (this.#total - this.#done) / this.#rate : Number.POSITIVE_INFINITY
    const percent = `${String(Math.floor(share * 100)).padStart(3)} %`
    const numbers = `${percent}  ${this.#counted(this.#done, this.#total, this.#rate)}  ${time(rest)} left`
    if (!this.#terminal) return `${this.#name}  ${numbers.trimStart()}`
    const room = (process.stderr.columns || 80) - 1
    const cells = Math.min(BAR_CELLS, room - numbers.length - this.#name.length - 4)
    if (cells < 4) return `${this.#name}  ${numbers}`.slice(0, room)
    const full = Math.round(share * cells)
    return `${this.#name}  ${paint('green', '━'.repeat(full))}${paint('dim', '━'.repeat(cells - full))}  ${numbers}`
  }
}

import { cells, shorten } from './layout.js'
import { paint, size, time } from './output.js'

const REDRAW_MS = 100
/** The rate shown is that of about the last second: long enough to be steady, short enough to notice a stall. */
const RATE_MEMORY_MS = 1000
const BAR_CELLS = 24
/** Narrower bars say less than the percentage beside them. */
const LEAST_BAR = 4
const LEAST_NAME = 6

/** `1.20 of 3.45 GB`; a unit that is the same is said once. */
function share(done: number, total: number): string {
  const [part, whole] = [size(done), size(total)]
  const unit = / .*$/.exec(whole)?.[0] ?? ''
  return `${part.endsWith(unit) ? part.slice(0, -unit.length) : part} of ${whole}`
}

/** What is counted, in words. */
export interface Counted {
  (done: number, total: number, rate: number): string
}

const bytes: Counted = (done, total, rate) => (total > 0 ? `${share(done, total)}  ${size(rate)}/s` : `${size(done)}  ${size(rate)}/s`)

/** Something's progress on stderr: a bar with rate and remaining time on a terminal, nothing in a pipe. */
export class Progress {
  readonly #counted: Counted
  readonly #tail: () => string
  #name: string | number
  /** 0: not known. */
  #total: number
  readonly #quiet: boolean
  #done = 0
  /** The first line comes with the first bytes: also a transfer of a moment has one. */
  #shownAt = Number.NEGATIVE_INFINITY
  #rateAt = performance.now()
  #rateDone = 0
  #rate = 0
  #visible = false

  /** `name`: of what, or of how many files. */
  constructor(name: string | number, total: number, quiet: boolean, counted: Counted = bytes, tail: () => string = () => '') {
    this.#name = name
    this.#counted = counted
    this.#tail = tail
    this.#total = total
    this.#quiet = quiet || process.stderr.isTTY !== true || process.env['TERM'] === 'dumb'
  }

  /** What it is about has changed. */
  retitle(name: string | number, total: number): void {
    this.#name = name
    this.#total = total
  }

  /** From nothing again. */
  restart(): void {
    this.#done = this.#rateDone = this.#rate = 0
    this.#rateAt = performance.now()
    this.#shownAt = Number.NEGATIVE_INFINITY
  }

  /** So much was done before: it counts, but not as speed. */
  skip(done: number): void {
    this.#done += done
    this.#rateDone += done
  }

  /** So much more is done. */
  add(more: number): void {
    this.update(this.#done + more)
  }

  /** So much is done in all. */
  update(done: number): void {
    this.#done = done
    if (this.#quiet) return
    const now = performance.now()
    if (now - this.#shownAt < REDRAW_MS) return
    this.#shownAt = now
    this.#measure(now)
    this.#visible = true
    process.stderr.write(`\r\x1b[2K${this.#line()}`)
  }

  /** Takes the bar away, so that a line can stand in its place. */
  clear(): void {
    if (this.#visible) process.stderr.write('\r\x1b[2K')
    this.#visible = false
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
    const known = this.#total > 0
    const part = known ? Math.min(1, this.#done / this.#total) : 0
    const rest = this.#rate > 0 ? (this.#total - this.#done) / this.#rate : Number.POSITIVE_INFINITY
    const percent = `${String(Math.floor(part * 100)).padStart(2)} %`
    const counted = this.#counted(this.#done, this.#total, this.#rate)
    const tail = this.#tail()
    // Ctrl-C shows as two letters: with room for them, they do not push the line up.
    const room = (process.stderr.columns || 80) - 3
    const left = `${time(rest)} left`
    // In a narrow terminal whole numbers go, the last ones first.
    const choices = known ? [[percent, counted, left, tail], [percent, counted, left], [percent, left], [percent]] : [[counted, tail], [counted]]
    const fitting = choices.map((parts) => parts.filter((part) => part !== '').join('  '))
    const title = typeof this.#name === 'number' ? `${this.#name} files` : this.#name
    // A count of files cut in its middle would be another count.
    const least = typeof this.#name === 'number' ? title.length : LEAST_NAME
    const numbers = fitting.find((text) => least + 2 + text.length <= room) ?? fitting.at(-1) ?? ''
    // The numbers come first, then the name, then the bar: a terminal of 80 columns has room for all of them.
    const name = shorten(title, Math.max(least, Math.min(Math.floor(room / 3), room - numbers.length - LEAST_BAR - 4)))
    const bar = Math.min(BAR_CELLS, room - numbers.length - cells(name) - 4)
    if (!known || bar < LEAST_BAR) return shorten(`${name}  ${numbers.trimStart()}`, room)
    const full = Math.round(part * bar)
    return `${name}  ${paint('green', '━'.repeat(full))}${paint('dim', '━'.repeat(bar - full))}  ${numbers}`
  }
}

/** After that long somebody wonders. */
const PATIENCE_MS = 400

/** Waits for something, and says what for on a terminal if that takes a while. */
export async function awaited<T>(what: string, quiet: boolean, work: Promise<T>): Promise<T> {
  if (quiet || process.stderr.isTTY !== true || process.env['TERM'] === 'dumb') return work
  let shown = false
  const timer = setTimeout(() => {
    shown = true
    process.stderr.write(shorten(`${what} …`, (process.stderr.columns || 80) - 3))
  }, PATIENCE_MS)
  try {
    return await work
  } finally {
    clearTimeout(timer)
    if (shown) process.stderr.write('\r\x1b[2K')
  }
}

/** Round trip and retransmissions, for the end of a line. */
export function pathTail(rttUs: number | undefined, retransmitted: number | undefined): string {
  const rtt = rttUs === undefined || rttUs === 0 ? [] : [`RTT ${rttUs >= 99_500 ? (rttUs / 1000).toFixed(0) : (rttUs / 1000).toPrecision(2)} ms`]
  return [...rtt, ...(retransmitted === undefined ? [] : [`retr ${retransmitted}`])].join('  ')
}

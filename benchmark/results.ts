/** What one line of a benchmark says. Names begin with the contender's, so that a script can pick. */
export interface Result {
  readonly name: string
  /** The median over the runs. */
  readonly value: number
  readonly unit: string
  readonly min: number
  readonly max: number
  readonly runs: number
}

export interface Options {
  readonly runs: number
  readonly bytes: number
  /** Only this contender: for a profile. */
  readonly only: string | undefined
}

/** Takes results as they are ready, and remarks that are none. */
export interface Printer {
  result(result: Result): void
  remark(text: string): void
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? upper) + upper) / 2
}

/** Median and spread of what several runs gave. */
export function summarize(name: string, unit: string, values: readonly number[]): Result {
  const digits = (value: number) => Number(value.toPrecision(5))
  return { name, value: digits(median(values)), unit, min: digits(Math.min(...values)), max: digits(Math.max(...values)), runs: values.length }
}

/** Lines for people, or one JSON object on each line of stdout; remarks go to stderr. */
export function printer(suite: string, json: boolean): Printer {
  return {
    result({ name, value, unit, min, max, runs }) {
      const line = json ? JSON.stringify({ suite, name, value, unit, min, max, runs }) : `${name.padEnd(36)} ${`${value} ${unit}`.padStart(16)}  [${min} – ${max}]`
      process.stdout.write(`${line}\n`)
    },
    remark(text) {
      process.stderr.write(`${text}\n`)
    },
  }
}

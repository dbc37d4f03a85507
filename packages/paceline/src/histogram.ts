import type { DriverHistogram } from './driver.js'
import { EndpointError } from './errors.js'

/** Each power of two from 1 to `last` in `parts` steps; `crates/transport/src/stats/histogram.rs` has the same rule. */
function bounds(last: number, parts: number): readonly number[] {
  const all: number[] = []
  for (let bound = 1; bound <= parts; bound += 1) all.push(bound)
  for (let octave = parts; octave < last; octave *= 2) {
    for (let part = 1; part <= parts; part += 1) all.push(octave + (octave / parts) * part)
  }
  return Object.freeze(all)
}

/** Upper bounds in µs: 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, … 1,048,576. */
export const PACING_ERROR_BOUNDS_US = bounds(1 << 20, 4)
/** Upper bounds in packets: 1, 2, 4, … 4,096. */
export const TRAIN_BOUNDS = bounds(4_096, 1)
/** Upper bounds in packets: 1, 2, 4, … 64. */
export const SEGMENT_BOUNDS = bounds(64, 1)

/**
 * How often values fell into fixed logarithmic buckets.
 *
 * @example
 * const { pacingErrorUs } = endpoint.stats()
 * console.log(`p99 ${pacingErrorUs.p99} µs, mean ${pacingErrorUs.mean} µs`)
 */
export class Histogram {
  /** Upper bounds of all buckets but the last, inclusive, ascending. */
  readonly bounds: readonly number[]
  /** Values in each bucket; one more than `bounds`, as the last bucket has no bound. */
  readonly counts: readonly number[]
  /** All values together. */
  readonly count: number
  /** Their sum, exact where the buckets are not. */
  readonly sum: number

  /** @internal */
  constructor(bounds: readonly number[], counts: readonly number[], sum: number) {
    if (counts.length !== bounds.length + 1) throw new EndpointError('ERR_PACELINE_INTERNAL', `histogram: expected ${bounds.length + 1} buckets, got ${counts.length}`)
    this.bounds = bounds
    this.counts = counts
    this.sum = sum
    this.count = counts.reduce((total, count) => total + count, 0)
  }

  /** 0 while there are no values. */
  get mean(): number {
    return this.count === 0 ? 0 : this.sum / this.count
  }

  /** The median's bound: see {@link quantile}. */
  get p50(): number {
    return this.quantile(0.5)
  }

  /** See {@link quantile}. */
  get p99(): number {
    return this.quantile(0.99)
  }

  /**
   * The bound of the bucket in which the value lies that a share of `share` (0 to 1) does not exceed: never too small, and too large
   * by a quarter at most for times, by a factor of two for packets. 0 while there are no values, `Infinity` in the last bucket.
   */
  quantile(share: number): number {
    if (this.count === 0) return 0
    const rank = Math.max(1, Math.ceil(this.count * share))
    let seen = 0
    for (const [index, count] of this.counts.entries()) {
      seen += count
      if (seen >= rank) return this.bounds[index] ?? Infinity
    }
    return Infinity
  }

  toJSON(): object {
    const { bounds, counts, count, sum, mean, p50, p99 } = this
    return { count, sum, mean, p50, p99, bounds, counts }
  }
}

/** What a driver counted, without what `then` counted before. */
export function histogram(bounds: readonly number[], now: DriverHistogram, then: DriverHistogram | undefined): Histogram {
  const counts = then === undefined ? now.counts : now.counts.map((count, index) => Math.max(0, count - (then.counts[index] ?? 0)))
  return new Histogram(bounds, counts, then === undefined ? now.sum : Math.max(0, now.sum - then.sum))
}

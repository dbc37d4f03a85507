import { loadAddon } from './native.js'

/** How a world is run. */
export interface SimOptions {
  /** Instead of the mode the seed would have. */
  mode?: SimMode
  /** Keep the log, packet by packet. */
  trace?: boolean
  /** For tests of what is told of failures: `panic` or `failure` makes this world end so. */
  plant?: string
}

export type SimMode = 'safety' | 'liveness'

/** The simulator inside the addon: synchronous, no state between calls. */
export interface Simulator {
  /** Runs one world. `verdict` is the JSON of a {@link Verdict}; a panic in the world is a failure of it. */
  simSeed(seed: bigint, options: SimOptions): { verdict: string; log?: string }
  /** The smallest scenario found within `milliseconds` that fails as this one does, in words; `null` if it does not fail. */
  simShrink(seed: bigint, options: SimOptions, milliseconds: number): string | null
  /** Names of the paths that have a ceiling. */
  simPaths(): string[]
  /** Runs one of them: the JSON of a {@link PathReport}. */
  simPath(name: string): string
}

/** What a world came to, in the simulator's own words. */
export interface Verdict {
  seed: number
  mode: SimMode
  /** Of the event log: the same seed gives the same, everywhere. 16 hex digits. */
  logHash: string
  virtualMs: number
  /** How often each fault really happened. */
  faults: Record<string, number>
  invariantsChecked: number
  streams: number
  bytes: number
  packets: number
  steps: number
  worstMs: Record<string, number>
  /** What did not hold. */
  failure: string | null
}

/** How long a transfer over a named path took, and how long it may. One that did not end has a `what` instead. */
export interface PathReport {
  path: string
  seed: number
  ok: boolean
  completionMs?: number
  ceilingMs?: number
  percentOfLimit?: number
  what?: string
}

/**
 * The simulator of the native addon.
 *
 * @throws {EndpointError} `ERR_PACELINE_NATIVE_MISSING`
 */
export async function loadSimulator(): Promise<Simulator> {
  return loadAddon<Simulator>('simSeed', 'simShrink', 'simPaths', 'simPath')
}

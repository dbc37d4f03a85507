/** Whose time the waits of the library run on: the system's, or a test network's. */
export interface Clock {
  /** Calls `run` once, so many ms from now. */
  setTimeout(run: () => void, milliseconds: number): unknown
  /** Takes that back; `undefined` and what has run are ignored. */
  clearTimeout(timer: unknown): void
}

/** Real time. */
export const SYSTEM_CLOCK: Clock = {
  setTimeout: (run, milliseconds) => setTimeout(run, milliseconds),
  clearTimeout: (timer) => {
    clearTimeout(timer as NodeJS.Timeout | undefined)
  },
}

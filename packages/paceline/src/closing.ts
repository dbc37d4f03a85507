import { wait } from './abort.js'
import type { Clock } from './clock.js'
import type { AbortError } from './errors.js'
import type { SendHalf } from './sending.js'

/** How many bytes got there. */
export interface CloseResult {
  /** Bytes the peer has acknowledged. */
  acknowledged: number
  /** Bytes accepted from the application and not acknowledged. */
  undelivered: number
}

/** Deadline of `await using`, and of closing a peer or an endpoint, in ms. */
export const DISPOSE_DEADLINE = 30_000

/** `setTimeout` takes no more, in ms: three weeks. */
const LONGEST_TIMER = 2 ** 31 - 1

/** Whether everything, with the FIN, is acknowledged before the deadline or a failure. */
export function acknowledgedBy(
  send: SendHalf,
  deadline: number,
  clock: Clock,
  signal: AbortSignal | undefined,
  onAbort: (error: AbortError) => void,
): Promise<boolean> {
  let timer: unknown
  return wait<boolean>(
    signal,
    (waiter) => {
      if (deadline <= LONGEST_TIMER) {
        timer = clock.setTimeout(() => {
          waiter.resolve(false)
        }, deadline)
      }
      send.awaitAcknowledged(Infinity, {
        resolve: () => {
          waiter.resolve(true)
        },
        reject: () => {
          waiter.resolve(false)
        },
      })
    },
    (_waiter, error) => {
      onAbort(error)
    },
  ).finally(() => {
    clock.clearTimeout(timer)
  })
}

/** The moment the driver has forgotten a stream, and who waits for it. */
export class Over {
  #waiting: (() => void)[] = []
  #is = false

  get is(): boolean {
    return this.#is
  }

  /** Runs at that moment, or now if it has passed. */
  when(run: () => void): void {
    if (this.#is) run()
    else this.#waiting.push(run)
  }

  /** From now on `is`; who waits is called by `settle()`, when the rest is in order. */
  begin(): void {
    this.#is = true
  }

  settle(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const run of waiting) run()
  }

  /** Resolves at that moment, or after so many ms. */
  async within(milliseconds: number, clock: Clock): Promise<void> {
    if (this.#is) return
    await new Promise<void>((resolve) => {
      const timer = clock.setTimeout(resolve, milliseconds)
      this.when(() => {
        clock.clearTimeout(timer)
        resolve()
      })
    })
  }
}

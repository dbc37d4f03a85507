import { AbortError } from './errors.js'

/** Somebody who waits; resolved from the drain loop. */
export interface Waiter<T> {
  resolve(value: T): void
  reject(error: Error): void
}

/** One promise for every wait that need not wait: an `await` of it costs a tenth of one on a new promise. */
export const RESOLVED: Promise<void> = Promise.resolve()

/**
 * A wait that an `AbortSignal` can end.
 *
 * `start` gets the waiter once; `abandon` is called when the signal is aborted first; the promise then rejects with
 * its error.
 */
export function wait<T>(
  signal: AbortSignal | undefined,
  start: (waiter: Waiter<T>) => void,
  abandon?: (waiter: Waiter<T>, error: AbortError) => void,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    if (signal === undefined) {
      start({ resolve, reject })
      return
    }
    if (signal.aborted) {
      reject(new AbortError(signal.reason))
      return
    }
    const onAbort = (): void => {
      const error = new AbortError(signal.reason)
      // First: what `abandon` ends may settle the waiter, too.
      reject(error)
      abandon?.(waiter, error)
    }
    const waiter: Waiter<T> = {
      resolve(value) {
        signal.removeEventListener('abort', onAbort)
        resolve(value)
      },
      reject(error) {
        signal.removeEventListener('abort', onAbort)
        reject(error)
      },
    }
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      start(waiter)
    } catch (error) {
      waiter.reject(error as Error)
    }
  })
}

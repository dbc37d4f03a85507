import { AbortError } from './errors.js'

/** Somebody who waits; resolved from the drain loop. */
export interface Waiter<T> {
  resolve(value: T): void
  reject(error: Error): void
}

/** One promise for every wait that need not wait: an `await` of it costs a tenth of one on a new promise. */
export const RESOLVED: Promise<void> = Promise.resolve()

interface Watch {
  readonly callbacks: Set<() => void>
  readonly listener: () => void
}

const watches = new WeakMap<AbortSignal, Watch>()

/**
 * Calls `callback` when the signal is aborted; the result takes that back.
 *
 * One listener per signal, however many wait: a program may well have one signal for everything, and an `AbortSignal`
 * warns of a leak at the eleventh listener.
 */
export function onAbort(signal: AbortSignal, callback: () => void): () => void {
  const watch = watches.get(signal) ?? startWatch(signal)
  if (watch.callbacks.size === 0) signal.addEventListener('abort', watch.listener)
  watch.callbacks.add(callback)
  return () => {
    if (watch.callbacks.delete(callback) && watch.callbacks.size === 0) signal.removeEventListener('abort', watch.listener)
  }
}

function startWatch(signal: AbortSignal): Watch {
  const callbacks = new Set<() => void>()
  const listener = (): void => {
    const waiting = [...callbacks]
    callbacks.clear()
    signal.removeEventListener('abort', listener)
    for (const callback of waiting) callback()
  }
  const watch = { callbacks, listener }
  watches.set(signal, watch)
  return watch
}

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
    const unwatch = onAbort(signal, () => {
      const error = new AbortError(signal.reason)
      // First: what `abandon` ends may settle the waiter, too.
      reject(error)
      abandon?.(waiter, error)
    })
    const waiter: Waiter<T> = {
      resolve(value) {
        unwatch()
        resolve(value)
      },
      reject(error) {
        unwatch()
        reject(error)
      },
    }
    try {
      start(waiter)
    } catch (error) {
      waiter.reject(error as Error)
    }
  })
}

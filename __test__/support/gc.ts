import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { turns } from './endpoints.js'

setFlagsFromString('--expose-gc')
/** Collects what nobody holds. */
export const gc = runInNewContext('gc') as () => void

/** Collects, and lets finalizers run, until `condition` holds; returns whether it did within `milliseconds`. */
export async function collectUntil(condition: () => boolean, milliseconds = 60_000): Promise<boolean> {
  const deadline = performance.now() + milliseconds
  while (!condition()) {
    if (performance.now() > deadline) return false
    await new Promise((resolve) => setTimeout(resolve, 20))
    gc()
    await turns(3)
  }
  return true
}

import { createHook } from 'node:async_hooks'
import { readFile } from 'node:fs'

/** Requests of `node:fs` and `node:dns`, as `process.getActiveResourcesInfo()` calls them. */
const LISTED = ['FSReqCallback', 'FSReqPromise', 'CloseReq', 'FileHandleCloseReq', 'GetAddrInfoReqWrap', 'GetNameInfoReqWrap']
/** The same requests of files, as `node:async_hooks` calls them. */
const HOOKED = ['FSREQCALLBACK', 'FSREQPROMISE']

/** What is under way outside of this thread's JavaScript. */
export interface Outside {
  /** Calls of `setImmediate()` that wait. */
  immediates: number
  /** Requests of `node:fs` and `node:dns`. */
  requests: number
}

/** Begun and not over, by their async id; only those begun while somebody watches. */
const jobs = new Set<number>()
const callbacks = {
  init(id: number, type: string): void {
    if (HOOKED.includes(type)) jobs.add(id)
  },
  after(id: number): void {
    jobs.delete(id)
  },
  destroy(id: number): void {
    jobs.delete(id)
  },
  // Known from Node 24 on; without it each promise of the program would cost a call.
  trackPromises: false,
}
const hook = createHook(callbacks)
let watchers = 0
let hidden: boolean | undefined

/** Begins to see what a program waits for outside; the end of it is the caller's. */
export function watchOutside(): void {
  hidden ??= filesAreHidden()
  watchers += 1
  if (hidden && watchers === 1) hook.enable()
}

/** One watcher less. */
export function unwatchOutside(): void {
  watchers -= 1
  if (watchers > 0) return
  hook.disable()
  jobs.clear()
}

/** What is under way now. */
export function outside(): Outside {
  const now: Outside = { immediates: 0, requests: jobs.size }
  for (const name of process.getActiveResourcesInfo()) {
    if (name === 'Immediate') now.immediates += 1
    else if (LISTED.includes(name)) now.requests += 1
  }
  return now
}

/** Whether `getActiveResourcesInfo()` is silent about whole files, which from Node 26.10 on one job of the thread pool reads and writes. */
function filesAreHidden(): boolean {
  const before = outside().requests
  try {
    readFile('', () => undefined)
  } catch {
    // The permission model lets us read nothing, perhaps not even this.
  }
  return outside().requests === before
}

import { constants, closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { Fault, meaning } from './faults.js'

/** What is at most so large is in memory whole, and leaves in one piece. */
export const WHOLE_BYTES = 64 << 10
/** A disk that takes longer for one such file is asked through the thread pool, where it keeps nobody waiting … */
const SLOW_MS = 4
/** … for so many files; then it has another chance. */
const SPARED = 64
let spared = 0

/** A regular file is not opened by it otherwise, and what has become a pipe meanwhile keeps us from nothing. */
const FLAGS = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)

/**
 * A small file as it is at this moment; `undefined` where another way is to be taken: it is not small any more, cannot be opened, or
 * the disk is slow. Asks the system directly: the five trips through the thread pool cost many times what is done there.
 */
export function readWhole(path: string): Buffer | undefined {
  if (spared > 0) {
    spared--
    return undefined
  }
  const begin = performance.now()
  let file: number
  try {
    file = openSync(path, FLAGS)
  } catch {
    return undefined
  }
  try {
    const before = fstatSync(file)
    if (!before.isFile() || before.size > WHOLE_BYTES) return undefined
    const bytes = Buffer.allocUnsafe(before.size)
    for (let at = 0; at < bytes.length; ) {
      const read = readSync(file, bytes, at, bytes.length - at, at)
      if (read === 0) throw shorter(path, bytes.length, at)
      at += read
    }
    const after = fstatSync(file)
    if (after.size !== before.size || after.mtimeMs !== before.mtimeMs) throw changed(path)
    return bytes
  } catch (error) {
    if (error instanceof Fault) throw error
    throw new Fault(`expected to read ${path} to its end, got ${meaning(error)}`)
  } finally {
    closeSync(file)
    if (performance.now() - begin > SLOW_MS) spared = SPARED
  }
}

export function shorter(path: string, expected: number, got: number): Fault {
  return new Fault(`expected ${expected} bytes in ${path}, got ${got}: it became shorter while it was sent`)
}

export function changed(path: string): Fault {
  return new Fault(`expected ${path} to stay as it is, got a change while it was sent`)
}

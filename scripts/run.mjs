// Child processes for the other scripts: none outlives us, whichever way we end.
import { spawn, spawnSync } from 'node:child_process'
import { constants } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = join(dirname(fileURLToPath(import.meta.url)), '..')

/** What the operating system gets before it is asked for again, harder. Ctrl-C promises an end within one second. */
const GRACE_MS = 700

const windows = process.platform === 'win32'
const children = new Set()
let stopping = false

/**
 * Starts a process in a group of its own, so that its own children (rustc, npm's shells) end with it.
 * @param {string} command
 * @param {string[]} args
 * @param {import('node:child_process').SpawnOptions} [options]
 */
export function start(command, args, options = {}) {
  const child = spawn(command, args, { cwd: root, ...options, detached: !windows })
  children.add(child)
  child.once('close', () => children.delete(child))
  child.once('error', () => children.delete(child))
  return child
}

/** Runs to the end: the exit code, the signal, and what it printed. `onText` sees the text as it comes, `onStart` the process. */
export function run(command, args, { onText, onStart, ...options } = {}) {
  return new Promise((resolve) => {
    const child = start(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options })
    onStart?.(child)
    let output = ''
    const collect = (source) => {
      source?.setEncoding('utf8')
      source?.on('data', (text) => {
        output += text
        onText?.(text)
      })
    }
    collect(child.stdout)
    collect(child.stderr)
    child.once('error', (error) => resolve({ code: 127, signal: null, output: String(error), error }))
    child.once('close', (code, signal) => resolve({ code: code ?? 1, signal, output, error: undefined }))
  })
}

/** The first line a tool prints about its version, or undefined where there is no such tool. */
export function version(command, args = ['--version']) {
  const { status, stdout } = spawnSync(command, args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
  return status === 0 ? stdout.split('\n', 1)[0] : undefined
}

/** Path of a package's executable, run with our own Node: `.bin` holds shell scripts on Windows. */
export function bin(name, file) {
  return join(root, 'node_modules', ...name.split('/'), file)
}

function signalAll(signal) {
  for (const child of children) {
    try {
      if (windows) child.kill(signal)
      else process.kill(-child.pid, signal)
    } catch {
      // It has ended meanwhile.
    }
  }
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    const code = 128 + constants.signals[signal]
    if (stopping) process.exit(code)
    stopping = true
    process.exitCode = code
    signalAll(signal)
    const ended = () => process.exit(code)
    setTimeout(ended, GRACE_MS)
    setInterval(() => children.size === 0 && ended(), 10)
  })
}
process.on('exit', () => signalAll('SIGKILL'))

/** Whether a signal has asked us to end. */
export const isStopping = () => stopping

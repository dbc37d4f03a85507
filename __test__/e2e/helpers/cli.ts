import { spawn, type ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'

export const ROOT = process.cwd()
export const CLI = join(ROOT, 'packages', 'paceline', 'bin', 'paceline.js')

/** Started and not ended yet: they end with this process, also when ava ends it before the teardowns ran. */
const living = new Set<Running>()
process.once('exit', () => {
  for (const running of living) running.kill()
})

/** A process under test, in a group of its own, so that a test can count who is left of it. */
export class Running {
  readonly child: ChildProcess
  readonly begin = performance.now()
  /** Resolves when it has ended and everything it printed is here. */
  readonly ended: Promise<Ended>
  stdout = ''
  stderr = ''
  #watchers: (() => void)[] = []

  constructor(command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}) {
    const { PACELINE_SECRET: _, FORCE_COLOR: __, ...inherited } = process.env
    this.child = spawn(command, args, { cwd: ROOT, detached: true, env: { ...inherited, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => this.#add('stdout', text))
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => this.#add('stderr', text))
    living.add(this)
    this.ended = new Promise((resolve) => {
      this.child.once('close', (code, signal) => {
        if (!this.hasSurvivors) living.delete(this)
        resolve({ code, signal, stdout: this.stdout, stderr: this.stderr, milliseconds: performance.now() - this.begin })
      })
    })
  }

  /** Resolves with what the pattern found in stdout or stderr; rejects when the process ends without it. */
  async prints(pattern: RegExp): Promise<RegExpExecArray> {
    return new Promise((resolve, reject) => {
      const look = () => {
        // What is at the very end may be half a word: the rest comes with the next chunk, at least a line break.
        for (const text of [this.stdout, this.stderr]) {
          const match = pattern.exec(text)
          if (match !== null && match.index + match[0].length < text.length) resolve(match)
        }
      }
      this.#watchers.push(look)
      look()
      void this.ended.then((ended) => {
        look()
        reject(new Error(`ended without printing ${pattern}: ${JSON.stringify(ended)}`))
      })
    })
  }

  /** Sends a signal to the process and its children, as Ctrl-C on a terminal does. */
  signal(name: NodeJS.Signals): void {
    if (this.child.pid !== undefined) process.kill(-this.child.pid, name)
  }

  /** Ends who is left of its group. */
  kill(): void {
    living.delete(this)
    if (this.hasSurvivors) this.signal('SIGKILL')
  }

  /** Whether anybody of its group still runs. */
  get hasSurvivors(): boolean {
    if (this.child.pid === undefined) return false
    try {
      process.kill(-this.child.pid, 0)
      return true
    } catch {
      return false
    }
  }

  #add(stream: 'stdout' | 'stderr', text: string): void {
    this[stream] += text
    for (const look of this.#watchers) look()
  }
}

/** Processes whose command line names something: children in other groups show here, too. */
export function processesNaming(text: string): string[] {
  if (process.platform !== 'linux') return []
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
      } catch {
        return ''
      }
    })
    .filter((line) => line.includes(text))
}

export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
  readonly milliseconds: number
}

/** Starts a process that does not outlive the test. */
export function run(t: ExecutionContext, command: string, args: readonly string[], env?: NodeJS.ProcessEnv): Running {
  const running = new Running(command, args, env)
  t.teardown(() => running.kill())
  return running
}

export function paceline(t: ExecutionContext, args: readonly string[], env?: NodeJS.ProcessEnv): Running {
  return run(t, process.execPath, [CLI, ...args], env)
}

/** What a process that does nothing takes here at this moment, in ms: the quickest of three. What comes late is measured by it. */
export async function emptyProcess(t: ExecutionContext): Promise<number> {
  let least = Infinity
  for (let time = 0; time < 3; time++) least = Math.min(least, (await run(t, process.execPath, ['-e', '0']).ended).milliseconds)
  return least
}

/**
 * Repeats a measurement that other processes may have disturbed, up to three times, until it is good enough. Whatever else it
 * asserts must hold every time.
 */
export async function bestOf<T>(measure: () => Promise<T>, isGood: (figure: T) => boolean): Promise<T> {
  for (let time = 1; ; time++) {
    const figure = await measure()
    if (isGood(figure) || time === 3) return figure
  }
}

/** Waits until something holds. A minute is far longer than anything here takes: who waits in vain has found a fault. */
export async function eventually(condition: () => boolean, what: string, milliseconds = 60_000): Promise<void> {
  const deadline = performance.now() + milliseconds
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`waited ${milliseconds} ms in vain until ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/** A folder that is removed after the test. */
export function temporaryFolder(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'paceline-test-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

export function writeSecret(folder: string, name = 'secret'): string {
  const path = join(folder, name)
  writeFileSync(path, `paceline1:${randomBytes(32).toString('base64url')}\n`, { mode: 0o600 })
  return path
}

/** Random bytes in a file: what compression or zeros might hide, they show. */
export function writeRandomFile(folder: string, name: string, bytes: number): string {
  const path = join(folder, name)
  writeFileSync(path, randomBytes(bytes))
  return path
}

/** A receiver that listens on a free port of 127.0.0.1. */
export async function startReceiver(
  t: ExecutionContext,
  { secretFile, out, options = [] }: { secretFile: string; out: string; options?: readonly string[] },
): Promise<{ receiver: Running; port: number }> {
  const receiver = paceline(t, ['recv', '--json', '--host', '127.0.0.1', '--port', '0', '--secret-file', secretFile, '--out', out, ...options])
  const [, port] = await receiver.prints(/"event":"listening".*"port":(\d+)/)
  return { receiver, port: Number(port) }
}

/** The last line of stdout, parsed. The caller names the shape it then asserts. */
export function lastJson<T>(ended: Ended): T {
  return JSON.parse(ended.stdout.trimEnd().split('\n').at(-1) ?? '') as T
}

/** All lines of stdout, parsed. */
export function jsonLines(ended: Ended): Record<string, unknown>[] {
  return ended.stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
}

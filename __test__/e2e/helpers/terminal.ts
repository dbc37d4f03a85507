import { spawn } from 'node:child_process'
import { stripVTControlCharacters } from 'node:util'
import type { ExecutionContext } from 'ava'
import { CLI, ROOT } from './cli.ts'

/** What a command left on a terminal, and what it wrote there. */
export interface Screen {
  readonly code: number | null
  readonly written: string
  /** Rows, without those that are empty at the end. */
  readonly rows: readonly string[]
}

/** The last thing on the terminal, with the exit code: `script` misses the end of its child where that was stopped and continued shortly before (`npm run stress`). */
const END = /\x1e(\d+)\x1e/

/** `paceline ARGS` on a terminal of so many columns, made by util-linux' `script`. */
export class OnTerminal {
  readonly ended: Promise<Screen>
  readonly #child
  #written = ''
  #look: () => void = () => {}

  constructor(t: ExecutionContext, columns: number, args: readonly string[], env: NodeJS.ProcessEnv = {}) {
    const quoted = [process.execPath, CLI, ...args].map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ')
    const { PACELINE_SECRET: _, FORCE_COLOR: __, NO_COLOR: ___, ...inherited } = process.env
    // The shell outlives Ctrl-C, which goes to the command, too, by catching it: what it ignored, the command would ignore.
    this.#child = spawn('script', ['-qefc', `trap : INT; stty cols ${columns} rows 50; ${quoted}; printf '\\036%d\\036' $?`, '/dev/null'], {
      cwd: ROOT, env: { ...inherited, TERM: 'xterm', SHELL: '/bin/sh', ...env }, stdio: ['pipe', 'pipe', 'inherit'],
    })
    this.#child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.#written += text
      this.#look()
      if (END.test(this.#written)) this.#child.kill('SIGKILL')
    })
    t.teardown(() => this.#child.kill('SIGKILL'))
    this.ended = new Promise((resolve) => {
      this.#child.once('close', () => {
        const [, code] = END.exec(this.#written) ?? []
        const written = this.#written.replace(END, '')
        resolve({ code: code === undefined ? null : Number(code), written, rows: rowsOf(written, columns) })
      })
    })
  }

  /** Resolves when it has written that. */
  async writes(pattern: RegExp): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#look = () => {
        if (pattern.test(this.#written)) resolve()
      }
      this.#look()
      void this.ended.then(() => reject(new Error(`ended without ${pattern}: ${JSON.stringify(this.#written)}`)))
    })
  }

  /** Presses keys. `\x03` is Ctrl-C. */
  types(keys: string): void {
    this.#child.stdin.write(keys)
  }
}

/** The rows that a terminal shows: text, CR, LF, "erase the line", and breaks where a row is full. Colours are left out; anything else throws. */
export function rowsOf(written: string, columns: number): string[] {
  const rows: string[][] = [[]]
  let row = rows[0] ?? []
  let column = 0
  const next = () => rows.push((row = []))
  for (const piece of written.matchAll(/\x1b\[([\d;?]*)([A-Za-z])|[^]/gu)) {
    const [text, parameters, command] = piece
    if (command === 'm') continue
    else if (command === 'K' && parameters === '2') row.fill(' ')
    else if (command !== undefined) throw new Error(`a control sequence that is not known: ${JSON.stringify(text)}`)
    else if (text === '\r') column = 0
    else if (text === '\n') next()
    else if (/\p{Cc}/u.test(text)) throw new Error(`a control character: ${JSON.stringify(text)}`)
    else {
      if (column === columns) {
        next()
        column = 0
      }
      row[column++] = text
    }
  }
  const lines = rows.map((cells) => Array.from(cells, (cell) => cell ?? ' ').join('').trimEnd())
  while (lines.at(-1) === '') lines.pop()
  return lines
}

/** What a progress line said each time it was drawn. */
export const drawn = (written: string): string[] =>
  written.split('\r\x1b[2K').slice(1).map((part) => stripVTControlCharacters(part).replace(/[\r\n][^]*$/, '')).filter((line) => line !== '')

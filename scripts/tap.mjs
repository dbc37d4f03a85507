// TAP, ava's output for machines, as people want it: a line a test, and all there is about a failed one.

const asIs = (_, text) => text

/** Reads TAP as it comes: prints a line a test, and keeps what is told of those that fail. */
export class TapReader {
  #rest = ''
  #failing = false
  #print
  #paint
  failures = []

  /**
   * @param {{ print?: (text: string) => void, paint?: (code: number, text: string) => string }} [options] nothing is printed, or without colours, unless given
   */
  constructor({ print = () => {}, paint = asIs } = {}) {
    this.#print = print
    this.#paint = paint
  }

  write = (text) => {
    const lines = (this.#rest + text).split('\n')
    this.#rest = lines.pop()
    for (const line of lines) this.#line(line)
  }

  #line(line) {
    const result = /^(not )?ok \d+ - (.*?)( # (?:SKIP|TODO).*)?$/.exec(line)
    if (result !== null) {
      const [, not, title, directive] = result
      this.#failing = not !== undefined
      const mark = this.#failing ? this.#paint(31, '✘') : directive ? this.#paint(33, '-') : this.#paint(32, '✔')
      this.#show(`${mark} ${title}${directive ? ' (skipped)' : ''}`)
    } else if (/^(TAP version|1\.\.|# (tests|pass|skip|fail) )/.test(line)) this.#failing = false
    else if (line.trim() === '') return
    else if (this.#failing || !/^\s/.test(line)) this.#show(`    ${line}`)
    else this.#print(`${this.#paint(2, line)}\n`)
    // The end of what is told of one test.
    if (line === '  ...') this.#failing = false
  }

  #show(line) {
    this.#print(`${line}\n`)
    if (this.#failing) this.failures.push(line)
  }
}

export const plain = (text) => text.replace(/\x1b\[[\d;?]*[A-Za-z]/g, '')

/** Of what fails, the last lines say why. It is repeated at the very end, which is all that some CI systems keep of a long run. */
const SAID_AGAIN = { lines: 80, columns: 400 }

/** Why something failed: what is told of the tests that did, at most so many lines of it, else the last lines of all. */
export function saidAgain(failures, output, most = SAID_AGAIN.lines) {
  const lines = failures.length > 0 ? failures.slice(-most) : output.trimEnd().split('\n').slice(-SAID_AGAIN.lines)
  return lines.map((line) => `  ${plain(line).slice(0, SAID_AGAIN.columns)}\n`).join('')
}

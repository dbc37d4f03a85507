/** Text in columns: for `--help`, for tables, for a terminal that may be narrow. */
import { stripVTControlCharacters } from 'node:util'

/** Without a terminal, and for `--help` everywhere. */
export const PLAIN_COLUMNS = 80
/** Lines longer than this are hard to read, however wide the window is. */
const MOST_COLUMNS = 120

/** Columns to fill on a stream. */
export function columnsOf(stream: { isTTY?: boolean; columns?: number }): number {
  return stream.isTTY === true ? Math.max(40, Math.min(MOST_COLUMNS, stream.columns ?? PLAIN_COLUMNS)) : PLAIN_COLUMNS
}

/** Colours take no cells. */
const visible = (text: string) => cells(stripVTControlCharacters(text))

/** Text broken between words into lines of at most `width` characters; a longer word stands alone. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line !== '' && visible(line) + 1 + visible(word) > width) {
      lines.push(line)
      line = word
    } else line = line === '' ? word : `${line} ${word}`
  }
  lines.push(line)
  return lines
}

/** `left` in a column of its own, `right` wrapped beside it. */
export function beside(left: string, leftWidth: number, right: string, columns: number): string {
  const [first = '', ...rest] = wrap(right, Math.max(20, columns - leftWidth))
  return [`${left.padEnd(leftWidth)}${first}`, ...rest.map((line) => `${' '.repeat(leftWidth)}${line}`)].map((line) => `${line.trimEnd()}\n`).join('')
}

/** East Asian letters and pictures take two cells of a terminal, marks none. */
function cellsOf(letter: string): number {
  if (/^\p{M}$/u.test(letter)) return 0
  return /^[\u1100-\u115F\u2E80-\uA4CF\uAC00-\uD7A3\uF900-\uFAFF\uFE30-\uFE6F\uFF00-\uFF60\uFFE0-\uFFE6]|^\p{Emoji_Presentation}/u.test(letter) ? 2 : 1
}

/** Cells that a text takes on a terminal. */
export function cells(text: string): number {
  let sum = 0
  for (const letter of text) sum += cellsOf(letter)
  return sum
}

/** A name cut in its middle to so many cells: its end tells files apart as often as its beginning. */
export function shorten(text: string, most: number): string {
  if (cells(text) <= most) return text
  const letters = [...text]
  const take = (list: readonly string[], room: number) => {
    let used = 0
    return list.filter((letter) => (used += cellsOf(letter)) <= room)
  }
  const tail = take(letters.slice().reverse(), Math.floor((most - 1) / 2)).reverse().join('')
  return `${take(letters, Math.ceil((most - 1) / 2)).join('')}…${tail}`
}

import { stripVTControlCharacters } from 'node:util'
import { wrap } from './layout.js'

export type Colour = 'red' | 'green' | 'yellow' | 'dim' | 'bold'
const CODES: Readonly<Record<Colour, readonly [number, number]>> = { red: [31, 39], green: [32, 39], yellow: [33, 39], dim: [2, 22], bold: [1, 22] }

/** Colours only where a person looks on, and wants them (https://no-color.org). */
export function paint(colour: Colour, text: string, stream: { isTTY?: boolean } = process.stderr): string {
  if (!stream.isTTY || (process.env['NO_COLOR'] ?? '') !== '' || process.env['TERM'] === 'dumb') return text
  const [on, off] = CODES[colour]
  return `\x1b[${on}m${text}\x1b[${off}m`
}

/** A line for people; stdout belongs to results. A terminal breaks it between words. */
export function say(line: string): void {
  const { isTTY, columns } = process.stderr
  process.stderr.write(`${isTTY === true ? line.split('\n').flatMap((part) => wrap(part, columns || 80)).join('\n') : line}\n`)
}

export function warn(line: string): void {
  say(`${paint('yellow', 'warning:')} ${line}`)
}

/** A line of results. On a terminal too narrow for it, the digest stands on a line of its own. */
export function sayResult(line: string, stream: NodeJS.WriteStream = process.stdout): void {
  const fits = !stream.isTTY || line.length <= (stream.columns ?? 80)
  stream.write(`${fits ? line : line.replace('  sha256 ', '\n  sha256 ')}\n`)
}

/** A result: one JSON object on a line of stdout. */
export function sayJson(value: object): void {
  process.stdout.write(`${JSON.stringify(value)}\n`)
}

/** Text that a peer chose, safe to show on a terminal. */
export function printable(text: string): string {
  return stripVTControlCharacters(text).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '\uFFFD')
}

/** A count as people read it: `12,345`. (`toLocaleString` loads 80 ms of languages.) */
export function grouped(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ',')
}

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB']

/** Bytes with three digits and a unit, in powers of 1000. */
export function size(bytes: number): string {
  let value = bytes
  let unit = 0
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000
    unit++
  }
  return `${unit === 0 || value >= 99.95 ? Math.round(value) : value.toPrecision(3)} ${UNITS[unit]}`
}

/** Bits per second with three digits: `944 Mbit/s`. */
export function bits(perSecond: number): string {
  return `${size(perSecond).replace(/B$/, 'bit')}/s`
}

/** Seconds as people say them: `8 s`, `2:05 min`, `1:02:03 h`. */
export function time(seconds: number): string {
  if (!Number.isFinite(seconds)) return '?'
  const whole = Math.max(0, Math.ceil(seconds))
  const two = (value: number) => String(value).padStart(2, '0')
  if (whole < 60) return `${whole} s`
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60]
  return hours > 0 ? `${hours}:${two(minutes)}:${two(whole % 60)} h` : `${minutes}:${two(whole % 60)} min`
}

/** Memory, in powers of 1024: `4 MiB`, `208 KiB`. */
export function binarySize(bytes: number): string {
  const power = Math.min(4, Math.max(0, Math.floor(Math.log2(Math.max(1, bytes)) / 10)))
  return `${Number((bytes / 1024 ** power).toFixed(1))} ${['B', 'KiB', 'MiB', 'GiB', 'TiB'][power]}`
}

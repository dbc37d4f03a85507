import { suggest } from '../option-names.js'
import { isIP } from 'node:net'
import { parseArgs } from 'node:util'
import { UsageError } from './faults.js'
import { PLAIN_COLUMNS, beside } from './layout.js'

/** One option of a command: how it is written, and what `--help` says of it. */
export interface OptionSpec {
  /** One letter that means the same. */
  readonly short?: string
  /** What stands for the value in `--help`; without it the option is a switch. */
  readonly value?: string
  readonly help: string
}

export type OptionSpecs = Readonly<Record<string, OptionSpec>>

/** What was given: switches are `true`, the others their text. */
export interface ParsedOptions {
  readonly switches: ReadonlySet<string>
  readonly values: ReadonlyMap<string, string>
  readonly positionals: readonly string[]
}

/** Reads a command's arguments; everything unknown, doubled or incomplete is a {@link UsageError}. */
export function parseOptions(command: string, specs: OptionSpecs, args: readonly string[]): ParsedOptions {
  const { tokens } = parseArgs({
    args: [...args],
    options: Object.fromEntries(
      Object.entries(specs).map(([name, { value, short }]) => [
        name,
        { type: value === undefined ? ('boolean' as const) : ('string' as const), ...(short !== undefined && { short }) },
      ]),
    ),
    allowPositionals: true,
    strict: false,
    tokens: true,
  })
  const switches = new Set<string>()
  const values = new Map<string, string>()
  const positionals: string[] = []
  for (const token of tokens) {
    if (token.kind === 'positional') positionals.push(token.value)
    if (token.kind !== 'option') continue
    const spec = Object.hasOwn(specs, token.name) ? specs[token.name] : undefined
    if (spec === undefined) throw unknownOption(command, specs, token.rawName)
    if (switches.has(token.name) || values.has(token.name)) throw new UsageError(`expected --${token.name} once, got it twice`, command)
    if (spec.value === undefined) {
      if (token.value !== undefined) throw new UsageError(`expected no value for --${token.name}, got "${token.value}"`, command)
      switches.add(token.name)
    } else {
      // `--out --json`: the next option is no value; `--out=--json` says that it is meant.
      const missing = token.value === undefined || (!token.inlineValue && token.value.startsWith('-') && token.value.length > 1)
      if (missing) throw new UsageError(`expected ${spec.value} after --${token.name}, got ${token.value ?? 'nothing'}`, command)
      values.set(token.name, token.value ?? '')
    }
  }
  return { switches, values, positionals }
}

function unknownOption(command: string, specs: OptionSpecs, written: string): UsageError {
  if (/^--?secret$/.test(written)) {
    return new UsageError(
      'expected --secret-file FILE or PACELINE_SECRET, got --secret: an argument can be read by everybody on this machine',
      command,
    )
  }
  const near = suggest(written.replace(/^-+/, ''), Object.keys(specs))
  const advice = near === undefined ? '' : `; did you mean --${near}?`
  return new UsageError(`expected a known option, got ${written}${advice}`, command)
}

/** A whole number between two bounds. */
export function integer(command: string, name: string, text: string, minimum: number, maximum: number): number {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN
  if (value >= minimum && value <= maximum) return value
  throw new UsageError(`expected --${name} from ${minimum} to ${maximum}, got "${text}"`, command)
}

/** What the library takes as `maxBitrate`, and above which no host has a use for a cap. A test holds the limits here against the library's. */
const LEAST_BITRATE = 8_000
const MOST_BITRATE = 1e12

/** Bits per second: a number with an optional k, M or G (powers of 1000). */
export function bitrate(command: string, name: string, text: string): number {
  const match = /^(\d+(?:\.\d+)?)([kMG]?)$/.exec(text)
  const factor = { '': 1, k: 1e3, M: 1e6, G: 1e9 }[match?.[2] ?? ''] ?? 1
  const value = Math.round(Number(match?.[1]) * factor)
  if (value >= LEAST_BITRATE && value <= MOST_BITRATE) return value
  throw new UsageError(`expected --${name} from ${LEAST_BITRATE / 1000}k to ${MOST_BITRATE / 1e9}G bits per second (such as 100M), got "${text}"`, command)
}

/** Milliseconds until nobody has answered. */
export function handshake(command: string, text: string | undefined): number {
  return text === undefined ? 10_000 : seconds(command, 'handshake-timeout', text, 10, 600_000)
}

/** Milliseconds of silence that mean that the other side is gone. What was under way can be resumed, so this need not be long. */
export function idle(command: string, text: string | undefined): number {
  return text === undefined ? 10_000 : seconds(command, 'idle-timeout', text, 1000, 600_000)
}

/** What `--help` says of every option that takes a TIME. */
export const timeNote = 'A TIME is in seconds, unless it says otherwise: 10, 2.5s, 500ms, 2m.'

/** A time, the same way everywhere: see {@link timeNote}. Returns milliseconds. */
export function seconds(command: string, name: string, text: string, minimumMs: number, maximumMs: number): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m)?$/.exec(text)
  const value = Math.round(Number(match?.[1]) * ({ ms: 1, s: 1000, m: 60_000 }[match?.[2] ?? 's'] ?? Number.NaN))
  if (value >= minimumMs && value <= maximumMs) return value
  throw new UsageError(`expected --${name} from ${minimumMs / 1000} to ${maximumMs / 1000} seconds (10, 2.5s, 500ms, 2m), got "${text}"`, command)
}

/** Bytes: a number with k, M or G (powers of 1000) or Ki, Mi, Gi (of 1024). */
export function byteCount(command: string, name: string, text: string, minimum: number, maximum: number): number {
  const match = /^(\d+(?:\.\d+)?)([kKMGT]?)(i?)B?$/.exec(text)
  const power = ['', 'k', 'M', 'G', 'T'].indexOf((match?.[2] ?? '').replace('K', 'k'))
  const value = Math.round(Number(match?.[1]) * (match?.[3] === 'i' ? 1024 : 1000) ** power)
  if (value >= minimum && value <= maximum) return value
  throw new UsageError(`expected --${name} from ${minimum} to ${maximum} bytes (1000, 64k, 16Mi, 1G), got "${text}"`, command)
}

/** `HOST:PORT`, where an IPv6 address stands in brackets. */
export function address(command: string, text: string): { host: string; port: number } {
  const match = /^(?:\[([\da-fA-F:.]+(?:%\w+)?)\]|([^:[\]\s/]+)):(\d{1,5})$/.exec(text)
  const host = match?.[1] ?? match?.[2]
  const port = Number(match?.[3])
  if (host !== undefined && port >= 1 && port <= 65_535) return { host, port }
  throw new UsageError(`expected HOST:PORT (10.0.0.2:4433, [::1]:4433), got "${text}"`, command)
}

/** `HOST[:PORT]`: a bare IPv6 address needs no brackets where no port follows. */
export function addressOr(command: string, text: string, fallback: number): { host: string; port: number } {
  if (isIP(text) === 6) return { host: text, port: fallback }
  const bare = /^(?:\[([\da-fA-F:.]+(?:%\w+)?)\]|([^:[\]\s/]+))$/.exec(text)
  const host = bare?.[1] ?? bare?.[2]
  return host === undefined ? address(command, text) : { host, port: fallback }
}

/** Wider options stand on a line of their own. */
const MOST_LEFT = 26

/** The part of `--help` about options, in columns. */
export function describeOptions(specs: OptionSpecs): string {
  const rows = Object.entries(specs).map(([name, spec]) => [`  ${spec.short === undefined ? '' : `-${spec.short}, `}--${name}${spec.value === undefined ? '' : ` ${spec.value}`}`, spec.help] as const)
  const width = Math.min(MOST_LEFT, Math.max(...rows.map(([left]) => left.length))) + 2
  return rows.map(([left, right]) => (left.length + 2 > width ? `${left}\n${beside('', width, right, PLAIN_COLUMNS)}` : beside(left, width, right, PLAIN_COLUMNS))).join('')
}

// What the documentation of an option says where it is declared is what the code does.
import { readFileSync } from 'node:fs'
import test from 'ava'
import { generateSecret, OptionError, type BindOptions } from '../../packages/paceline/src/index.js'
import { duplexSettings, endpointSettings } from '../../packages/paceline/src/options.js'
import { linkSettings } from '../../packages/paceline/src/network-options.js'
import { checkConnectPath } from '../../packages/paceline/src/path-secret.js'

interface Documented {
  owner: string
  name: string
  type: string
  text: string
}

/** Every option of the interfaces of a file, with its comment. */
function documented(file: string): Documented[] {
  const source = readFileSync(new URL(`../../packages/paceline/src/${file}`, import.meta.url), 'utf8')
  const found: Documented[] = []
  for (const [, owner = '', body = ''] of source.matchAll(/^export interface (\w*(?:Options|PathSecret))(?:<\w+>)? [^{]*\{\n([\s\S]*?)\n\}/gm)) {
    for (const [, comment = '', name = '', type = ''] of body.matchAll(/(?:\/\*\*([\s\S]*?)\*\/\s+)?^ {2}(\w+)\??: (.*)$/gm)) {
      found.push({ owner, name, type, text: comment.replace(/\s*\n\s*\*?\s*/g, ' ').trim() })
    }
  }
  return found
}

const FILES = ['options.ts', 'path-secret.ts', 'network-options.ts', 'network.ts', 'qlog.ts', 'stats.ts']
const options = FILES.flatMap(documented)

test('every option says what it is without being asked for, and shows one', (t) => {
  t.true(options.length > 60, `${options.length} options`)
  for (const { owner, name, type, text } of options) {
    const where = `${owner}.${name}`
    t.regex(text, /Default|No default/, where)
    t.regex(text, /Example: /, where)
    if (/^number/.test(type)) t.regex(text, / to [\d.,^ -]+|at least|from 1/, `${where} has bounds`)
    if (/^number/.test(type) && !/port|seed|max(InFlight|Incoming|Streams)|priority|remoteMaxStreams|firstKeyId/i.test(name)) {
      t.regex(text, /bytes|Bytes|milliseconds|Milliseconds|Bits|UDP payload|Chance|Datagrams/, `${where} has a unit`)
    }
  }
})

const UNITS: Record<string, number> = { '': 1, KiB: 1 << 10, MiB: 1 << 20 }
const numberOf = (digits: string, unit = ''): number => Number(digits.replaceAll(',', '')) * (UNITS[unit] ?? NaN)

/** What the comment promises of a number. */
function bounds(text: string): { fallback: number | undefined; min: number | undefined; max: number | undefined } {
  const fallback = /Default ([\d.,]*\d)(?: (KiB|MiB))?/.exec(text)
  const range = /(?<![\d.,])([\d.]+(?:,\d{3})*) to ([\d.]+(?:,\d{3})*)(?![\d^])/.exec(text)
  const least = /at least ([\d.,]*\d)(?: (KiB|MiB))?/.exec(text)
  return {
    fallback: fallback?.[1] === undefined ? undefined : numberOf(fallback[1], fallback[2]),
    min: range?.[1] !== undefined ? numberOf(range[1]) : least?.[1] !== undefined ? numberOf(least[1], least[2]) : undefined,
    max: range?.[2] !== undefined ? numberOf(range[2]) : undefined,
  }
}

/** Decides one option as its owner does; throws what the owner throws. */
function decide(owner: string, name: string, value: unknown): unknown {
  if (owner === 'DuplexOptions') return (duplexSettings({ [name]: value }) as Record<string, unknown>)[name]
  if (owner === 'BindOptions') return (endpointSettings({ [name]: value } as BindOptions, false) as unknown as Record<string, unknown>)[name]
  if (owner === 'LinkOptions') return (linkSettings({ [name]: value }) as Record<string, unknown>)[name]
  const exportSecret = generateSecret()
  const path = checkConnectPath('options', { exportSecret, role: 'client', cipherSuite: 'aes-128-gcm', [name]: value })
  return (path as unknown as Record<string, unknown>)[name]
}

const counted = options.filter(({ owner, type, name }) => ['DuplexOptions', 'BindOptions', 'PathSecret', 'LinkOptions'].includes(owner) && /^number/.test(type) && name !== 'peerAddress')

for (const { owner, name, text } of counted) {
  test(`${owner}.${name}: default and bounds are the documented ones`, (t) => {
    const { fallback, min, max } = bounds(text)
    // `Default: ` and words, where it follows from another option.
    t.true(fallback !== undefined || /Default: /.test(text), text)
    if (fallback !== undefined) t.is(decide(owner, name, undefined), fallback)
    const step = min !== undefined && min > 0 && min < 1 ? min / 10 : 1
    if (min !== undefined) {
      t.notThrows(() => decide(owner, name, min))
      if (min - step > 0 || (min === 0 && step === 1)) t.throws(() => decide(owner, name, min - step), { instanceOf: OptionError, message: new RegExp(`^options\\.${name}: expected .*, got ${String(min - step).replace('.', '\\.')}$`) })
    }
    if (max !== undefined) {
      t.notThrows(() => decide(owner, name, max))
      t.throws(() => decide(owner, name, max + 1), { instanceOf: OptionError, message: new RegExp(`^options\\.${name}: expected .*, got ${max + 1}$`) })
    }
    t.true(min !== undefined || /initialWindow|2\^/.test(text), `${name} has a minimum: ${text}`)
  })
}

test('the check sees options', (t) => {
  t.true(counted.length >= 32, `${counted.length}`)
  t.deepEqual(bounds('Bytes, at least 2 MiB. Default 32 MiB.'), { fallback: 32 << 20, min: 2 << 20, max: undefined })
  t.deepEqual(bounds('Bursts, 1 to 65,536. Default 1,024.'), { fallback: 1024, min: 1, max: 65_536 })
  t.deepEqual(bounds('Rate, 0.1 to 1,000. Default 2.'), { fallback: 2, min: 0.1, max: 1000 })
})

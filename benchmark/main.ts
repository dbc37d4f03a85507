import { parseArgs } from 'node:util'
import { bulk } from './bulk.ts'
import { micro } from './micro.ts'
import { printer } from './results.ts'

const suites = {
  bulk: { run: bulk, says: 'one stream, one way, JavaScript on both sides: paceline, node:tls, node:net' },
  micro: { run: micro, says: 'calls that stay in JavaScript' },
} as const

const USAGE = `usage: npm run bench -- SUITE [--json] [--runs N] [--bytes N] [--only CONTENDER]

${Object.entries(suites)
  .map(([name, { says }]) => `  ${name.padEnd(6)} ${says}\n`)
  .join('')}`

function fail(message: string): never {
  process.stderr.write(`bench: ${message}\n\n${USAGE}`)
  process.exit(2)
}

function parse() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: { json: { type: 'boolean', default: false }, runs: { type: 'string' }, bytes: { type: 'string' }, only: { type: 'string' } },
    })
  } catch (error) {
    return fail(error instanceof Error ? error.message : String(error))
  }
}

const { values, positionals } = parse()
const whole = (name: 'runs' | 'bytes', fallback: number): number => {
  const value = Number(values[name] ?? fallback)
  return Number.isSafeInteger(value) && value > 0 ? value : fail(`expected --${name} to be a whole number, got ${values[name]}`)
}
const [name = ''] = positionals
if (positionals.length !== 1 || !Object.hasOwn(suites, name)) fail(`expected one of ${Object.keys(suites).join(', ')}, got ${positionals.join(' ') || 'nothing'}`)
const options = { runs: whole('runs', 5), bytes: whole('bytes', 2 ** 31), only: values.only }
await suites[name as keyof typeof suites].run(options, printer(name, values.json))

import { collectFacts, probePeer } from './doctor-facts.js'
import { judge, tally, type Finding, type Status } from './doctor-findings.js'
import { ExitCode, UsageError } from './faults.js'
import { onInterrupt } from './interrupt.js'
import { beside, columnsOf } from './layout.js'
import { addressOr, parseOptions, type OptionSpecs } from './options.js'
import { paint, say, sayJson, type Colour } from './output.js'
import { loadSecrets } from './secret.js'
import { packageVersion } from './version.js'

export const DEFAULT_PORT = 4433

export const doctorOptions: OptionSpecs = {
  'secret-file': { value: 'FILE', help: 'with HOST: also make the handshake, with this secret' },
  json: { help: 'print one JSON object on stdout' },
  help: { help: 'this text' },
}

export const doctorUsage = 'paceline doctor [HOST[:PORT]]'

export const doctorNotes = [
  "Opens sockets as an endpoint does, sends a burst over loopback, measures timers, and reads the system's limits. With HOST: which datagrams reach it unfragmented, and whether an endpoint answers there, which takes no secret. PORT is 4433 unless given.",
  '"unknown" is said where something cannot be known. Exit code 0: no problems; 1: at least one, with the commands that mend it.',
]

/** The object of `--json`; docs/cli.md names its fields. */
interface Diagnosis {
  ok: boolean
  version: string
  counts: Record<Status, number>
  findings: Finding[]
  facts: object
}

export async function runDoctor(args: readonly string[]): Promise<number> {
  const { switches, values, positionals } = parseOptions('doctor', doctorOptions, args)
  const [target, ...more] = positionals
  if (more.length > 0) throw new UsageError(`expected one HOST[:PORT], got ${positionals.join(' ')}`, 'doctor')
  const secretFile = values.get('secret-file')
  if (secretFile !== undefined && target === undefined) throw new UsageError('expected HOST[:PORT] beside --secret-file, got none', 'doctor')
  const where = target === undefined ? undefined : addressOr('doctor', target, DEFAULT_PORT)
  const secret = secretFile === undefined ? undefined : await loadSecrets(secretFile)
  const interrupt = onInterrupt()
  const facts = await collectFacts()
  if (where !== undefined) {
    if (process.stderr.isTTY && !switches.has('json')) say(paint('dim', `asking ${where.host}:${where.port}, at most a few seconds`))
    facts.peer = await probePeer(where.host, where.port, secret, interrupt)
  }
  interrupt.throwIfAborted()
  const findings = judge(facts)
  const counts = tally(findings)
  const ok = counts.problem === 0
  if (switches.has('json')) sayJson({ ok, version: packageVersion(), counts, findings, facts } satisfies Diagnosis)
  else process.stdout.write(render(findings, counts))
  return ok ? ExitCode.Ok : ExitCode.Failed
}

const LABELS: Readonly<Record<Status, readonly [string, Colour]>> = {
  ok: ['ok', 'green'],
  notice: ['notice', 'yellow'],
  problem: ['PROBLEM', 'red'],
  unknown: ['unknown', 'dim'],
}
const LABEL_CELLS = 9

function render(findings: readonly Finding[], counts: Record<Status, number>): string {
  const columns = columnsOf(process.stdout)
  const titleCells = Math.max(...findings.map(({ title }) => title.length)) + 2
  const block = ({ status, title, value, fix }: Finding) => {
    const [label, colour] = LABELS[status]
    const text = beside(`${label.padEnd(LABEL_CELLS)}${title}`, LABEL_CELLS + titleCells, value, columns)
    const indent = ' '.repeat(LABEL_CELLS)
    // A command is never broken into lines: it is there to be copied.
    const fixes = fix.map((line, nth) => `${indent}${nth === 0 ? 'fix  ' : '     '}${paint('bold', line, process.stdout)}\n`).join('')
    return `${paint(colour, text.slice(0, label.length), process.stdout)}${text.slice(label.length)}${fixes}`
  }
  const part = (count: number, one: string, many = `${one}s`) => `${count} ${count === 1 ? one : many}`
  const sum = [`${counts.ok} ok`, part(counts.problem, 'problem'), part(counts.notice, 'notice'), `${counts.unknown} not known`].join(', ')
  const end = counts.problem > 0 ? paint('red', sum, process.stdout) : sum
  return `${findings.map(block).join('')}\n${end}\n`
}

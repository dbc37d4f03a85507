import { doctorNotes, doctorOptions, doctorUsage, runDoctor } from './doctor.js'
import { ExitCode, UsageError } from './faults.js'
import { PLAIN_COLUMNS, beside, wrap } from './layout.js'
import { describeOptions, parseOptions, timeNote, type OptionSpecs } from './options.js'
import { pathSecretNote, refusePathOptions, runPathSecret, secretOptions } from './path-secret.js'
import { perfClientOptions, perfClientUsage, runPerfClient } from './perf-client.js'
import { perfServerOptions, perfServerUsage, runPerfServer } from './perf-server.js'
import { recvNotes, recvOptions, recvUsage, runRecv } from './recv.js'
import { runSecret } from './secret.js'
import { runSend, sendNotes, sendOptions, sendUsage } from './send.js'
import { runSim, simOptions, simUsage } from './sim.js'

/** What `paceline NAME` does, and what `--help` says of it. */
export interface Command {
  readonly summary: string
  readonly usage: string
  readonly options: OptionSpecs
  /** Paragraphs. */
  readonly notes: readonly string[]
  run(args: readonly string[]): Promise<number>
}

/** By name, in the order in which they are told. */
export const commands: Readonly<Record<string, Command>> = {
  send: {
    summary: 'send files and folders to a receiver',
    usage: sendUsage,
    options: sendOptions,
    notes: [...sendNotes, pathSecretNote],
    run: runSend,
  },
  recv: {
    summary: 'receive files into a folder',
    usage: recvUsage,
    options: recvOptions,
    notes: [...recvNotes, pathSecretNote],
    run: runRecv,
  },
  secret: {
    summary: 'make a secret for both sides',
    usage: 'paceline secret > FILE',
    options: secretOptions,
    notes: ['Prints one line: paceline1: and 32 random bytes in base64url. A file made with > gets mode 600.'],
    async run(args) {
      const options = parseOptions('secret', secretOptions, args)
      if (options.positionals.length > 0) throw new UsageError(`expected options only, got ${options.positionals.join(' ')}`, 'secret')
      if (options.switches.has('path')) runPathSecret(options)
      else {
        refusePathOptions(options)
        runSecret()
      }
      return ExitCode.Ok
    },
  },
  'perf server': {
    summary: 'wait for perf clients, and measure with them',
    usage: perfServerUsage,
    options: perfServerOptions,
    notes: ['One test at a time; a second client is told so. Ends with Ctrl-C.', pathSecretNote],
    run: runPerfServer,
  },
  'perf client': {
    summary: 'measure goodput, pacing and CPU between two hosts',
    usage: perfClientUsage,
    options: perfClientOptions,
    notes: [
      'Measures what an application gets: payload that was encrypted, paced, acknowledged, and counted at both ends. PORT is 4433 unless given.',
      'A gate for your CI: once "paceline perf client … --json > base.json", then "paceline perf client … --baseline base.json".',
      pathSecretNote,
    ],
    run: runPerfClient,
  },
  doctor: {
    summary: 'find what slows this machine down, and how to mend it',
    usage: doctorUsage,
    options: doctorOptions,
    notes: doctorNotes,
    run: runDoctor,
  },
  sim: {
    summary: 'run simulated worlds with faults, and check every promise',
    usage: simUsage,
    options: simOptions,
    notes: ['One seed is one world, the same everywhere. A failure tells its seed, and the command that replays it.'],
    run: runSim,
  },
}

/** docs/cli.md has the same table. */
export const EXIT_CODES = `Exit codes:
    0  every file arrived whole; every world kept its promises; no problems
    1  something failed, or doctor found a problem: what was expected, what came
    2  the command line is wrong
    3  perf: slower than --baseline or --fail-below allow
  130  interrupted (Ctrl-C); 143 terminated; 129 the terminal went away
`

/** docs/cli.md has the same table. */
export const ENVIRONMENT = `Environment:
  PACELINE_SECRET       the secret, where no --secret-file is given
  PACELINE_DISABLE_GSO  1: one datagram per system call when sending
  PACELINE_DISABLE_GRO  1: the same when receiving
  NO_COLOR              anything: no colours; without a terminal there are none
  NODE_DEBUG            paceline: what happens inside, on stderr
`

const NAME_CELLS = 14

/** `paceline --help`. */
export function overview(): string {
  const rows = Object.entries(commands).map(([name, command]) => beside(`  ${name.padEnd(NAME_CELLS)}`, NAME_CELLS + 2, command.summary, PLAIN_COLUMNS))
  return `paceline: reliable, encrypted, paced streams over UDP

usage: paceline COMMAND [OPTION…]

${rows.join('')}
"paceline COMMAND --help" tells more, "paceline --version" which one this is.

${ENVIRONMENT}
${EXIT_CODES}`
}

const paragraph = (text: string) => `${wrap(text.trim().replace(/\s*\n\s*/g, ' '), PLAIN_COLUMNS).join('\n')}\n`

const notesOf = ({ options, notes }: Command) => (Object.values(options).some(({ value }) => value === 'TIME') ? [timeNote, ...notes] : notes)

/** `paceline NAME --help`. */
export function help(command: Command): string {
  return `${command.summary}\n\nusage: ${command.usage}\n\n${describeOptions(command.options)}\n${notesOf(command).map(paragraph).join('\n')}\n${EXIT_CODES}`
}

/** `paceline perf --help`. */
export function perfHelp(): string {
  const rows = Object.entries(commands).filter(([name]) => name.startsWith('perf '))
  return `${rows.map(([, { usage, summary, options }]) => `usage: ${usage}\n\n${paragraph(summary)}\n${describeOptions(options)}`).join('\n')}\n${[...new Set(rows.flatMap(([, command]) => notesOf(command)))].map(paragraph).join('\n')}\n${EXIT_CODES}`
}

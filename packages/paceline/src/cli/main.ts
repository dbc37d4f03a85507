import { doctorNotes, doctorOptions, doctorUsage, runDoctor } from './doctor.js'
import { ExitCode, UsageError, oneLine, pacelineCode } from './faults.js'
import { Interrupted } from './interrupt.js'
import { describeOptions, suggest, type OptionSpecs } from './options.js'
import { paint, say } from './output.js'
import { perfClientOptions, perfClientUsage, runPerfClient } from './perf-client.js'
import { perfServerOptions, perfServerUsage, runPerfServer } from './perf-server.js'
import { recvOptions, recvUsage, runRecv } from './recv.js'
import { runSecret } from './secret.js'
import { runSend, sendOptions, sendUsage } from './send.js'
import { runSim, simOptions, simUsage } from './sim.js'
import { packageVersion } from './version.js'

/** What is still open when a command is done has this long to end by itself. */
const EXIT_GRACE_MS = 500

interface Command {
  readonly summary: string
  readonly usage: string
  readonly options: OptionSpecs
  readonly notes: string
  run(args: readonly string[]): Promise<number>
}

const commands: Readonly<Record<string, Command>> = {
  send: {
    summary: 'send files to a receiver',
    usage: sendUsage,
    options: sendOptions,
    notes: 'A secret is never an argument: others on this machine could read it.\n',
    run: runSend,
  },
  recv: {
    summary: 'receive files into a folder',
    usage: recvUsage,
    options: recvOptions,
    notes: 'Runs until --count files have arrived, or Ctrl-C. A file that exists already is refused.\n',
    run: runRecv,
  },
  secret: {
    summary: 'make a secret for both sides',
    usage: 'paceline secret > FILE',
    options: { help: { help: 'this text' } },
    notes: 'Prints one line: paceline1: and 32 random bytes in base64url. A file made with > gets mode 600.\n',
    async run(args) {
      if (args.length > 0) throw new UsageError(`expected no arguments, got ${args.join(' ')}`, 'secret')
      runSecret()
      return ExitCode.Ok
    },
  },
  'perf server': {
    summary: 'wait for perf clients, and measure with them',
    usage: perfServerUsage,
    options: perfServerOptions,
    notes: 'One test at a time; a second client is told to wait. Ends with Ctrl-C.\n',
    run: runPerfServer,
  },
  'perf client': {
    summary: 'measure goodput, pacing and CPU between two hosts',
    usage: perfClientUsage,
    options: perfClientOptions,
    notes: `Measures what an application gets: payload that was encrypted, paced,
acknowledged, and counted at both ends. PORT is 4433 unless given.
A gate for your CI: perf client --json > base.json once, then --baseline base.json.
`,
    run: runPerfClient,
  },
  doctor: {
    summary: 'look for what slows paceline down on this machine, and how to mend it',
    usage: doctorUsage,
    options: doctorOptions,
    notes: doctorNotes,
    run: runDoctor,
  },
  sim: {
    summary: 'run simulated worlds with faults, and check every promise',
    usage: simUsage,
    options: simOptions,
    notes: 'One seed is one world, the same everywhere. A failure tells its seed, and the command that replays it.\n',
    run: runSim,
  },
}

const EXIT_CODES = `Exit codes:
    0  every file arrived whole; every world kept its promises; no problems
    1  something failed, or doctor found a problem; stderr says what was expected
       and what came
    2  the command line is wrong
    3  perf: slower than --baseline or --fail-below allow
  130  interrupted (Ctrl-C); 143 terminated
`

function overview(): string {
  const rows = Object.entries(commands).map(([name, command]) => `  ${name.padEnd(14)}${command.summary}\n`)
  return `paceline: reliable, encrypted, paced streams over UDP

usage: paceline COMMAND [OPTION…]

${rows.join('')}
"paceline COMMAND --help" tells more, "paceline --version" which one this is.

${EXIT_CODES}`
}

function perfHelp(): string {
  const [server, client] = [commands['perf server'], commands['perf client']]
  if (server === undefined || client === undefined) return overview()
  return `${client.summary}\n\nusage: ${server.usage}\n       ${client.usage}\n\nperf server\n${describeOptions(server.options)}\nperf client\n${describeOptions(client.options)}\n${server.notes}${client.notes}\n${EXIT_CODES}`
}

function help(command: Command): string {
  return `${command.summary}\n\nusage: ${command.usage}\n\n${describeOptions(command.options)}\n${command.notes}\n${EXIT_CODES}`
}

async function run(args: readonly string[]): Promise<number> {
  const [name, ...rest] = args
  if (name === undefined) {
    process.stderr.write(overview())
    return ExitCode.Usage
  }
  if (name === '--help' || name === '-h' || name === 'help') {
    process.stdout.write(overview())
    return ExitCode.Ok
  }
  if (name === '--version' || name === '-v') {
    process.stdout.write(`${packageVersion()}\n`)
    return ExitCode.Ok
  }
  if (name === 'perf') return runNamed(`perf ${rest[0] ?? ''}`.trimEnd(), rest.slice(1))
  return runNamed(name, rest)
}

/** A command of one word or two. */
async function runNamed(name: string, rest: readonly string[]): Promise<number> {
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined
  if (command === undefined) {
    if (/^perf (--help|-h)$/.test(name)) {
      process.stdout.write(perfHelp())
      return ExitCode.Ok
    }
    const near = suggest(name, Object.keys(commands))
    throw new UsageError(`expected a command (${Object.keys(commands).join(', ')}), got ${name}${near === undefined ? '' : `; did you mean ${near}?`}`)
  }
  const options = rest.includes('--') ? rest.slice(0, rest.indexOf('--')) : rest
  if (options.includes('--help') || options.includes('-h')) {
    process.stdout.write(help(command))
    return ExitCode.Ok
  }
  return command.run(rest)
}

function explain(error: unknown): number {
  if (error instanceof Interrupted) {
    say('paceline: interrupted')
    return error.exitCode
  }
  const head = paint('red', 'paceline:')
  if (error instanceof UsageError) {
    say(`${head} ${error.message} (see paceline ${error.command === undefined ? '' : `${error.command} `}--help)`)
    return ExitCode.Usage
  }
  const code = pacelineCode(error)
  say(`${head} ${oneLine(error)}${code === undefined ? '' : ` [${code}]`}`)
  if (process.env['NODE_DEBUG']?.includes('paceline') === true && error instanceof Error) say(error.stack ?? '')
  return ExitCode.Failed
}

void run(process.argv.slice(2))
  .catch(explain)
  .then((code) => {
    process.exitCode = code
    // Nothing should be open now. If something is, a command that hangs after its last line would be worse than an abrupt end.
    setTimeout(() => process.exit(), EXIT_GRACE_MS).unref()
  })

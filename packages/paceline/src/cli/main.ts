import { commands, help, overview, perfHelp } from './commands.js'
import { ExitCode, UsageError, meaning, pacelineCode, told } from './faults.js'
import { Interrupted } from './interrupt.js'
import { suggest } from '../option-names.js'
import { paint, say } from './output.js'
import { packageVersion } from './version.js'

/** What is still open when a command is done has this long to end by itself. */
const EXIT_GRACE_MS = 500

async function run(args: readonly string[]): Promise<number> {
  const [name, ...rest] = args
  if (name === undefined) {
    process.stderr.write(overview())
    return ExitCode.Usage
  }
  if (name === 'help' && rest.length > 0) return run([...rest, '--help'])
  if (name === '--help' || name === '-h' || name === 'help') {
    process.stdout.write(overview())
    return ExitCode.Ok
  }
  if (name === '--version' || name === '-V' || name === '-v') {
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
    const known = Object.keys(commands).filter((command) => !/^perf\b/.test(name) || command.startsWith('perf '))
    const near = name === 'perf' ? undefined : suggest(name, known)
    throw new UsageError(`expected a command (${known.join(', ')}), got ${name}${near === undefined ? '' : `; did you mean ${near}?`}`)
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
  say(`${head} ${told(error)}${code === undefined ? '' : ` [${code}]`}`)
  if (process.env['NODE_DEBUG']?.includes('paceline') === true && error instanceof Error) say(error.stack ?? '')
  return ExitCode.Failed
}

/** Why stdout would not take a result. A reader that has seen enough (`| head`) is no reason: what we found out is still our exit code. */
let unwritten: Error | undefined
let over = false

function tellUnwritten(): void {
  say(`${paint('red', 'paceline:')} expected stdout to take what there is to say, got ${meaning(unwritten)}`)
  process.exitCode = ExitCode.Failed
}

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE' || unwritten !== undefined) return
  unwritten = error
  if (over) tellUnwritten()
})

void run(process.argv.slice(2))
  .catch(explain)
  .then((code) => {
    over = true
    process.exitCode = code
    // Also where the result, `doctor --json` with a problem, is what went wrong: nobody has read it.
    if ((code === ExitCode.Ok || code === ExitCode.Failed) && unwritten !== undefined) tellUnwritten()
    // Nothing should be open now. If something is, a command that hangs after its last line would be worse than an abrupt end.
    setTimeout(() => process.exit(), EXIT_GRACE_MS).unref()
  })

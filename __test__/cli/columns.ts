// What `perf client` and `doctor` print fits the terminal; colours, and what only somebody who waits wants to know, are for terminals alone.
import { stripVTControlCharacters } from 'node:util'
import type { ExecutionContext } from 'ava'
import { cells } from '../../packages/paceline/src/cli/layout.ts'
import { paceline, temporaryFolder, writeSecret } from '../e2e/helpers/cli.ts'
import { testWith } from '../e2e/helpers/needs.ts'
import { OnTerminal } from '../e2e/helpers/terminal.ts'

const WIDTHS = [80, 120] as const
const COLOUR = /\x1b\[[\d;]*m/

async function startServer(t: ExecutionContext) {
  const secretFile = writeSecret(temporaryFolder(t))
  const server = paceline(t, ['perf', 'server', '--quiet', '--json', '--host', '127.0.0.1', '--port', '0', '--secret-file', secretFile])
  const [, port = ''] = await server.prints(/"event":"listening".*"port":(\d+)/)
  return { secretFile, target: `127.0.0.1:${port}` }
}

/** Lines as they were written: a terminal that has to break one shows more rows. What a line was before it was erased counts, too. */
const linesOf = (written: string) => stripVTControlCharacters(written).split(/[\r\n]+/).filter((line) => line !== '')

function fits(t: ExecutionContext, written: string, columns: number): void {
  const lines = linesOf(written)
  t.true(lines.length > 0)
  for (const line of lines) t.true(cells(line) <= columns, `${cells(line)} of ${columns}: ${line}`)
}

testWith(['script'], 'perf client fits 80 and 120 columns, has a bold head there, and none in a pipe', async (t) => {
  const { secretFile, target } = await startServer(t)
  const args = (...how: string[]) => ['perf', 'client', '--secret-file', secretFile, '-i', '0.1', ...how, target]
  for (const how of [['-n', '4M', '-b', '100M', '--bidir'], ['--streams', '200']]) {
    for (const columns of WIDTHS) {
      const screen = await new OnTerminal(t, columns, args(...how)).ended
      t.is(screen.code, 0, screen.written)
      fits(t, screen.written, columns)
      t.regex(screen.written, /\x1b\[1m +seconds .* CPU\r?\n?\x1b\[22m/)
      t.true(screen.rows.some((row) => /^cipher +aes-/.test(row)), screen.written)
    }
    // The table of intervals has 76; what follows it can be narrower, and has to where its numbers are long.
    const narrow = await new OnTerminal(t, 60, args(...how)).ended
    fits(t, narrow.written.slice(narrow.written.search(/^(goodput there|streams) /m)), 60)
    const piped = await paceline(t, args(...how)).ended
    t.is(piped.code, 0, piped.stderr)
    t.regex(piped.stdout, /^pacing error +client p50 .* server p50 .*$/m)
    t.regex(piped.stdout, /^ +seconds /)
    t.notRegex(piped.stdout, /\x1b/)
    t.is(piped.stderr, '')
  }
})

testWith(['script'], 'perf client tells of intervals while it measures, and Ctrl-C ends it', async (t) => {
  const { secretFile, target } = await startServer(t)
  const measuring = new OnTerminal(t, 80, ['perf', 'client', '--secret-file', secretFile, '-t', '60', '-b', '20M', '-i', '0.1', target])
  await measuring.writes(/^send +[\d.]+–[^]*^send +[\d.]+–/m)
  measuring.types('\x03')
  const screen = await measuring.ended
  t.is(screen.code, 130, screen.written)
  fits(t, screen.written, 80)
  t.regex(screen.rows.at(-1) ?? '', /paceline: interrupted$/)
})

testWith(['script'], 'perf client says on a terminal whom it waits for, and in a pipe only how that went', async (t) => {
  const args = ['perf', 'client', '--handshake-timeout', '2s', '--secret-file', writeSecret(temporaryFolder(t)), '127.0.0.1:9']
  for (const columns of WIDTHS) {
    const screen = await new OnTerminal(t, columns, args).ended
    t.is(screen.code, 1)
    t.regex(screen.written, /^connecting to 127\.0\.0\.1:9 …\r\x1b\[2K/)
    t.regex(screen.written, /\x1b\[31mpaceline:\x1b\[39m/)
    fits(t, screen.written, columns)
    t.notRegex(screen.rows.join(' '), /connecting/)
  }
  const piped = await paceline(t, args).ended
  t.is(piped.code, 1)
  t.regex(piped.stderr, /^paceline: 127\.0\.0\.1:9: nobody answered.*\n$/)
})

testWith(['script'], 'doctor fits 80 and 120 columns but for commands, which are there to be copied; colours and "asking" are for terminals', async (t) => {
  const { target } = await startServer(t)
  for (const columns of WIDTHS) {
    const screen = await new OnTerminal(t, columns, ['doctor', target]).ended
    // Whether it finds a problem is up to the machine.
    t.true(screen.code === 0 || screen.code === 1, screen.written)
    t.regex(screen.written, COLOUR)
    t.regex(screen.written, /asking 127\.0\.0\.1:\d+/)
    // Commands are bold.
    fits(t, screen.written.replaceAll(/^ +(?:fix +)?\x1b\[1m.*\x1b\[22m\r?$/gm, ''), columns)
    t.regex(screen.rows.at(-1) ?? '', /^\d+ ok, \d+ problems?, \d+ notices?, \d+ not known$/)
  }
  const piped = await paceline(t, ['doctor', target]).ended
  t.notRegex(piped.stdout, /\x1b/)
  t.is(piped.stderr, '')
})

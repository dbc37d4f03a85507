import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { ENVIRONMENT, EXIT_CODES, commands } from '../../packages/paceline/src/cli/commands.ts'
import type { PerfReport } from '../../packages/paceline/src/cli/perf-client.ts'
import { jsonLines, lastJson, paceline, startReceiver, temporaryFolder, writeRandomFile, writeSecret } from '../e2e/helpers/cli.ts'

const page = readFileSync('docs/cli.md', 'utf8')

/** The text of a section of the page. */
function section(name: string): string {
  const found = page.split(/^## /m).find((text) => text.startsWith(`${name}\n`))
  if (found === undefined) throw new Error(`no section ${name}`)
  return found
}

/** Words in backticks in the first column of a table, by the table's first heading. */
function column(text: string, heading: string): string[] {
  const lines = text.split('\n')
  const begin = lines.findIndex((line) => line.startsWith(`| ${heading} |`))
  if (begin < 0) throw new Error(`no table ${heading}`)
  const rows = lines.slice(begin + 2)
  const end = rows.findIndex((line) => !line.startsWith('|'))
  return rows.slice(0, end < 0 ? rows.length : end).flatMap((line) => [...(line.split('|')[1] ?? '').matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? ''))
}

/** Fields that the second column of a field's row names, in order; what stands in parentheses explains one of them. */
function inner(text: string, heading: string, field: string): string[] {
  if (!column(text, heading).includes(field)) throw new Error(`no row ${field}`)
  const row = text.slice(text.indexOf(`| ${heading} |`)).split('\n').find((line) => line.startsWith('|') && (line.split('|')[1] ?? '').includes(`\`${field}\``)) ?? ''
  return words((row.split('|')[2] ?? '').replaceAll(/\([^)]*\)/g, ''))
}

test('every environment variable that --help names, or the package reads, stands in docs/cli.md', (t) => {
  const documented = column(section('Environment'), 'variable')
  for (const name of ENVIRONMENT.matchAll(/^ {2}([A-Z_]+) /gm)) t.true(documented.includes(name[1] ?? ''), name[1])
  for (const file of readdirSync('packages/paceline/src', { recursive: true, encoding: 'utf8' })) {
    if (!file.endsWith('ts')) continue
    const read = readFileSync(join('packages/paceline/src', file), 'utf8').matchAll(/(?:env\[|environmentFlag\()'(PACELINE_\w+)'/g)
    // A build with bugs planted has one more, for its own test.
    for (const [, name = ''] of read) if (name !== 'PACELINE_SIM_PLANT') t.true(documented.includes(name), `${file}: ${name}`)
  }
})

const words = (text: string) => [...new Set(Array.from(text.matchAll(/`(\w+)`/g), (match) => match[1] ?? ''))].filter((word) => word !== 'null')

const keys = (value: object | null | undefined) => Object.keys(value ?? {}).sort()

test('--help and docs/cli.md name the same options of the same commands, with the same values and words', (t) => {
  const documented = [...page.matchAll(/^## `paceline (.+)`$/gm)].map((match) => match[1])
  t.deepEqual(documented.sort(), Object.keys(commands).sort())
  for (const [name, { options }] of Object.entries(commands)) {
    const text = section(`\`paceline ${name}\``)
    const written = Object.entries(options).map(([option, { short, value }]) => `${short === undefined ? '' : `-${short}, `}--${option}${value === undefined ? '' : ` ${value}`}`)
    t.deepEqual(column(text, 'option'), written, name)
    for (const { help } of Object.values(options)) t.true(text.includes(help), `${name}: ${help}`)
  }
})

test('exit codes stand in --help, in docs/cli.md, and are those that are used', (t) => {
  const codes = (text: string) => [...text.matchAll(/(?:^ {2,}|^\| |; )(\d+) (?=[ |a-z])/gm)].map((match) => Number(match[1]))
  t.deepEqual(codes(EXIT_CODES), [0, 1, 2, 3, 130, 143, 129])
  t.deepEqual([...section('Exit codes').matchAll(/^\| (\d+) \|/gm)].map((match) => Number(match[1])), [0, 1, 2, 3, 130])
  t.regex(section('Exit codes'), /143 terminated.*129 the terminal/)
  const readme = /^### Exit codes\n(.*?)^## /ms.exec(readFileSync('README.md', 'utf8'))?.[1] ?? ''
  t.deepEqual([...readme.matchAll(/^\| ([\d, ]+) \|/gm)].flatMap(([, all = '']) => all.split(', ').map(Number)), [0, 1, 2, 3, 130, 143, 129])
})

test.serial('--help of everything: 80 columns, usage, exit codes; help, -h, --version', async (t) => {
  const names = ['', ...Object.keys(commands), 'perf']
  for (const name of names) {
    const ended = await paceline(t, [...name.split(' ').filter(Boolean), '--help']).ended
    t.is(ended.code, 0)
    t.regex(ended.stdout, /usage: paceline/)
    t.true(ended.stdout.includes(EXIT_CODES))
    for (const line of ended.stdout.split('\n')) t.true([...line].length <= 80, `${name}: ${line}`)
    t.notRegex(ended.stdout, /\x1b/)
  }
  const [help, short, version, none, wrong] = await Promise.all(
    [['help', 'send'], ['send', '-h'], ['--version'], [], ['docter']].map((args) => paceline(t, args).ended),
  )
  t.is(help?.stdout, short?.stdout)
  t.is(version?.stdout.trim(), (JSON.parse(readFileSync('packages/paceline/package.json', 'utf8')) as { version: string }).version)
  t.is(none?.code, 2)
  t.regex(none?.stderr ?? '', /usage: paceline COMMAND/)
  t.is(wrong?.code, 2)
  t.regex(wrong?.stderr ?? '', /did you mean doctor\?/)
})

test.serial('what doctor --json prints is what docs/cli.md says', async (t) => {
  const doctor = section('`paceline doctor`')
  const diagnosis = lastJson<{ findings: { id: string }[]; counts: object }>(await paceline(t, ['doctor', '--json', '127.0.0.1:9']).ended)
  t.deepEqual(Object.keys(diagnosis).sort(), column(doctor, 'field').sort())
  t.deepEqual([...diagnosis.findings.map(({ id }) => id), 'peer.handshake'].sort(), column(doctor, 'finding').sort())
  t.deepEqual(keys(diagnosis.counts), inner(doctor, 'field', 'counts').sort())
  for (const finding of diagnosis.findings) t.deepEqual(keys(finding), inner(doctor, 'field', 'findings').sort())
})

test.serial('what sim --json prints is what docs/cli.md says', async (t) => {
  const sim = lastJson<object>(await paceline(t, ['sim', '--seeds', '1', '--json']).ended)
  t.deepEqual(Object.keys(sim).sort(), column(section('`paceline sim`'), 'field').filter((field) => field !== 'interrupted').sort())
  const paths = lastJson<object>(await paceline(t, ['sim', '--paths', '--json']).ended)
  const [, named = ''] = /with `--paths` another: ([^)]*)\)/.exec(section('`paceline sim`')) ?? []
  t.deepEqual(keys(paths), words(named).sort())
})

test.serial('what send --json and recv --json print is what docs/cli.md says', async (t) => {
  const folder = temporaryFolder(t)
  const secretFile = writeSecret(folder)
  const { receiver, port } = await startReceiver(t, { secretFile, out: folder, options: ['--once'] })
  const file = writeRandomFile(temporaryFolder(t), 'file', 1000)
  const sent = lastJson<object>(await paceline(t, ['send', '--json', '--secret-file', secretFile, `127.0.0.1:${port}`, file]).ended)
  t.deepEqual(Object.keys(sent).sort(), column(section('`paceline send`'), 'field').filter((field) => field !== 'skipped').sort())
  t.deepEqual(keys((sent as { completions: object }).completions), inner(section('`paceline send`'), 'field', 'completions').sort())
  t.deepEqual(keys((sent as { files: object[] }).files[0]), inner(section('`paceline send`'), 'field', 'files').filter((word) => word !== 'resumedAt').sort())
  const recv = section('`paceline recv`')
  const events = jsonLines(await receiver.ended)
  t.deepEqual(events.map(({ event }) => event), ['listening', 'file', 'closed'])
  for (const { event, ...rest } of events) {
    const row = recv.split('\n').find((line) => line.startsWith(`| \`${String(event)}\` |`)) ?? ''
    // Those of a refusal and of a resumed file come only then.
    const documented = words(row.split('|')[2] ?? '').filter((word) => !['code', 'error', 'resumedAt'].includes(word))
    t.deepEqual(keys(rest), documented.sort(), String(event))
  }
})

test.serial('what perf client --json prints is what docs/cli.md says', async (t) => {
  const secretFile = writeSecret(temporaryFolder(t))
  const server = paceline(t, ['perf', 'server', '--json', '--host', '127.0.0.1', '--port', '0', '--secret-file', secretFile])
  const [, port] = await server.prints(/"port":(\d+)/)
  const perf = section('`paceline perf client`')
  const client = (...args: string[]) => paceline(t, ['perf', 'client', '--json', ...args, '--secret-file', secretFile, `127.0.0.1:${port}`]).ended
  const report = lastJson<PerfReport>(await client('-t', '1', '-i', '0.1', '--fail-below', '1k'))
  t.deepEqual(Object.keys(report).sort(), column(perf, 'field').sort())
  t.deepEqual(Object.keys(report.client).sort(), column(perf, 'side').sort())
  t.deepEqual(Object.keys(report.client.intervals[0] ?? {}).sort(), column(perf, 'interval').sort())
  for (const field of ['remote', 'plan', 'gate'] as const) t.deepEqual(keys(field === 'gate' ? { ...report.gate, ...report.gate?.figures[0] } : report[field]), inner(perf, 'field', field).sort(), field)
  for (const field of ['pacingErrorUs', 'trainPackets'] as const) t.deepEqual(keys(report.client[field]), inner(perf, 'side', field).sort(), field)
  const { streams } = lastJson<PerfReport>(await client('--streams', '10')).client
  t.deepEqual(keys(streams), inner(perf, 'side', 'streams').sort())
  const [, latency = ''] = /`latencyUs` \(([^;]*);/.exec(perf) ?? []
  t.deepEqual(keys(streams?.latencyUs), words(latency).sort())
  // The server's events, in words above.
  await server.prints(/(?:"event":"test"[^]*?){2}/)
  server.signal('SIGINT')
  const events = jsonLines(await server.ended)
  const [, told = ''] = /The events of `--json` are ([^]*?)\n\n/.exec(section('`paceline perf server`')) ?? []
  for (const { event, ...rest } of events) {
    const [, fields = ''] = new RegExp(`\`${String(event)}\` \\(([^)]*)\\)`).exec(told) ?? []
    t.deepEqual(keys(rest), words(fields).sort(), String(event))
  }
  t.deepEqual(events.map(({ event }) => event), ['listening', 'test', 'test'])
})

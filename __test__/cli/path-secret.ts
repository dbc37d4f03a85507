import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmodSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { Endpoint } from '../../packages/paceline/src/index.js'
import { readPathSecret } from '../../packages/paceline/src/cli/path-secret.js'
import type { PerfReport } from '../../packages/paceline/src/cli/perf-client.ts'
import { jsonLines, lastJson, paceline, temporaryFolder, writeRandomFile } from '../e2e/helpers/cli.ts'

const LOCAL = '127.0.0.1'
type Role = 'client' | 'server'

/** As `npx paceline secret --path --peer 127.0.0.1 > FILE` makes it. */
async function makeFile(t: ExecutionContext, folder: string, name: string, ...options: string[]): Promise<string> {
  const { code, stdout } = await paceline(t, ['secret', '--path', '--peer', LOCAL, ...options]).ended
  t.is(code, 0)
  const path = join(folder, name)
  writeFileSync(path, stdout, { mode: 0o600 })
  return path
}

async function receiver(t: ExecutionContext, file: string, role: Role, out: string) {
  mkdirSync(out)
  const running = paceline(t, ['recv', '--json', '--once', '--host', LOCAL, '--port', '0', '--path-secret-file', file, '--role', role, '--out', out])
  const [, port] = await running.prints(/"event":"listening".*"port":(\d+)/)
  return { running, port: Number(port) }
}

/** For who is not answered. */
const BRIEF = ['--handshake-timeout', '700ms']

const send = (t: ExecutionContext, file: string, role: Role, port: number, source: string, ...options: string[]) =>
  paceline(t, ['send', '--quiet', ...options, '--path-secret-file', file, '--role', role, `${LOCAL}:${port}`, source]).ended

for (const [role, other, suite] of [['client', 'server', 'aes-128-gcm'], ['server', 'client', 'aes-256-gcm']] as const) {
  test.serial(`a file between two processes with one path secret: the sender is the ${role}, ${suite}`, async (t) => {
    const folder = temporaryFolder(t)
    const file = await makeFile(t, folder, 'path.json', '--cipher', suite)
    const source = writeRandomFile(folder, 'file', 400_000)
    const { running, port } = await receiver(t, file, other, join(folder, 'out'))
    const sent = await send(t, file, role, port, source)
    t.is(sent.code, 0, sent.stderr)
    t.is((await running.ended).code, 0)
    const hash = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex')
    t.is(hash(join(folder, 'out', 'file')), hash(source))
  })
}

test.serial('the wrong role and the wrong secret fail with a code, and show nothing of the file', async (t) => {
  const folder = temporaryFolder(t)
  const [file, another] = [await makeFile(t, folder, 'a.json'), await makeFile(t, folder, 'b.json')]
  const source = writeRandomFile(folder, 'file', 1000)
  const { port } = await receiver(t, file, 'server', join(folder, 'out'))
  for (const [given, role] of [[file, 'server'], [another, 'client']] as const) {
    const { code, stderr } = await send(t, given, role, port, source, ...BRIEF)
    t.is(code, 1)
    t.regex(stderr, /^paceline: .*\[ERR_PACELINE_PATH_UNCONFIRMED\]\n$/)
    t.false(stderr.includes(secretOf(given)))
  }
  // The receiver heard neither: the right one still gets through.
  const { code, stderr } = await send(t, file, 'client', port, source)
  t.is(code, 0, stderr)
})

test.serial('perf measures with one path secret, in either role, and its server ends after the one test', async (t) => {
  const folder = temporaryFolder(t)
  for (const [role, other, load] of [['client', 'server', ['-n', '3M', '--bidir', '-P', '2']], ['server', 'client', ['--streams', '200']]] as const) {
    const [file, another] = [await makeFile(t, folder, `${role}.json`), await makeFile(t, folder, 'another.json')]
    const server = paceline(t, ['perf', 'server', '--json', '--host', LOCAL, '--port', '0', '--path-secret-file', file, '--role', other])
    const [, port = ''] = await server.prints(/"event":"listening".*"port":(\d+)/)
    const client = (given: string, as: Role, ...options: string[]) =>
      paceline(t, ['perf', 'client', '--json', ...options, '--path-secret-file', given, '--role', as, ...load, `${LOCAL}:${port}`]).ended
    for (const wrong of [await client(file, other, ...BRIEF), await client(another, role, ...BRIEF)]) {
      t.is(wrong.code, 1)
      t.regex(wrong.stderr, /^paceline: .*\[ERR_PACELINE_PATH_UNCONFIRMED\]\n$/)
      t.false(wrong.stderr.includes(secretOf(file)))
    }
    const right = await client(file, role)
    t.is(right.code, 0, right.stderr)
    const report = lastJson<PerfReport>(right)
    t.true(report.ok)
    t.is(report.client.sentBytes, report.server.receivedBytes)
    t.is(report.client.receivedBytes, report.server.sentBytes)
    t.is(report.client.sentBytes, role === 'client' ? 3_000_000 : 200 * 1024)
    const ended = await server.ended
    t.is(ended.code, 0, ended.stderr)
    const events = jsonLines(ended)
    t.deepEqual(events.map(({ event }) => event), ['listening', 'test'], 'neither of the wrong ones was a test')
    t.is(events[1]?.['remote'], LOCAL, 'a port that nobody looked at is not told')
  }
})

function secretOf(file: string): string {
  const { exportSecret } = JSON.parse(readFileSync(file, 'utf8')) as { exportSecret: string }
  return exportSecret
}

test.serial('one process takes a file once in each role', async (t) => {
  const file = await makeFile(t, temporaryFolder(t), 'path.json')
  const endpoint = await Endpoint.bind({ host: LOCAL })
  t.teardown(() => {
    endpoint.destroy()
  })
  const connect = async () => endpoint.connect(LOCAL, 9, { pathSecret: (await readPathSecret(file, 'client')).secret })
  await connect()
  await t.throwsAsync(connect(), { code: 'ERR_PACELINE_PATH_SECRET_USED' })
})

test.serial('a new path secret: one line of JSON, another each time, for nobody else to read', async (t) => {
  const folder = temporaryFolder(t)
  const file = join(folder, 'path.json')
  const cli = join(process.cwd(), 'packages/paceline/bin/paceline.js')
  const made = spawnSync('sh', ['-c', `umask 022; "$0" "$1" secret --path --peer ::1 > "$2"`, process.execPath, cli, file])
  t.is(made.status, 0)
  t.is(statSync(file).mode & 0o777, 0o600)
  const { secret, peerAddress } = await readPathSecret(file, 'server')
  t.like(secret, { role: 'server', cipherSuite: 'aes-128-gcm', peerResetToken: undefined })
  t.deepEqual(peerAddress, { address: '::1', port: 4433 })
  const again = await makeFile(t, folder, 'again.json')
  t.not(secretOf(again), secretOf(file))
})

const GOOD = { exportSecret: Buffer.from(Array.from({ length: 32 }, (_, at) => at * 7 + 1)).toString('base64url'), cipherSuite: 'aes-128-gcm' }
const contents: [unknown, RegExp][] = [
  ['not json hunter2', /: expected a path secret as JSON, got text that is none/],
  [[GOOD], /: expected a JSON object, got something else/],
  [{ ...GOOD, exportSecret: undefined }, /: exportSecret: expected base64url of 32 bytes, got none/],
  [{ ...GOOD, exportSecret: `${GOOD.exportSecret}=` }, /: exportSecret: expected base64url of 32 bytes, got something else/],
  [{ ...GOOD, peerResetToken: GOOD.exportSecret }, /: peerResetToken: expected base64url of 16 bytes, got something else/],
  [{ ...GOOD, cipherSuite: 'hunter2' }, /: cipherSuite: expected "aes-128-gcm" or "aes-256-gcm", got something else/],
  [{ ...GOOD, firstKeyId: 'hunter2' }, /: firstKeyId: expected a number, got something else/],
  [{ ...GOOD, peerAddress: { address: 'hunter2' } }, /: peerAddress.address: expected an IP address, got something else/],
  [{ ...GOOD, hunter2: 1 }, /: expected nothing but exportSecret, .*, got another field/],
]
test.serial('what is wrong in a file is said, and never quoted', async (t) => {
  const file = join(temporaryFolder(t), 'path.json')
  for (const [content, message] of contents) {
    writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content), { mode: 0o600 })
    const error = await t.throwsAsync(readPathSecret(file, 'client'), { code: 'ERR_PACELINE_SECRET', message })
    t.notRegex(error.message, /hunter2/)
    t.false(error.message.includes(GOOD.exportSecret))
  }
  writeFileSync(file, JSON.stringify({ ...GOOD, firstKeyId: 7, peerAddress: { address: LOCAL, port: 9 } }))
  t.like((await readPathSecret(file, 'client')).secret, { firstKeyId: 7, cipherSuite: 'aes-128-gcm' })
})

test.serial('the command line says what does not go together, and warns of a file that others read', async (t) => {
  const folder = temporaryFolder(t)
  const file = join(folder, 'path.json')
  writeFileSync(file, JSON.stringify(GOOD))
  chmodSync(file, 0o644)
  const out = ['--out', folder]
  const usage: [string[], RegExp][] = [
    [['send', '--role', 'client', `${LOCAL}:9`, file], /expected --role with --path-secret-file only/],
    [['send', '--path-secret-file', file, `${LOCAL}:9`, file], /expected --role client or --role server with --path-secret-file, got none/],
    [['recv', '--path-secret-file', file, '--role', 'peer', '--port', '0', ...out], /expected --role client or --role server .*, got "peer"/],
    [['send', '--path-secret-file', file, '--role', 'client', '--secret-file', file, `${LOCAL}:9`, file], /expected --path-secret-file or --secret-file, got both/],
    [['send', '--path-secret-file', file, '--path-secret-file', file, `${LOCAL}:9`, file], /expected --path-secret-file once, got it twice/],
    [['perf', 'server', '--path-secret-file', file, '--secret-file', file, '--role', 'server'], /expected --path-secret-file or --secret-file, got both \(see paceline perf server --help\)/],
    [['perf', 'server', '--path-secret-file', file], /expected --role client or --role server with --path-secret-file, got none/],
    [['perf', 'client', '--role', 'client', LOCAL], /expected --role with --path-secret-file only, got it without \(see paceline perf client --help\)/],
    [['perf', 'client', '--path-secret-file', file, '--role', 'both', LOCAL], /expected --role client or --role server .*, got "both"/],
    [['secret', '--peer', LOCAL], /expected --peer with --path only/],
    [['secret', '--path', '--peer', 'localhost'], /expected an IP address after --peer, got "localhost"/],
  ]
  for (const [args, message] of usage) {
    const { code, stderr, stdout } = await paceline(t, args).ended
    t.is(code, 2, args.join(' '))
    t.regex(stderr, message)
    t.is(stdout, '')
  }
  const { code, stderr } = await paceline(t, ['recv', '--path-secret-file', file, '--role', 'server', '--port', '0', ...out]).ended
  t.is(code, 1)
  t.regex(stderr, /^warning: others can read the secret in .* \(mode 644\)/)
  t.regex(stderr, /peerAddress: expected the address that the sender comes from, got none .*\[ERR_PACELINE_SECRET\]\n$/)
  const server = await paceline(t, ['perf', 'server', '--path-secret-file', file, '--role', 'server', '--port', '0']).ended
  t.is(server.code, 1)
  t.regex(server.stderr, /peerAddress: expected the address that the client comes from, got none .*\[ERR_PACELINE_SECRET\]\n$/)
  for (const command of ['send', 'recv', 'perf server', 'perf client']) {
    const help = await paceline(t, [...command.split(' '), '--help']).ended
    t.regex(help.stdout, /--path-secret-file FILE [^]*--role ROLE /)
    t.regex(help.stdout, /serves\s+one\s+run\s+on\s+each\s+side[^]*repeats\s+keys\s+and\s+nonces/)
  }
})

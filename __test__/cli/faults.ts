import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { appendFileSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { Endpoint, generateSecret } from 'paceline'
import { UsageError } from '../../packages/paceline/src/cli/faults.ts'
import { bitrate, handshake, idle } from '../../packages/paceline/src/cli/options.ts'
import { CLI, emptyProcess, eventually, paceline, run, startReceiver, temporaryFolder, writeRandomFile, writeSecret, type Ended } from '../e2e/helpers/cli.ts'
import { smallDisk, testWith } from '../e2e/helpers/needs.ts'

const LIMIT_MS = 3000
/** On a machine that has much else to do: in starts of a process, of which a command takes three or four. */
const LIMIT_STARTS = 30

/** One line that says what was expected and what came, an exit code that is not 0, and soon. */
async function checkFault(t: ExecutionContext, ended: Ended, pattern: RegExp, code = 1): Promise<void> {
  t.regex(ended.stderr, /^paceline: [^\n]+\n$/, 'one line')
  t.regex(ended.stderr, /expected .* got:? /)
  t.regex(ended.stderr, pattern)
  t.is(ended.code, code)
  await checkSoon(t, ended.milliseconds)
}

async function checkSoon(t: ExecutionContext, milliseconds: number): Promise<void> {
  if (milliseconds < LIMIT_MS) return
  const start = await emptyProcess(t)
  t.true(milliseconds < LIMIT_STARTS * start, `${milliseconds} ms, where a process that does nothing takes ${start} ms`)
}

interface Place {
  readonly folder: string
  readonly out: string
  readonly secretFile: string
}

function place(t: ExecutionContext): Place {
  const folder = temporaryFolder(t)
  const out = join(folder, 'out')
  mkdirSync(out)
  return { folder, out, secretFile: writeSecret(folder) }
}

async function usedPort(t: ExecutionContext): Promise<number> {
  const socket = createSocket('udp4')
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  t.teardown(() => socket.close())
  return socket.address().port
}

const recv = ({ secretFile, out }: Place, ...more: string[]) => ['recv', '--host', '127.0.0.1', '--port', '0', '--secret-file', secretFile, '--out', out, ...more]

test.serial('port in use', async (t) => {
  const { secretFile, out } = place(t)
  const port = await usedPort(t)
  const ended = await paceline(t, ['recv', '--host', '127.0.0.1', '--port', String(port), '--secret-file', secretFile, '--out', out]).ended
  await checkFault(t, ended, new RegExp(`127\\.0\\.0\\.1:${port}: EADDRINUSE`))
  await t.throwsAsync(Endpoint.listen({ host: '127.0.0.1', port, secret: generateSecret() }), { code: 'ERR_PACELINE_BIND' })
})

test.serial('output folder missing, or a file', async (t) => {
  const here = place(t)
  await checkFault(t, await paceline(t, recv({ ...here, out: join(here.folder, 'nowhere') })).ended, /--out.*nowhere: ENOENT \(it does not exist\); make it with mkdir -p\n/)
  await checkFault(t, await paceline(t, recv({ ...here, out: here.secretFile })).ended, /--out.*secret: ENOTDIR/)
})

test.serial('unreadable file', async (t) => {
  const { secretFile, folder } = place(t)
  const send = (...files: string[]) => paceline(t, ['send', '--secret-file', secretFile, '127.0.0.1:9', ...files]).ended
  await checkFault(t, await send(join(folder, 'nothing')), /got .*nothing: ENOENT/)
  await checkFault(t, await send(secretFile, secretFile), /got secret twice/)
})

test.serial('secret too short, missing, of another kind, or an argument', async (t) => {
  const here = place(t)
  writeFileSync(here.secretFile, 'paceline1:c2hvcnQ\n')
  await checkFault(t, await paceline(t, recv(here)).ended, /32 bytes.*\[ERR_PACELINE_SECRET\]/)
  await checkFault(t, await paceline(t, ['send', '127.0.0.1:9', here.secretFile], { PACELINE_SECRET: 'correct horse' }).ended, /PACELINE_SECRET.*ERR_PACELINE_SECRET/)
  rmSync(here.secretFile)
  await checkFault(t, await paceline(t, recv(here)).ended, /secret file.*ENOENT/)
  await checkFault(t, await paceline(t, ['send', '127.0.0.1:9', 'file']).ended, /--secret-file FILE or PACELINE_SECRET, got neither/)
  await checkFault(t, await paceline(t, ['send', '--secret', 'x', '127.0.0.1:9', 'file']).ended, /got --secret: an argument can be read/, 2)
  await t.throwsAsync(Endpoint.listen({ port: 0, secret: Buffer.alloc(31, 'x') }), { code: 'ERR_PACELINE_SECRET' })
})

test.serial('a secret of its own making is good, private, and new every time', async (t) => {
  const [one, two] = await Promise.all([paceline(t, ['secret']).ended, paceline(t, ['secret']).ended])
  t.regex(one.stdout, /^paceline1:[\w-]{43}\n$/)
  t.not(one.stdout, two.stdout)
})

test.serial('unknown options and commands, with a suggestion', async (t) => {
  const here = place(t)
  await checkFault(t, await paceline(t, recv(here, '--prot', '1')).ended, /got --prot; did you mean --port\?/, 2)
  await checkFault(t, await paceline(t, ['send', '--jsno', '127.0.0.1:9', 'file']).ended, /got --jsno; did you mean --json\?/, 2)
  await checkFault(t, await paceline(t, ['revc']).ended, /got revc; did you mean recv\?/, 2)
  await checkFault(t, await paceline(t, ['recv', '--port', '70000']).ended, /--port from 0 to 65535, got "70000"/, 2)
  await checkFault(t, await paceline(t, ['send', 'localhost', 'file']).ended, /HOST:PORT.*got "localhost"/, 2)
  await checkFault(t, await paceline(t, ['send', '--max-bitrate', 'fast', '127.0.0.1:9', 'file']).ended, /--max-bitrate.*got "fast"/, 2)
})

/** Options with a unit: how their text is read, and what is just outside of their limits, and just inside. */
const LIMITS: readonly (readonly [option: string, read: (text: string) => number, outside: readonly string[], inside: Readonly<Record<string, number>>])[] = [
  ['max-bitrate', (text) => bitrate('send', 'max-bitrate', text), ['0', '1k', '7999', '7.9k', '1001G', '8K', '8kbit', '-1', 'fast'], { '8000': 8e3, '8k': 8e3, '0.01M': 1e4, '1000G': 1e12 }],
  [
    'handshake-timeout', (text) => handshake('send', text),
    ['0', '9ms', '0.009', '601', '600.1s', '600001ms', '10.1m', '1000s', '1h', '5 s', 'soon'],
    { '10ms': 10, '0.01': 10, '5': 5_000, '2.5s': 2_500, '600': 600_000, '600000ms': 600_000, '10m': 600_000 },
  ],
  ['idle-timeout', (text) => idle('send', text), ['0', '999ms', '0.9', '601', '10.1m'], { '1': 1_000, '1000ms': 1_000, '600s': 600_000, '10m': 600_000 }],
]

test('numbers outside of their limits are a wrong command line that names the option, those inside are none', (t) => {
  for (const [option, read, outside, inside] of LIMITS) {
    for (const text of outside) t.true(t.throws(() => read(text), { instanceOf: UsageError }).message.startsWith(`expected --${option} from `), text)
    for (const [text, value] of Object.entries(inside)) t.is(read(text), value, `--${option} ${text}`)
  }
})

test.serial('every command refuses them, whatever else is wrong', async (t) => {
  const missing = join(temporaryFolder(t), 'nothing')
  const send = ['send', '--secret-file', missing, '127.0.0.1:9', missing]
  const client = ['perf', 'client', '--secret-file', missing, '127.0.0.1:9']
  const recv = ['recv', '--secret-file', missing, '--port', '0', '--out', missing]
  const cases: readonly (readonly [string[], string, string])[] = [
    [send, 'max-bitrate', '1k'], [send, 'handshake-timeout', '5ms'], [send, 'handshake-timeout', '1000s'], [send, 'idle-timeout', '601'], [recv, 'idle-timeout', '10.1m'],
    [client, 'rate', '1k'], [client, 'handshake-timeout', '1000s'], [client, 'duration', '61m'], [client, 'interval', '99ms'],
  ]
  for (const [command, option, value] of cases) {
    const ended = await paceline(t, [...command, `--${option}`, value]).ended
    await checkFault(t, ended, new RegExp(`^paceline: expected --${option} from .*, got "${value}" \\(see paceline `), 2)
  }
})

test.serial('the limits of the command line are those of the library', async (t) => {
  const endpoint = await Endpoint.bind({ host: '127.0.0.1' })
  t.teardown(() => endpoint.destroy())
  const connect = (options: object) => endpoint.connect('127.0.0.1', 9, { secret: generateSecret(), signal: AbortSignal.abort(), ...options })
  for (const options of [{ maxBitrate: 8_000 }, { maxBitrate: 1e12 }, { handshakeTimeout: 10 }, { handshakeTimeout: 600_000 }]) await t.throwsAsync(connect(options), { name: 'AbortError' }, JSON.stringify(options))
  for (const options of [{ maxBitrate: 7_999 }, { handshakeTimeout: 9 }, { handshakeTimeout: 600_001 }]) await t.throwsAsync(connect(options), { code: 'ERR_PACELINE_OPTION' }, JSON.stringify(options))
  for (const idleTimeout of [1_000, 600_000]) await (await Endpoint.bind({ host: '127.0.0.1', idleTimeout })).close()
  for (const idleTimeout of [999, 600_001]) await t.throwsAsync(Endpoint.bind({ host: '127.0.0.1', idleTimeout }), { code: 'ERR_PACELINE_OPTION' })
})

test.serial('a time without a unit is in seconds', async (t) => {
  const { folder, secretFile } = place(t)
  const ended = await paceline(t, ['send', '--handshake-timeout', '1', '--secret-file', secretFile, '127.0.0.1:9', writeRandomFile(folder, 'file', 1)]).ended
  t.is(ended.code, 1)
  t.regex(ended.stderr, /ERR_PACELINE_HANDSHAKE_TIMEOUT/)
  t.true(ended.milliseconds >= 1000, `${ended.milliseconds} ms`)
})

testWith(['linux'], 'stdout that is full is one line and exit code 1; one whose reader has seen enough is none', async (t) => {
  const shell = (command: string) => run(t, 'bash', ['-c', command, process.execPath, CLI]).ended
  for (const command of ['secret', 'doctor --json', 'sim --seeds 2 --json', '--help', '--version']) {
    await checkFault(t, await shell(`"$0" "$1" ${command} > /dev/full`), /^paceline: expected stdout to take .*, got ENOSPC \(the disk is full\)$/m)
    // What it says of this machine is not ours to promise: `doctor` ends with 1 where it finds a problem.
    const whole = await shell(`"$0" "$1" ${command} > /dev/null`)
    const { code, stderr } = await shell(`"$0" "$1" ${command} | true; exit \${PIPESTATUS[0]}`)
    t.is(code, command.startsWith('doctor') ? whole.code : 0, stderr)
    t.is(stderr, '')
  }
})

test.serial('--help tells about every option and the exit codes', async (t) => {
  for (const command of ['send', 'recv', 'secret']) {
    const ended = await paceline(t, [command, '--help']).ended
    t.is(ended.code, 0)
    t.regex(ended.stdout, /usage: paceline/)
    t.regex(ended.stdout, /130 {2}interrupted/)
  }
})

test.serial('nobody there, or another secret: within the handshake timeout, and the message names both causes', async (t) => {
  const here = place(t)
  const file = writeRandomFile(here.folder, 'file', 1)
  const send = (port: number) =>
    paceline(t, ['send', '--handshake-timeout', '1s', '--secret-file', writeSecret(here.folder, 'other'), `127.0.0.1:${port}`, file]).ended
  const { receiver, port } = await startReceiver(t, here)
  for (const ended of [await send(await usedPort(t)), await send(port)]) {
    t.regex(ended.stderr, /^paceline: [^\n]+\n$/)
    t.regex(ended.stderr, /127\.0\.0\.1:\d+: nobody answered: not listening.*another secret.*\[ERR_PACELINE_HANDSHAKE_TIMEOUT\]/)
    t.is(ended.code, 1)
    t.true(ended.milliseconds >= 1000, `${ended.milliseconds} ms`)
    await checkSoon(t, ended.milliseconds - 1000)
  }
  receiver.signal('SIGTERM')
  t.is((await receiver.ended).code, 143)
})

test.serial('a file that exists already is refused, and stays as it is', async (t) => {
  const here = place(t)
  const file = writeRandomFile(here.folder, 'file', 100_000)
  writeFileSync(join(here.out, 'file'), 'old')
  const { receiver, port } = await startReceiver(t, { ...here, options: ['--once'] })
  const ended = await paceline(t, ['send', '--quiet', '--secret-file', here.secretFile, `127.0.0.1:${port}`, file]).ended
  await checkFault(t, ended, /store file, got a refusal: .*exists already/)
  t.is((await receiver.ended).code, 1)
  t.deepEqual(readdirSync(here.out), ['file'])
})

testWith(['mount'], 'output folder full: before it starts, before a byte travels, and in the middle', async (t) => {
  const here = place(t)
  const out = smallDisk(t, here.folder, 4 << 20)
  const send = (port: number, file: string, ...options: string[]) =>
    paceline(t, ['send', '--quiet', ...options, '--secret-file', here.secretFile, `127.0.0.1:${port}`, file])

  // Too small for the file: known from its size.
  const large = writeRandomFile(here.folder, 'large', 5 << 20)
  const first = await startReceiver(t, { ...here, out, options: ['--quiet'] })
  await checkFault(t, await send(first.port, large).ended, /refusal: the receiver's disk: ENOSPC \(the disk is full\)/)
  await checkFault(t, await first.receiver.ended, /expected large to arrive whole, got: .*ENOSPC/)

  // Room enough at first, and then somebody else takes it.
  const middle = writeRandomFile(here.folder, 'middle', 3 << 20)
  const second = await startReceiver(t, { ...here, out, options: ['--quiet'] })
  const sender = send(second.port, middle, '--max-bitrate', '20M')
  await eventually(() => existsSync(join(out, 'middle.part')), 'the file is on its way')
  const fill = () => {
    for (;;) appendFileSync(join(out, 'filler'), Buffer.alloc(4096))
  }
  t.throws(fill, { code: 'ENOSPC' })
  await checkFault(t, await sender.ended, /refusal: the receiver's disk: ENOSPC \(the disk is full\)/)
  await checkFault(t, await second.receiver.ended, /expected middle to arrive whole, got: .*ENOSPC/)
  t.deepEqual(readdirSync(out), ['filler'], 'no partial file is left')

  await checkFault(t, await paceline(t, recv({ ...here, out })).ended, /free space in .*ENOSPC/)
})

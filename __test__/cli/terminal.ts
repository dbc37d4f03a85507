import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { startReceiver, temporaryFolder, writeRandomFile, writeSecret } from '../e2e/helpers/cli.ts'
import { testWith } from '../e2e/helpers/needs.ts'
import { OnTerminal, drawn, rowsOf } from '../e2e/helpers/terminal.ts'

async function receiver(t: ExecutionContext, ...options: string[]) {
  const folder = temporaryFolder(t)
  const out = join(folder, 'out')
  mkdirSync(out)
  const secretFile = writeSecret(folder)
  const { port } = await startReceiver(t, { secretFile, out, options })
  return { folder, secretFile, target: `127.0.0.1:${port}` }
}

/** Of a machine that was busy in the first moments minutes seem to be left. */
const LEFT = String.raw`(\d+ s|[\d:]+ (min|h)|\?) left`

const bars = (written: string) => drawn(written).filter((line) => line.includes(' %'))

testWith(['script'], 'send on a terminal: a bar that never breaks, and nothing of it in the end', async (t) => {
  const { folder, secretFile, target } = await receiver(t)
  for (const columns of [50, 80, 120]) {
    const file = writeRandomFile(folder, `a file with quite a long name for ${columns}`, 16_000_000)
    const screen = await new OnTerminal(t, columns, ['send', '--max-bitrate', '120M', '--secret-file', secretFile, target, file]).ended
    t.is(screen.code, 0, screen.written)
    const lines = bars(screen.written)
    t.true(lines.length >= 4, screen.written)
    for (const line of lines) t.regex(line, columns < 80 ? new RegExp(`^a.*0  ━+ +\\d+ %  ${LEFT}$`) : new RegExp(` \\d+ %  .* of 16\\.0 MB  .*B/s  ${LEFT}  RTT .* retr \\d+$`))
    // Ctrl-C shows as two letters, and they must not push the line up.
    for (const line of lines) t.true([...line].length <= columns - 3, line)
    t.true(lines.some((line) => line.includes('━')))
    t.regex(screen.rows[0] ?? '', /^sent a file with quite/)
    t.regex(screen.rows.join(''), /sha256 [0-9a-f]{64}$/)
    t.notRegex(screen.rows.join(''), /━|left/)
  }
})

testWith(['script'], 'Ctrl-C on a terminal: the bar goes, one line stays, the cursor is below it, 130', async (t) => {
  const { folder, secretFile, target } = await receiver(t)
  const file = writeRandomFile(folder, 'file', 50_000_000)
  const sending = new OnTerminal(t, 80, ['send', '--max-bitrate', '50M', '--secret-file', secretFile, target, file])
  await sending.writes(/━/)
  sending.types('\x03')
  const screen = await sending.ended
  t.is(screen.code, 130)
  t.deepEqual(screen.rows, ['paceline: interrupted'])
  t.true(screen.written.endsWith('\n'))
})

testWith(['script'], 'what is waited for is said, and errors break between words', async (t) => {
  const folder = temporaryFolder(t)
  const file = writeRandomFile(folder, 'file', 1)
  const screen = await new OnTerminal(t, 60, ['send', '--handshake-timeout', '2s', '--secret-file', writeSecret(folder), '127.0.0.1:9', file]).ended
  t.is(screen.code, 1)
  t.regex(screen.written, /^connecting to 127\.0\.0\.1:9 …\r\x1b\[2K/)
  t.deepEqual(screen.rows, ['paceline: 127.0.0.1:9: nobody answered: not listening,', 'filtered, or another secret (which is never answered)', '[ERR_PACELINE_HANDSHAKE_TIMEOUT]'])
  t.regex(screen.written, /\x1b\[31mpaceline:\x1b\[39m/)
})

testWith(['script'], 'NO_COLOR on a terminal: no colours; TERM=dumb: no bar either', async (t) => {
  const { folder, secretFile, target } = await receiver(t)
  const send = (name: string, env: NodeJS.ProcessEnv) =>
    new OnTerminal(t, 80, ['send', '--max-bitrate', '60M', '--secret-file', secretFile, target, writeRandomFile(folder, name, 8_000_000)], env).ended
  const plain = await send('plain', { NO_COLOR: '1' })
  t.true(bars(plain.written).length >= 2)
  t.notRegex(plain.written, /\x1b\[[\d;]*m/)
  const dumb = await send('dumb', { TERM: 'dumb' })
  t.is(dumb.code, 0)
  t.notRegex(dumb.written, /\x1b/)
  t.deepEqual(dumb.rows.map((row) => row.replace(/ .*/, '')), ['sent', ''])
})

testWith(['script'], 'a secret on a terminal comes with the way to keep it', async (t) => {
  const [secret, path] = await Promise.all([['secret'], ['secret', '--path']].map((args) => new OnTerminal(t, 120, args).ended))
  t.is(secret?.rows[0], 'keep it in a file that only you can read: npx paceline secret > FILE')
  t.regex(secret?.rows[1] ?? '', /^paceline1:[\w-]{43}$/)
  t.is(path?.rows[0], 'keep it in a file that only you can read: npx paceline secret --path … > FILE')
  t.regex(path?.rows[1] ?? '', /^\{"exportSecret":"[\w-]{43}","cipherSuite":"aes-128-gcm"\}$/)
})

test('the screen is read as a terminal would show it', (t) => {
  t.deepEqual(rowsOf('abcdef\r\n12\x1b[2K\r\x1b[31mxy\x1b[39m', 4), ['abcd', 'ef', 'xy'])
  t.deepEqual(rowsOf('left over\rnew', 20), ['newt over'])
  t.throws(() => rowsOf('\x1b[2J', 80), { message: /not known/ })
})

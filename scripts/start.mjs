// The main job, to be seen: a receiver and a sender as two processes, and a real file from one to the other through UDP.
// usage: npm start [-- [--json] [--max-bitrate BPS] [FILE…]]
import { createHash, randomBytes } from 'node:crypto'
import { createReadStream, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { pipeline } from 'node:stream/promises'
import { parseArgs } from 'node:util'
import { isStopping, root, start } from './run.mjs'

const CLI = join(root, 'packages', 'paceline', 'dist', 'cli', 'main.js')
const USAGE = 'usage: npm start [-- [--json] [--max-bitrate BPS] [FILE…]]'

function parse() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: { json: { type: 'boolean', default: false }, 'max-bitrate': { type: 'string' }, help: { type: 'boolean', short: 'h' } },
    })
  } catch (error) {
    process.stderr.write(`start: ${error.message.split('. ')[0]}\n${USAGE}\n`)
    process.exit(2)
  }
}

async function sha256(path) {
  const hash = createHash('sha256')
  await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash)
  return hash.digest('hex')
}

const ended = (child) => new Promise((done) => child.once('close', (code) => done(code ?? 1)))

const { values: options, positionals } = parse()
if (options.help) {
  process.stdout.write(`${USAGE}\nShips FILE… (by default the running node executable) between two processes over 127.0.0.1.\n`)
  process.exit(0)
}
// npm moves us to the workspace's folder; INIT_CWD is where the user stands.
const files = (positionals.length > 0 ? positionals : [process.execPath]).map((path) => resolve(process.env.INIT_CWD ?? '.', path))

const folder = mkdtempSync(join(tmpdir(), 'paceline-start-'))
process.on('exit', () => rmSync(folder, { recursive: true, force: true, maxRetries: 3 }))
const secretFile = join(folder, 'secret')
const out = join(folder, 'out')
mkdirSync(out)
writeFileSync(secretFile, `paceline1:${randomBytes(32).toString('base64url')}\n`, { mode: 0o600 })

// The channel ('ipc') carries nothing: a child sees it break, and ends, should we be killed without a chance to stop it.
// The secret is in a file: an inherited one would win nothing and could confuse.
const env = { ...process.env }
delete env.PACELINE_SECRET
const cli = (args, stderr) => start(process.execPath, [CLI, ...args], { stdio: ['ignore', 'pipe', stderr, 'ipc'], env })

// prettier-ignore
const receiver = cli(['recv', '--json', '--quiet', '--host', '127.0.0.1', '--port', '0', '--secret-file', secretFile,
  '--out', out, '--count', String(files.length)], 'inherit')
const receiverEnded = ended(receiver)
const received = []
const port = await new Promise((found) => {
  createInterface({ input: receiver.stdout }).on('line', (line) => {
    const news = JSON.parse(line)
    if (news.event === 'listening') found(news.port)
    if (news.event === 'file' && news.ok) received.push(news)
  })
  void receiverEnded.then(() => found(undefined))
})

if (port !== undefined && !isStopping()) {
  const bitrate = options['max-bitrate'] === undefined ? [] : ['--max-bitrate', options['max-bitrate']]
  // A JSON object alone is wanted: no progress beside it, unless somebody looks at a terminal.
  const quiet = options.json && !process.stderr.isTTY ? ['--quiet'] : []
  const sender = cli(['send', '--json', ...quiet, ...bitrate, '--secret-file', secretFile, `127.0.0.1:${port}`, ...files], 'inherit')
  let lastLine = ''
  createInterface({ input: sender.stdout }).on('line', (line) => (lastLine = line))
  const sent = await ended(sender)
  // The receiver ends by itself after the last file; after a failed sender it would wait for ever, for files that nobody wants.
  if (sent !== 0) receiver.kill('SIGKILL')
  const receivedCode = await receiverEnded
  if (!isStopping()) {
    if (lastLine === '') process.exitCode = sent || 1
    else await conclude(JSON.parse(lastLine), receivedCode)
  }
} else if (!isStopping()) process.exitCode = (await receiverEnded) || 1

/** Trusts neither side's word: both files are read again from where they lie. */
async function conclude(report, receivedCode) {
  for (const file of report.files) {
    const source = files.find((path) => basename(path) === file.name)
    const target = received.find((other) => other.name === file.name)?.path
    file.sha256Received = target === undefined ? null : await sha256(target)
    if (source === undefined || (await sha256(source)) !== file.sha256Sent) report.ok = false
    if (file.sha256Received !== file.sha256Sent) report.ok = false
  }
  if (report.files.length !== files.length || receivedCode !== 0) report.ok = false
  process.exitCode = report.ok ? 0 : 1
  process.stdout.write(options.json ? `${JSON.stringify(report)}\n` : render(report))
}

function render(report) {
  const number = (value, digits = 0) => value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits })
  const { completions, departureErrorUs } = report
  // Beside the longest name, and "SHA-256 agrees".
  const room = process.stdout.isTTY ? process.stdout.columns - 26 - 16 : Infinity
  const bytes = report.files.reduce((sum, file) => sum + file.bytes, 0)
  const rows = [
    ...report.files.map((file) => [
      file.name,
      file.sha256Sent === file.sha256Received ? `SHA-256 agrees: ${room < 64 ? `${file.sha256Sent.slice(0, 16)}…` : file.sha256Sent}` : `SHA-256 DIFFERS: sent ${file.sha256Sent}, received ${file.sha256Received}`,
    ]),
    ['bytes', number(bytes)],
    ['seconds', number(report.seconds, 3)],
    ['Gbit/s', number(report.gbitPerSecond, 2)],
    ['cipher', report.cipher],
    ['transmissions', number(report.transmissions)],
    ['packets per transmission', number(report.packetsPerTransmission, 1)],
    ['completions', `${number(completions.sent)} sent, ${number(completions.failed)} failed, ${number(completions.cancelled)} cancelled`],
    ['departure error', `p50 ${number(departureErrorUs.p50, 1)} µs, p99 ${number(departureErrorUs.p99, 1)} µs (actual minus scheduled)`],
    ['retransmitted packets', number(report.retransmittedPackets)],
    ['smoothed RTT', `${number(report.smoothedRttUs)} µs`],
    ['pacing rate', `${number(report.pacingRateBps / 1e9, 2)} Gbit/s`],
  ]
  const width = Math.max(...rows.map(([name]) => name.length))
  return `\n${rows.map(([name, value]) => `${name.padEnd(width)}  ${value}\n`).join('')}\n${report.ok ? 'ok: every file arrived whole' : 'FAILED: see above'}\n`
}

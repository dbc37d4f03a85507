import { createHash } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { ROOT, bestOf, emptyProcess, lastJson, run, temporaryFolder, writeRandomFile } from '../e2e/helpers/cli.ts'
import type { Report } from '../e2e/helpers/report.ts'

const start = (t: ExecutionContext, ...args: string[]) => run(t, process.execPath, [join(ROOT, 'scripts', 'start.mjs'), ...args])
const sha256 = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex')

function checkReport(t: ExecutionContext, report: Report, paths: readonly string[]): void {
  t.true(report.ok)
  t.deepEqual(
    report.files,
    paths.map((path) => {
      const hash = sha256(path)
      return { name: basename(path), bytes: statSync(path).size, sha256Sent: hash, sha256Received: hash }
    }),
  )
  t.regex(report.cipher, /AES/i)
  t.true(report.seconds > 0)
  const bits = 8 * report.files.reduce((sum, file) => sum + file.bytes, 0)
  t.true(Math.abs(report.gbitPerSecond - bits / report.seconds / 1e9) <= 0.01 * report.gbitPerSecond + 0.001)
  t.is(report.completions.sent, report.transmissions)
  t.is(report.completions.failed, 0)
  t.is(report.completions.cancelled, 0)
  t.true(report.transmissions > 0)
  t.true(Math.abs(report.packetsPerTransmission - report.packets / report.transmissions) < 0.01)
  t.true(report.departureErrorUs.p50 <= report.departureErrorUs.p99)
  t.true(report.smoothedRttUs > 0)
  t.true(report.pacingRateBps > 0)
  // Exactly the promised fields: a script somewhere reads them.
  t.deepEqual(Object.keys(report).sort(), [
    'cipher', 'completions', 'departureErrorUs', 'files', 'gbitPerSecond', 'ok', 'pacingRateBps', 'packets',
    'packetsPerTransmission', 'retransmittedPackets', 'seconds', 'smoothedRttUs', 'transmissions',
  ])
}

test.serial('start ships the node executable, and its report adds up', async (t) => {
  const ship = async () => {
    const ended = await start(t, '--json').ended
    t.is(ended.code, 0, ended.stderr)
    const report = lastJson<Report>(ended)
    checkReport(t, report, [process.execPath])
    return report
  }
  // How many leave together is a figure, as the rate is: losses of a machine that is busy elsewhere lower both.
  const report = await bestOf(ship, ({ packetsPerTransmission }) => packetsPerTransmission >= 16)
  t.true(report.packetsPerTransmission >= 16, `${report.packetsPerTransmission} packets per transmission`)
  t.log(`${report.gbitPerSecond} Gbit/s, ${report.packetsPerTransmission} packets per transmission, RTT ${report.smoothedRttUs} µs`)
})

test.serial('start ships named files, an empty one among them, and tells people about it', async (t) => {
  const folder = temporaryFolder(t)
  const paths = [writeRandomFile(folder, 'large', 5_000_001), writeRandomFile(folder, 'empty', 0), writeRandomFile(folder, 'small – ünïcode', 1)]
  checkReport(t, lastJson<Report>(await start(t, '--json', ...paths).ended), paths)

  const ended = await start(t, ...paths).ended
  t.is(ended.code, 0, ended.stderr)
  for (const path of paths) t.true(ended.stdout.includes(`SHA-256 agrees: ${sha256(path)}`))
  for (const row of ['bytes', 'seconds', 'Gbit/s', 'cipher', 'transmissions', 'packets per transmission', 'completions',
    'departure error', 'retransmitted packets', 'smoothed RTT', 'pacing rate']) {
    t.regex(ended.stdout, new RegExp(`^${row}  +\\S`, 'm'))
  }
  t.notRegex(ended.stdout + ended.stderr, /\x1b/, 'no colours in a pipe')
})

test.serial('start with a file that does not exist fails with one line', async (t) => {
  const ended = await start(t, '--json', '/nowhere/at/all').ended
  t.is(ended.code, 1)
  t.regex(ended.stderr, /^paceline: expected a readable file, got \/nowhere\/at\/all: ENOENT .*\n$/m)
})

test.serial('a second start begins its transfer within 3 s', async (t) => {
  const tiny = writeRandomFile(temporaryFolder(t), 'tiny', 1)
  const begins = async () => {
    const ended = await run(t, 'npm', ['start', '--silent', '--', '--json', tiny]).ended
    t.is(ended.code, 0, ended.stderr)
    t.is(ended.stdout.trimEnd().split('\n').length, 1, 'the object is all there is on stdout')
    return ended.milliseconds - lastJson<Report>(ended).seconds * 1000
  }
  const milliseconds = await bestOf(begins, (took) => took < 3000)
  t.log(`${milliseconds.toFixed(0)} ms`)
  // npm, setup, start, and both sides are five processes; npm alone takes as long as several that do nothing.
  t.true(milliseconds < 3000 || milliseconds < 40 * (await emptyProcess(t)), `${milliseconds} ms`)
})

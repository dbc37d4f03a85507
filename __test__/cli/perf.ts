import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import type { PerfReport } from '../../packages/paceline/src/cli/perf-client.ts'
import type { SideReport } from '../../packages/paceline/src/cli/perf-report.ts'
import { bestOf, jsonLines, lastJson, paceline, temporaryFolder, writeSecret, type Ended, type Running } from '../e2e/helpers/cli.ts'

interface Place {
  readonly folder: string
  readonly secretFile: string
  readonly server: Running
  readonly port: string
}

async function startServer(t: ExecutionContext, ...options: string[]): Promise<Place> {
  const folder = temporaryFolder(t)
  const secretFile = writeSecret(folder)
  const server = paceline(t, ['perf', 'server', '--json', '--host', '127.0.0.1', '--port', '0', '--secret-file', secretFile, ...options])
  const [, port = ''] = await server.prints(/"event":"listening".*"port":(\d+)/)
  return { folder, secretFile, server, port }
}

const client = (t: ExecutionContext, { secretFile, port }: Place, ...args: string[]): Promise<Ended> =>
  paceline(t, ['perf', 'client', '--secret-file', secretFile, ...args, `127.0.0.1:${port}`]).ended

const SIDE = ['cipher', 'congestionWindowBytes', 'cpuPercent', 'intervals', 'lostPackets', 'minRttUs', 'mtu', 'pacingBitsPerSecond',
  'pacingErrorUs', 'packets', 'receivedBitsPerSecond', 'receivedBytes', 'retransmittedPackets', 'seconds', 'sentBitsPerSecond',
  'sentBytes', 'smoothedRttUs', 'streams', 'trainPackets', 'transmissions', 'undeliveredBytes']
const INTERVAL = ['congestionWindowBytes', 'cpuPercent', 'from', 'pacingErrorUs', 'receivedBitsPerSecond', 'receivedBytes', 'retransmittedPackets',
  'sentBitsPerSecond', 'sentBytes', 'smoothedRttUs', 'streams', 'to']

function checkSide(t: ExecutionContext, side: SideReport): void {
  t.deepEqual(Object.keys(side).sort(), SIDE)
  t.true(side.smoothedRttUs > 0 && side.cpuPercent > 0 && side.packets > 0 && side.seconds > 0)
  t.regex(side.cipher, /aes/)
  t.true(side.pacingErrorUs.p50 <= side.pacingErrorUs.p99)
}

test.serial('perf --json carries the documented fields, and both ends count the same bytes', async (t) => {
  const place = await startServer(t, '--once')
  const ended = await client(t, place, '--json', '-t', '1.2', '-i', '0.1', '--bidir', '-P', '2')
  t.is(ended.code, 0, ended.stderr)
  t.is(ended.stdout.trimEnd().split('\n').length, 1, 'the object is all there is on stdout')
  const report = lastJson<PerfReport>(ended)
  t.deepEqual(Object.keys(report).sort(), ['client', 'gate', 'ok', 'plan', 'remote', 'server', 'version'])
  checkSide(t, report.client)
  checkSide(t, report.server)
  t.true(report.client.sentBytes > 0 && report.server.sentBytes > 0)
  t.is(report.client.sentBytes, report.server.receivedBytes)
  t.is(report.server.sentBytes, report.client.receivedBytes)
  t.true(Math.abs(report.client.sentBitsPerSecond - (report.client.sentBytes * 8) / report.client.seconds) < 1e4)
  t.true(report.client.intervals.length >= 2)
  for (const interval of report.client.intervals) t.deepEqual(Object.keys(interval).sort(), INTERVAL)
  const sum = report.client.intervals.reduce((bytes, { receivedBytes }) => bytes + receivedBytes, 0)
  t.true(sum <= report.client.receivedBytes && sum > 0)
  // The server tells the same story.
  const there = await place.server.ended
  t.is(there.code, 0, there.stderr)
  const [listening, told] = jsonLines(there)
  t.is(listening?.['event'], 'listening')
  t.is(told?.['event'], 'test')
  t.deepEqual((told?.['server'] as SideReport).receivedBytes, report.server.receivedBytes)
})

test.serial('--bytes is exact, --reverse turns it round, --rate is kept', async (t) => {
  const place = await startServer(t)
  const forth = lastJson<PerfReport>(await client(t, place, '--json', '--bytes', '10M', '-P', '3'))
  t.like(forth.client, { sentBytes: 10_000_000, receivedBytes: 0, undeliveredBytes: 0 })
  t.is(forth.server.receivedBytes, 10_000_000)
  const back = lastJson<PerfReport>(await client(t, place, '--json', '-n', '1Mi', '-R'))
  t.is(back.client.receivedBytes, 1 << 20)
  t.is(back.client.sentBytes, 0)
  // Measured at the ends: where one of them stands still for a moment, what has gathered shows as another rate.
  const isKept = (rate: number) => rate > 10e6 && rate <= 21e6
  const paced = async () => {
    const { client: here, server: there } = lastJson<PerfReport>(await client(t, place, '--json', '-t', '1', '--rate', '20M', '--bidir'))
    return [there.receivedBitsPerSecond, here.receivedBitsPerSecond]
  }
  const rates = await bestOf(paced, (both) => both.every(isKept))
  t.true(rates.every(isKept), `${rates.join(', ')} bit/s`)
})

test.serial('--streams tells streams per second and latency', async (t) => {
  const place = await startServer(t)
  const report = lastJson<PerfReport>(await client(t, place, '--json', '--streams', '300', '-P', '16', '--bytes', '2k'))
  t.like(report.client.streams, { count: 300, failed: 0 })
  t.is(report.client.sentBytes, 600_000)
  t.is(report.server.receivedBytes, 600_000)
  const { perSecond, latencyUs } = report.client.streams!
  t.true(Math.abs(perSecond - 300 / report.client.seconds) < 0.01 * perSecond && latencyUs.p50 > 0 && latencyUs.p50 <= latencyUs.p90 && latencyUs.p90 <= latencyUs.p99 && latencyUs.p99 <= latencyUs.max)
  const timed = lastJson<PerfReport>(await client(t, place, '--json', '--streams', '0', '-t', '0.2'))
  // It ends by its time, and not by the patience of those who wait for a test without an end.
  t.true(timed.client.streams!.count > 0 && timed.client.seconds >= 0.2 && timed.client.seconds < 10, `${timed.client.seconds} s`)
})

test.serial('people get a line per interval, a summary, and no colours in a pipe', async (t) => {
  const place = await startServer(t)
  const ended = await client(t, place, '-t', '1.5', '-i', '0.1')
  t.is(ended.code, 0, ended.stderr)
  t.regex(ended.stdout, /^ +seconds transfer +goodput +RTT +cwnd +retr +CPU$/m)
  t.true((ended.stdout.match(/^send +\d+\.\d\d–\d+\.\d\d .*bit\/s .*%$/gm) ?? []).length >= 3, ended.stdout)
  for (const row of ['goodput there', 'round trip', 'retransmitted', 'pacing error', 'CPU', 'cipher']) t.regex(ended.stdout, new RegExp(`^${row} +\\S`, 'm'))
  t.notRegex(ended.stdout + ended.stderr, /\x1b/)
  for (const line of ended.stdout.split('\n')) t.true(line.length <= 80, line)
})

test.serial('a gate for CI: 0 when fast enough, 3 when not, 1 without a baseline that can be read', async (t) => {
  const place = await startServer(t)
  const base = join(place.folder, 'base.json')
  const before = lastJson<PerfReport>(await client(t, place, '--json', '-n', '2M'))
  // A tenth of a second in which this machine does something else makes a short test a hundred times as slow.
  const slower = { ...before, server: { ...before.server, receivedBitsPerSecond: Math.ceil(before.server.receivedBitsPerSecond / 1000) } }
  writeFileSync(base, JSON.stringify(slower))
  const same = await client(t, place, '--json', '-n', '2M', '--baseline', base, '--fail-below', '1%')
  t.is(same.code, 0, same.stderr)
  t.true(lastJson<PerfReport>(same).gate?.ok)
  const faster = JSON.parse(readFileSync(base, 'utf8')) as PerfReport
  writeFileSync(base, JSON.stringify({ ...faster, server: { ...faster.server, receivedBitsPerSecond: 1e15 } }))
  const slow = await client(t, place, '--json', '-n', '2M', '--baseline', base)
  t.is(slow.code, 3, slow.stderr)
  t.like(lastJson<PerfReport>(slow).gate, { ok: false, unit: 'bitsPerSecond' })
  t.regex(slow.stderr, /^paceline: expected send of at least 900 Tbit\/s, got .* of it\)\n$/)
  t.is((await client(t, place, '-n', '1M', '--fail-below', '900G')).code, 3)
  t.is((await client(t, place, '--quiet', '-n', '1M', '--fail-below', '1k')).code, 0)
  writeFileSync(base, '{}')
  const unreadable = await client(t, place, '-n', '1M', '--baseline', base)
  t.is(unreadable.code, 1)
  t.regex(unreadable.stderr, /^paceline: expected the output of perf client --json in /)
})

test.serial('one test at a time; a client that is interrupted leaves the server ready; Ctrl-C is 130', async (t) => {
  const place = await startServer(t)
  const { secretFile, port } = place
  const first = paceline(t, ['perf', 'client', '--secret-file', secretFile, '-t', '30', '-i', '0.1', `127.0.0.1:${port}`])
  await first.prints(/^send /m)
  const second = await client(t, place, '-n', '1M')
  t.is(second.code, 1)
  t.regex(second.stderr, /got a server that runs another test/)
  first.signal('SIGINT')
  t.is((await first.ended).code, 130)
  await place.server.prints(/"event":"failed","error":"expected a whole test from 127\.0\.0\.1:\d+, got: the client broke off"/)
  const third = await client(t, place, '--quiet', '-n', '1M')
  t.is(third.code, 0, third.stderr)
  place.server.signal('SIGINT')
  t.is((await place.server.ended).code, 130)
})

test.serial('wrong options', async (t) => {
  const wrong = async (pattern: RegExp, ...args: string[]) => {
    const ended = await paceline(t, ['perf', ...args]).ended
    t.regex(ended.stderr, pattern)
    t.is(ended.code, 2)
    t.is(ended.stderr.trimEnd().split('\n').length, 1)
  }
  await Promise.all([
    wrong(/got --durration; did you mean --duration\?/, 'client', '--durration', '5', 'host'),
    wrong(/expected --duration from 0.01 to 3600 seconds.*got "fast"/, 'client', '-t', 'fast', 'host'),
    wrong(/--bidir or --reverse, got both/, 'client', '--bidir', '-R', 'host'),
    wrong(/--bytes or --duration, got both/, 'client', '-n', '1M', '-t', '1', 'host'),
    wrong(/--fail-below as a share only beside --baseline/, 'client', '--fail-below', '90%', 'host'),
    wrong(/expected one HOST\[:PORT\], got none/, 'client'),
    wrong(/expected a command \(perf server, perf client\), got perf \(see paceline --help\)/),
    wrong(/got perf severr; did you mean perf server\?/, 'severr'),
  ])
})

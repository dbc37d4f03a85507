import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { ROOT, bestOf, eventually, lastJson, paceline, run, type Ended } from '../e2e/helpers/cli.ts'

const LIMIT_MS = 1000

/** reliability.md R1, in its order. */
const KINDS = [
  'loss', 'burstLoss', 'duplication', 'reorder', 'delay', 'corruption', 'truncation', 'replay', 'mtuDrop', 'blackhole',
  'oneWayPartition', 'sendError', 'recvError', 'clockStall', 'clockBackward', 'peerRestart', 'readerPause', 'poolExhaustion',
] // prettier-ignore

interface Report {
  seeds: number
  failures: number
  virtualSeconds: number
  wallSeconds: number
  faults: Record<string, number>
  invariantsChecked: number
  streams: number
  bytes: number
  packets: number
  steps: number
  worstMs: Record<string, number>
  logHash: string
  failed: { seed: number; what: string }[]
  interrupted?: boolean
}

const sim = (t: ExecutionContext, args: readonly string[], env?: NodeJS.ProcessEnv) => paceline(t, ['sim', ...args], env)

/** A failing world is the campaign's business (crates/sim/tests/worlds.rs); here it must only be told. */
function checkCode(t: ExecutionContext, ended: Ended, { failures }: Report): void {
  t.is(ended.code, failures === 0 ? 0 : 1, ended.stderr)
}

test.serial('sim --json: every field, all 18 kinds, and the log hashes of 100 seeds are the same in two processes (R3)', async (t) => {
  const first = await sim(t, ['--seeds', '100', '--jobs', '1', '--json']).ended
  const report = lastJson<Report>(first)
  checkCode(t, first, report)
  t.is(report.seeds, 100)
  t.is(report.failures, report.failed.length)
  t.deepEqual(Object.keys(report.faults), KINDS)
  for (const kind of KINDS) t.true(Number.isInteger(report.faults[kind]) && (report.faults[kind] ?? 0) > 0, `${kind}: ${report.faults[kind]}`)
  const positive = ['virtualSeconds', 'wallSeconds', 'invariantsChecked', 'streams', 'bytes', 'packets', 'steps'] as const
  for (const name of positive) t.true(report[name] > 0, `${name}: ${report[name]}`)
  for (const name of ['recovery', 'stream', 'run']) t.true((report.worstMs[name] ?? 0) > 0, name)
  t.false('interrupted' in report)

  const second = lastJson<Report>(await sim(t, ['--seeds', '100', '--jobs', '3', '--json']).ended)
  t.regex(report.logHash, /^[\da-f]{16}$/)
  t.deepEqual({ ...second, wallSeconds: 0 }, { ...report, wallSeconds: 0 })
  const other = lastJson<Report>(await sim(t, ['--seeds', '100', '--from', '1', '--json']).ended)
  t.not(other.logHash, report.logHash, 'other seeds, other worlds')
})

test.serial('sim for people: a table on stdout, and no progress in a pipe', async (t) => {
  const ended = await sim(t, ['--seeds', '20']).ended
  t.regex(ended.stdout, /^20 worlds, \d+ failures?\n/)
  for (const kind of KINDS) t.regex(ended.stdout, new RegExp(`\\b${kind} +[\\d,]+`))
  for (const line of ended.stdout.split('\n')) t.true(line.length <= 80, line)
  t.notRegex(ended.stderr, /[\r\x1b]|worlds|left/)
})

test.serial('sim --mode: every world is of that mode', async (t) => {
  for (const mode of ['safety', 'liveness']) {
    const { failed, ...report } = lastJson<Report>(await sim(t, ['--seeds', '16', '--mode', mode, '--json'], { PACELINE_SIM_PLANT: 'failure:7' }).ended)
    t.is(report.seeds, 16)
    t.regex(failed.find(({ seed }) => seed === 7)?.what ?? '', new RegExp(`\\(${mode}\\)`))
  }
})

test.serial('sim --seed --trace: one world, packet by packet, the same every time', async (t) => {
  const [one, two] = [await sim(t, ['--seed', '1', '--trace']).ended, await sim(t, ['--seed', '1', '--trace', '--json']).ended]
  const lines = one.stdout.trimEnd().split('\n')
  t.true(lines.length > 100)
  t.true(lines.filter((line) => /^ *\d+\.\d+ µs [\d.:]+ [→←✗] [\d.:]+ /.test(line)).length > 100)
  t.deepEqual(two.stdout.trimEnd().split('\n').slice(0, -1), lines)
  const report = lastJson<Report>(two)
  t.is(report.seeds, 1)
  checkCode(t, two, report)
})

test.serial('a trace respects a reader that has seen enough', async (t) => {
  // More than a pipe and the reader of a test hold: the writer must notice.
  const LONG = 4 * 65_536
  let seed = 0
  let whole = await sim(t, ['--seed', '0', '--trace']).ended
  while (whole.stdout.length < LONG && seed < 20) whole = await sim(t, ['--seed', String(++seed), '--trace']).ended
  t.true(whole.stdout.length >= LONG, `${whole.stdout.length}`)
  const cut = sim(t, ['--seed', String(seed), '--trace'])
  cut.child.stdout?.once('data', () => cut.child.stdout?.destroy())
  const ended = await cut.ended
  t.is(ended.code, whole.code)
  t.is(ended.stderr, whole.stderr)
  t.true(ended.stdout.length < LONG)
})

for (const [kind, what] of [
  ['panic', /panic: planted, for a test at .*sim\.rs:\d+/],
  ['failure', /planted, for a test/],
] as const) {
  test.serial(`a world that ends in a ${kind} is told with its replay, shrinking is tried, and the others go on`, async (t) => {
    const env = { PACELINE_SIM_PLANT: `${kind}:3` }
    const ended = await sim(t, ['--seeds', '6', '--from', '1', '--json'], env).ended
    const report = lastJson<Report>(ended)
    t.is(ended.code, 1)
    t.is(report.seeds, 6)
    t.is(report.failures, report.failed.length)
    t.regex(report.failed.find(({ seed }) => seed === 3)?.what ?? '', what)
    t.regex(ended.stderr, what)
    t.regex(ended.stderr, /^paceline: expected .*, got: seed 3\b/m)
    t.regex(ended.stderr, /^seed \d+(, shrunk:| does not fail a second time)/m)
    t.notRegex(ended.stderr, /thread '/, 'no panic message of its own')
    const [, replay = ''] = /replay: npx paceline (sim --seed 3 .*)/.exec(ended.stderr) ?? []
    const again = await paceline(t, replay.split(' '), env).ended
    t.is(again.code, 1)
    t.regex(again.stderr, what)
    // Without the plant it is a world like all others.
    const healthy = await sim(t, ['--seed', '3', '--json']).ended
    t.notRegex(healthy.stdout, /planted/)
  })
}

/** CPU time of a process, in ms; the clock's elsewhere. */
function cpuMs(pid: number | undefined, begin: number): number {
  if (process.platform !== 'linux') return (performance.now() - begin) / 2
  const [, , , , , , , , , , , user, system] = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /, '').split(' ')
  // In ticks of 10 ms.
  return 10 * (Number(user) + Number(system))
}

/** Where it is when the interrupt comes: far behind its start, which takes a tenth of that. */
const MIDDLE_CPU_MS = 2000

test.serial('Ctrl-C: what was done is told, exit code 130, and nothing goes on', async (t) => {
  const interrupted = async () => {
    const running = sim(t, ['--seeds', '1000000', '--json'])
    await eventually(() => cpuMs(running.child.pid, running.begin) >= MIDDLE_CPU_MS, 'worlds are under way')
    const begin = performance.now()
    running.signal('SIGINT')
    const ended = await running.ended
    const took = performance.now() - begin
    t.is(ended.code, 130)
    const report = lastJson<Report>(ended)
    t.true(report.interrupted)
    t.true(report.seeds > 0 && report.seeds < 1_000_000, `${report.seeds}`)
    t.regex(ended.stderr, /paceline: interrupted\n$/)
    t.notRegex(ended.stderr, /\n\s+at /, 'no stack trace')
    t.false(running.hasSurvivors)
    return took
  }
  const took = await bestOf(interrupted, (milliseconds) => milliseconds < LIMIT_MS)
  t.true(took < LIMIT_MS, `${took} ms`)
})

test.serial('sim refuses what it does not understand, in one line', async (t) => {
  for (const [args, pattern] of [
    [['--sede', '3'], /got --sede; did you mean --seed/],
    [['--seeds', '0'], /--seeds from 1 to .*got "0"/],
    [['--seed', '-1'], /expected S after --seed, got -1/],
    [['--seed', '1.5'], /--seed from 0 to .*got "1.5"/],
    [['--mode', 'fast'], /--mode safety or liveness, got "fast"/],
    [['--trace'], /--seed S beside --trace, got none/],
    [['--seed', '1', '--seeds', '2'], /--seed or --seeds, got both/],
    [['--paths', '--seed', '1'], /--paths or --seed, got both/],
    [['--jobs', '0'], /--jobs from 1 to/],
    [['7'], /expected no arguments, got 7/],
  ] as const) {
    const ended = await sim(t, args).ended
    t.regex(ended.stderr, /^paceline: expected [^\n]+ got [^\n]+\n$|^paceline: expected [^\n]+, got "[^\n]+\n$/, args.join(' '))
    t.regex(ended.stderr, pattern)
    t.is(ended.stdout, '')
    t.is(ended.code, 2)
  }
  const help = await sim(t, ['--help']).ended
  t.is(help.code, 0)
  for (const option of ['seeds', 'from', 'seed', 'trace', 'mode', 'paths', 'jobs', 'json']) t.regex(help.stdout, new RegExp(`--${option}\\b`))
})

test.serial('sim --paths --json: named paths, each with a ceiling, and an exit code that says whether it is kept (R20)', async (t) => {
  t.timeout(120_000)
  const ended = await sim(t, ['--paths', '--json']).ended
  interface Path {
    path: string
    completionMs: number
    ceilingMs: number
    ok: boolean
  }
  const { paths, failures } = lastJson<{ paths: Path[]; failures: number }>(ended)
  t.true(paths.length >= 20, `${paths.length}`)
  t.is(new Set(paths.map(({ path }) => path)).size, paths.length)
  for (const { path, completionMs, ceilingMs, ok } of paths) {
    t.true(completionMs > 0 && ceilingMs > 0, path)
    t.is(ok, completionMs <= ceilingMs, `${path}: ${completionMs} ms, ceiling ${ceilingMs} ms`)
  }
  t.is(failures, paths.filter(({ ok }) => !ok).length)
  t.is(ended.code, failures === 0 ? 0 : 1)
})

test.serial('half an hour of the soak: it lives, and everything comes home', async (t) => {
  const soak = run(t, process.execPath, ['--expose-gc', join(ROOT, 'scripts', 'soak.mjs'), '--hours', '0.5', '--json'])
  const report = lastJson<Record<'virtualHours' | 'streams' | 'faults' | 'open' | 'poolLent', number> & { ok: boolean; samples: { rssBytes: number }[] }>(await soak.ended)
  t.is(report.virtualHours, 0.5)
  t.true(report.streams > 1000 && report.faults > 100, JSON.stringify(report))
  t.deepEqual([report.open, report.poolLent], [0, 0])
  t.is(report.samples.length, 10)
  t.true(report.samples.every(({ rssBytes }) => rssBytes > 1 << 20))
})

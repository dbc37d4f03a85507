// Everything that must hold, one step after the other, and one closing line: `N passed, N failed, N skipped`.
// usage: npm test [-- [--no-skip] [--long] [STEP…]]
import { bin, isStopping, root, run, version } from './run.mjs'
import { TapReader, plain, saidAgain } from './tap.mjs'

const colours = process.stdout.isTTY && !process.env.NO_COLOR
const paint = (code, text) => (colours ? `\x1b[${code}m${text}\x1b[39m` : text)
const print = (text) => process.stdout.write(text)

const node = (script, ...args) => [process.execPath, [script, ...args]]
const cargo = (...args) => ['cargo', args]
const crates = (...names) => names.flatMap((name) => ['-p', `paceline-${name}`])
const cargoColour = ['--color', colours ? 'always' : 'never']

/** A step that is one check: it passes or fails as a whole. */
const whole = (code) => ({ passed: Number(code === 0), failed: Number(code !== 0), skipped: 0 })

/** Sums what a test runner says of itself; a runner that failed without a failed test (it did not build) failed once. */
function tally(code, counts) {
  const { passed, failed, skipped } = counts
  return { passed, failed: failed === 0 && code !== 0 ? 1 : failed, skipped }
}

const sumOf = (output, pattern) => [...output.matchAll(pattern)].reduce((sum, match) => sum + Number(match[1]), 0)

function countNextest(code, output) {
  const summary = /Summary \[.*$/m.exec(output)?.[0] ?? ''
  return tally(code, {
    passed: sumOf(summary, /(\d+) passed/g),
    failed: sumOf(summary, /(\d+) (?:failed|timed out|exec failed)/g),
    skipped: sumOf(summary, /(\d+) skipped/g),
  })
}

function countCargoTest(code, output) {
  const results = output.match(/^test result: .*$/gm)?.join('\n') ?? ''
  return tally(code, {
    passed: sumOf(results, /(\d+) passed/g),
    failed: sumOf(results, /(\d+) failed/g),
    skipped: sumOf(results, /(\d+) ignored/g),
  })
}

/** The newest line that is a JSON object: stderr and stdout come as one. */
function reportIn(output) {
  for (const line of output.split('\n').reverse()) {
    if (!line.startsWith('{')) continue
    try {
      return JSON.parse(line)
    } catch {}
  }
}

/** Worlds that all went well, and in which every kind of fault happened often enough to have been tried. */
function countWorlds(code, output) {
  const { faults, seeds } = reportIn(output) ?? {}
  if (faults === undefined) print('sim: expected a report in JSON, got none\n')
  const rare = Object.entries(faults ?? {}).filter(([, times]) => times * 10 < seeds || times === 0)
  for (const [kind, times] of rare) print(`sim: expected ${kind} in every tenth world at least, got it ${times} times\n`)
  return whole(code === 0 && (faults === undefined || rare.length > 0) ? 1 : code)
}

function countTap(code, output) {
  return tally(code, {
    passed: sumOf(output, /^# pass (\d+)/gm),
    failed: sumOf(output, /^# fail (\d+)/gm),
    skipped: sumOf(output, /^# skip (\d+)/gm),
  })
}

/** One JSON object at the end: the differential test, and a row a case. */
function countInterop(code, output) {
  const { passed = 0, failed = 0, differential } = JSON.parse(output.trim().split('\n').findLast((line) => line.startsWith('{')) ?? '{}')
  return tally(code, { passed: passed + Number(differential?.ok === true), failed, skipped: 0 })
}

const hasNextest = version('cargo', ['nextest', '--version']) !== undefined

/** Tests of the selected crates, in parallel where nextest is installed. `all` is what nextest runs by itself. */
function rustTests(all, ...selected) {
  return hasNextest
    ? { command: cargo('nextest', 'run', ...cargoColour, '--no-fail-fast', '--failure-output', 'immediate-final', '--status-level', 'slow', ...selected), count: countNextest }
    : { command: cargo('test', ...cargoColour, '--no-fail-fast', ...all, ...selected), count: countCargoTest }
}

const steps = [
  { name: 'rustfmt', needs: ['cargo', 'fmt'], command: cargo('fmt', '--all', '--check'), count: whole },
  {
    name: 'clippy',
    needs: ['cargo', 'clippy'],
    command: cargo('clippy', ...cargoColour, '--all-targets', '--', '-D', 'warnings'),
    count: whole,
  },
  { name: 'rust', ...rustTests(['--lib', '--bins', '--tests']) },
  { name: 'rust-examples', command: cargo('test', ...cargoColour, '--doc', '--no-fail-fast'), count: countCargoTest },
  { name: 'tsc', command: node(bin('typescript', 'bin/tsc'), '-p', 'tsconfig.json'), count: whole },
  { name: 'layers', alone: true, command: node(bin('ava', 'entrypoints/cli.mjs'), '--tap', '__test__/layers.ts'), count: countTap, tap: true },
  {
    name: 'sim',
    command: node('packages/paceline/bin/paceline.js', 'sim', '--seeds', '10000', '--json'),
    count: countWorlds,
  },
  // Bugs that the simulator has to find, each in its own way, within 500 worlds.
  { name: 'planted', ...rustTests([], '-p', 'paceline-sim', '--features', 'planted', '--test', 'planted') },
  // What macOS and Windows run, as far as Linux can tell.
  { name: 'portable', ...rustTests(['--lib', '--tests'], '-p', 'paceline-udp', '--features', 'portable') },
  {
    name: 'loom',
    command: cargo('test', ...cargoColour, '--profile', 'loom', '--target-dir', 'target/loom', ...crates('pool', 'transport', 'udp', 'node'), '--lib', 'models::'),
    env: { RUSTFLAGS: `${process.env.RUSTFLAGS ?? ''} --cfg loom`.trim() },
    count: countCargoTest,
  },
  // Streams to and from s2n-quic-dc, in a workspace of its own.
  { name: 'interop', command: node('scripts/interop.mjs', '--json'), count: countInterop, failures: /^FAILED .*$/gm },
  {
    name: 'boundary',
    command: [process.execPath, ['--expose-gc', '--test', '--test-reporter=tap', ...['boundary', 'teardown', 'transfer'].map((name) => `crates/node/tests/${name}.test.cjs`)]],
    count: countTap,
    tap: true,
  },
  { name: 'ava', command: node(bin('ava', 'entrypoints/cli.mjs'), '--tap'), count: countTap, tap: true },
]

const args = process.argv.slice(2)
const flags = new Set(args.filter((arg) => arg.startsWith('--')))
const named = args.filter((arg) => !arg.startsWith('--'))
const unknown = [...named.filter((name) => !steps.some((step) => step.name === name)), ...[...flags].filter((flag) => !['--no-skip', '--long'].includes(flag))]
if (unknown.length > 0) {
  process.stderr.write(`test: expected --no-skip, --long or one of ${steps.map((step) => step.name).join(', ')}, got ${unknown.join(' ')}\n`)
  process.exit(2)
}
// `layers` is a part of `ava`, to be named when only it is wanted.
const chosen = steps.filter((step) => (named.length > 0 ? named.includes(step.name) : !step.alone))

const env = { ...process.env, ...(flags.has('--long') && { PACELINE_LONG_TESTS: '1' }), ...(colours && { FORCE_COLOR: '1' }) }
const total = { passed: 0, failed: 0, skipped: 0 }
const notes = []

for (const step of chosen) {
  if (isStopping()) break
  print(`\n${paint(36, `▶ ${step.name}`)}\n`)
  if (step.needs && version(step.needs[0], [step.needs[1], '--version']) === undefined) {
    total.skipped++
    notes.push(`skipped ${step.name}: ${step.needs.join(' ')} is not installed`)
    continue
  }
  const begin = performance.now()
  const tap = step.tap ? new TapReader({ print, paint }) : undefined
  const { code, output, error } = await run(...step.command, { cwd: root, env: { ...env, ...step.env }, onText: tap?.write ?? print })
  if (isStopping()) break
  if (error !== undefined) notes.push(`${step.name}: cannot run ${step.command[0]}: ${error.message}`)
  const counts = step.count(code, plain(output))
  for (const key of Object.keys(total)) total[key] += counts[key]
  if (counts.skipped > 0) notes.push(...skipReasons(step.name, plain(output), counts.skipped))
  print(`${step.name}: ${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped (${((performance.now() - begin) / 1000).toFixed(1)} s)\n`)
  if (counts.failed > 0) {
    const told = tap?.failures ?? (step.failures && plain(output).match(step.failures)) ?? []
    const why = saidAgain(told, output)
    notes.push(`failed ${step.name}`, why)
    // Beside the line that counts, too: of a long run, some CI systems keep what is around it.
    print(why)
  }
}

/** A skipped ava test says why in its title. */
function skipReasons(name, output, count) {
  const titles = [...output.matchAll(/^ok \d+ - (.*?) # SKIP/gm)].map((match) => `skipped ${match[1]}`)
  return titles.length > 0 ? titles : [`skipped ${count} of ${name}`]
}

if (!isStopping()) {
  print(`\n${notes.map((note) => `${note.trimEnd()}\n`).join('')}${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped\n`)
  process.exitCode = total.failed > 0 || (flags.has('--no-skip') && total.skipped > 0) ? 1 : 0
}

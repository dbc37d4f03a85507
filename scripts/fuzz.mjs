// Hostile input for every parser, structure and whole endpoint, made by libFuzzer. What it finds worth keeping is in
// fuzz/corpus, which `npm test` replays.
// usage: npm run fuzz -- [--seconds 60] [--json] [--minimize] [--sanitizer address] [TARGET…]
import { copyFileSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs'
import { join, relative } from 'node:path'
import { isStopping, root, run, version } from './run.mjs'

const MAX_CORPUS_BYTES = 300 << 10
const MAX_INPUT_BYTES = 512
const INPUT_TIMEOUT_SECONDS = 20

const fuzz = join(root, 'fuzz')
const names = readdirSync(join(fuzz, 'targets')).map((file) => file.replace(/\.rs$/, '')).sort()

function usage(message) {
  process.stderr.write(`fuzz: ${message}\nusage: npm run fuzz -- [--seconds N] [--json] [--minimize] [--sanitizer none|address] [TARGET…]\ntargets: ${names.join(', ')}\n`)
  process.exit(2)
}

function parse(args) {
  const options = { seconds: 60, json: false, minimize: false, sanitizer: 'none', targets: [] }
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]
    if (arg === '--json') options.json = true
    else if (arg === '--minimize') options.minimize = true
    else if (arg === '--seconds') {
      options.seconds = Number(args[++i])
      if (!Number.isInteger(options.seconds) || options.seconds < 1) usage(`--seconds: expected a whole number of at least 1, got ${args[i]}`)
    } else if (arg === '--sanitizer') {
      options.sanitizer = args[++i]
      if (!['none', 'address'].includes(options.sanitizer)) usage(`--sanitizer: expected none or address, got ${args[i]}`)
    } else if (names.includes(arg)) options.targets.push(arg)
    else usage(`expected a target, got ${arg}`)
  }
  if (options.targets.length === 0) options.targets = names
  return options
}

const options = parse(process.argv.slice(2))
const out = options.json ? process.stderr : process.stdout
const terminal = out.isTTY === true

if (version('cargo', ['fuzz', '--version']) === undefined) {
  process.stderr.write('fuzz: cargo-fuzz is not installed; get it with: cargo install cargo-fuzz --version 0.13.2 --locked\n')
  process.exit(2)
}
// Coverage is stable; only sanitizers need the nightly flag that this variable allows.
const env = { ...process.env, ...(options.sanitizer !== 'none' && { RUSTC_BOOTSTRAP: '1' }) }
const host = /^host: (.*)$/m.exec((await run('rustc', ['-vV'])).output)?.[1]
const targetDir = join(root, 'target', options.sanitizer === 'none' ? 'fuzz' : `fuzz-${options.sanitizer}`)

out.write(`building ${names.length} targets…\n`)
const build = await run('cargo', ['fuzz', 'build', '--sanitizer', options.sanitizer, '--target-dir', targetDir], { cwd: root, env })
if (isStopping()) process.exit()
if (build.code !== 0) {
  process.stderr.write(build.output)
  process.stderr.write(`fuzz: the targets do not build (they need a C++ compiler${options.sanitizer === 'none' ? '' : ', and for sanitizers: apt install libclang-rt-dev'})\n`)
  process.exit(1)
}

const program = (target) => join(targetDir, host, 'release', target)
const directory = (...parts) => {
  const path = join(fuzz, ...parts)
  mkdirSync(path, { recursive: true })
  return path
}
const files = (path) => readdirSync(path).map((file) => join(path, file))

/** The last thing libFuzzer said of itself: `#12 DONE cov: 3 ft: 4 corp: 5/6Kb lim: 7 exec/s: 8 rss: 9Mb`. */
function lastStatus(output) {
  const all = [...output.matchAll(/^#(\d+)\s+(\w+).*? cov: (\d+) ft: (\d+) corp: (\d+)\/(\S+).*?exec\/s: (\d+)/gm)]
  const [, executions, , edges, features, corpus, corpusBytes, perSecond] = all.at(-1) ?? []
  return { executions: Number(executions ?? 0), edges: Number(edges ?? 0), features: Number(features ?? 0), corpus: Number(corpus ?? 0), corpusBytes, perSecond: Number(perSecond ?? 0) }
}

const share = (part, whole) => (whole > 0 ? Math.round((part / whole) * 1000) / 10 : undefined)

async function fuzzOne(target) {
  const artifacts = directory('artifacts', target)
  const work = directory('work', target)
  const committed = directory('corpus', target)
  const before = new Set(files(artifacts))
  const begin = performance.now()
  let tail = ''
  const onText = (text) => {
    tail = (tail + text).slice(-4096)
    const { executions, edges, corpus } = lastStatus(tail)
    if (terminal && executions > 0) {
      out.write(`\r\x1b[K${target} ${((performance.now() - begin) / 1000).toFixed(0)} s, ${executions} executions, ${edges} edges, ${corpus} inputs`)
    }
  }
  const args = [
    `-max_total_time=${options.seconds}`,
    `-timeout=${INPUT_TIMEOUT_SECONDS}`,
    `-max_len=${MAX_INPUT_BYTES}`,
    '-len_control=0',
    '-rss_limit_mb=2048',
    `-artifact_prefix=${artifacts}/`,
    // New inputs go into the first directory; the others are only read.
    work,
    committed,
  ]
  const { code, output } = await run(program(target), args, { cwd: root, env, onText })
  if (terminal) out.write('\r\x1b[K')
  const reach = JSON.parse(/^reach: (\{.*\})$/m.exec(output)?.[1] ?? '{}')
  const found = files(artifacts).filter((file) => !before.has(file))
  return {
    target,
    seconds: Math.round((performance.now() - begin) / 1000),
    ...lastStatus(output),
    pastDecoderPercent: share(reach.past, reach.executions),
    datagrams: reach.datagrams || undefined,
    authenticPercent: share(reach.authentic, reach.datagrams),
    crashes: found.map((file) => relative(root, file)),
    failed: code !== 0,
    why: code === 0 ? undefined : (/panicked at .*\n.*/.exec(output)?.[0] ?? /^SUMMARY: .*$/m.exec(output)?.[0] ?? output.slice(-400)),
  }
}

/** Makes the committed corpus of all inputs there are: those that together reach every edge, smallest first, within a bound. */
async function minimize(target) {
  const [work, committed] = [directory('work', target), directory('corpus', target)]
  const merged = join(fuzz, 'work', `${target}.merged`)
  rmSync(merged, { recursive: true, force: true })
  mkdirSync(merged)
  // By edges, not by how often each was taken: a tenth of the inputs, and all that a replay can miss is a loop's length.
  const args = ['-merge=1', '-use_counters=0', `-max_len=${MAX_INPUT_BYTES}`, merged, committed, work]
  const { code, output } = await run(program(target), args, { cwd: root, env })
  if (isStopping()) return
  if (code !== 0) throw new Error(`${target}: -merge failed\n${output.slice(-1000)}`)
  // Findings that were fixed are kept whatever they reach.
  const regressions = files(committed).filter((file) => /\/regression-[^/]*$/.test(file))
  let bytes = regressions.reduce((sum, file) => sum + statSync(file).size, 0)
  files(committed).filter((file) => !regressions.includes(file)).forEach((file) => rmSync(file))
  const smallestFirst = files(merged).map((file) => ({ file, size: statSync(file).size })).sort((a, b) => a.size - b.size)
  let kept = 0
  for (const { file, size } of smallestFirst) {
    if (bytes + size > MAX_CORPUS_BYTES) break
    copyFileSync(file, join(committed, file.slice(merged.length + 1)))
    bytes += size
    kept++
  }
  out.write(`${target}: ${kept} of ${smallestFirst.length} inputs kept, ${regressions.length} regressions, ${(bytes / 1024).toFixed(0)} KiB\n`)
  rmSync(merged, { recursive: true })
}

const results = []
for (const target of options.targets) {
  if (isStopping()) break
  if (options.minimize) {
    await minimize(target)
    continue
  }
  const result = await fuzzOne(target)
  if (isStopping()) break
  results.push(result)
  const percent = (value, of) => (value === undefined ? '' : `, ${value} % ${of}`)
  out.write(
    `${target}: ${result.executions} executions in ${result.seconds} s (${result.perSecond}/s), ${result.edges} edges, ` +
      `${result.corpus} inputs (${result.corpusBytes ?? '0b'})${percent(result.pastDecoderPercent, 'past the decoder')}` +
      `${percent(result.authenticPercent, `of ${result.datagrams} datagrams authentic`)}, ${result.crashes.length} crashes\n`,
  )
  if (result.failed) {
    out.write(`  ${result.why?.replaceAll('\n', '\n  ')}\n`)
    for (const file of result.crashes) out.write(`  replay: ${relative(root, program(target))} ${file}\n`)
  }
}

if (options.json) process.stdout.write(`${JSON.stringify({ targets: results, crashes: results.reduce((sum, { crashes }) => sum + crashes.length, 0) })}\n`)
if (!isStopping()) process.exitCode = results.some(({ failed }) => failed) ? 1 : 0

// Two clones of the repository, built, on one machine: their bulk transfers in turns, and node:tls of the same round beside
// them. Fails when the second is slower than the first by more than a limit.
// usage: npm run bench:compare -- BASE HEAD [--rounds 5] [--bytes N] [--least 0.85] [--out FOLDER]
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { isStopping, run } from './run.mjs'

const USAGE = 'npm run bench:compare -- BASE HEAD [--rounds N] [--bytes N] [--least X] [--out FOLDER]'

function refuse(message) {
  process.stderr.write(`bench-compare: ${message}\nusage: ${USAGE}\n`)
  process.exit(2)
}

function parsed() {
  const options = { rounds: { type: 'string', default: '5' }, bytes: { type: 'string', default: '1000000000' }, least: { type: 'string', default: '0.85' }, out: { type: 'string' } }
  try {
    return parseArgs({ allowPositionals: true, options })
  } catch (error) {
    return refuse(error.message)
  }
}

const { values, positionals } = parsed()
const [base, head] = positionals
if (positionals.length !== 2) refuse(`expected two folders, got ${positionals.length}`)
for (const clone of [base, head]) if (!existsSync(join(clone, 'scripts/bench.mjs'))) refuse(`expected a clone of paceline, got ${clone}`)
const [rounds, bytes, least] = ['rounds', 'bytes', 'least'].map((name) => {
  const value = Number(values[name])
  if (!(value > 0) || (name !== 'least' && !Number.isSafeInteger(value))) refuse(`expected --${name} to be a positive number, got ${values[name]}`)
  return value
})

/** Who is measured, in which clone. */
const contenders = { tls: ['node:tls', head], base: ['paceline', base], head: ['paceline', head] }

async function measure([contender, clone]) {
  const { code, output } = await run(process.execPath, ['scripts/bench.mjs', 'bulk', '--json', '--only', contender, '--runs', '1', '--bytes', String(bytes)], { cwd: resolve(clone) })
  if (isStopping()) process.exit()
  const results = {}
  for (const line of output.split('\n')) {
    if (!line.startsWith('{')) continue
    const { name, value } = JSON.parse(line)
    if (typeof name === 'string' && typeof value === 'number') results[name] = value
  }
  if (code !== 0 || !(results[contender] > 0)) {
    process.stderr.write(`the benchmark of ${contender} in ${clone} ended with ${code}\n${output}\n`)
    process.exit(1)
  }
  return { gbit: results[contender], cpu: results[`${contender} sender cpu`] + results[`${contender} receiver cpu`] }
}

const names = Object.keys(contenders)
const measured = []
for (let round = 0; round < rounds; round++) {
  const result = {}
  // Each goes first as often as the others: what comes after a pause, or after somebody else's gigabyte, is not the same.
  for (let turn = 0; turn < names.length; turn++) {
    const name = names[(round + turn) % names.length]
    result[name] = await measure(contenders[name])
  }
  measured.push(result)
  process.stderr.write(`round ${round + 1} of ${rounds}: ${names.map((name) => `${name} ${result[name].gbit.toFixed(2)}`).join(', ')} Gbit/s\n`)
}

/** Ratios are made within a round: what the machine does besides is in both. */
function summary(of) {
  const sorted = measured.map(of).sort((a, b) => a - b)
  return { median: (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2, least: sorted[0], most: sorted.at(-1) }
}

const comparison = {
  rounds,
  bytes,
  limit: least,
  ratio: summary((round) => round.head.gbit / round.base.gbit),
  ...Object.fromEntries(
    names.map((name) => [name, { gbit: summary((round) => round[name].gbit), cpu: summary((round) => round[name].cpu), tls: summary((round) => round[name].gbit / round.tls.gbit) }]),
  ),
}
comparison.ok = comparison.ratio.median >= least
if (values.out !== undefined) {
  mkdirSync(values.out, { recursive: true })
  writeFileSync(join(values.out, 'comparison.json'), `${JSON.stringify(comparison)}\n`)
}
const shown = ({ median, least, most }) => `${median.toFixed(2)} [${least.toFixed(2)} – ${most.toFixed(2)}]`
for (const name of names) {
  const { gbit, cpu, tls } = comparison[name]
  process.stdout.write(`${name.padEnd(4)}  ${shown(gbit)} Gbit/s  ${shown(cpu)} s/GB of CPU, both sides  ${shown(tls)} of node:tls\n`)
}
process.stdout.write(`head / base: ${shown(comparison.ratio)}, at least ${least} is wanted\n`)
process.exitCode = comparison.ok ? 0 : 1

// Two clones of the repository, built, on one machine: their bulk transfers in turns. Fails when the second is slower than
// the first by more than a limit.
// usage: node scripts/bench-compare.mjs BASE HEAD [--rounds 5] [--bytes N] [--least 0.85] --out FOLDER
import { mkdirSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { isStopping, run } from './run.mjs'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { rounds: { type: 'string', default: '5' }, bytes: { type: 'string', default: '1000000000' }, least: { type: 'string', default: '0.85' }, out: { type: 'string' } },
})
const [base, head] = positionals
const numbers = { rounds: Number(values.rounds), bytes: Number(values.bytes), least: Number(values.least) }
if (head === undefined || values.out === undefined || !Object.values(numbers).every((value) => value > 0)) {
  process.stderr.write('bench-compare: expected BASE HEAD [--rounds N] [--bytes N] [--least X] --out FOLDER\n')
  process.exit(2)
}

async function measure(clone) {
  const { code, output } = await run(process.execPath, ['scripts/bench.mjs', 'bulk', '--json', '--only', 'paceline', '--runs', '1', '--bytes', String(numbers.bytes)], { cwd: resolve(clone) })
  if (isStopping()) process.exit()
  const values = {}
  for (const line of output.split('\n')) {
    if (!line.startsWith('{')) continue
    const { name, value } = JSON.parse(line)
    if (typeof name === 'string' && typeof value === 'number') values[name] = value
  }
  if (code !== 0 || !(values.paceline > 0)) throw new Error(`the benchmark in ${clone} ended with ${code}\n${output}`)
  return { gbit: values.paceline, senderCpu: values['paceline sender cpu'], receiverCpu: values['paceline receiver cpu'] }
}

const rounds = []
for (let round = 0; round < numbers.rounds; round++) {
  // Each goes first as often as the other.
  const order = round % 2 === 0 ? ['base', 'head'] : ['head', 'base']
  const result = {}
  for (const side of order) result[side] = await measure(side === 'base' ? base : head)
  rounds.push(result)
  process.stderr.write(`round ${round + 1} of ${numbers.rounds}: base ${result.base.gbit.toFixed(2)}, head ${result.head.gbit.toFixed(2)} Gbit/s\n`)
}

const sorted = (list) => [...list].sort((a, b) => a - b)
const middle = (list) => {
  const all = sorted(list)
  return (all[(all.length - 1) >> 1] + all[all.length >> 1]) / 2
}
const summary = (of) => ({ median: middle(rounds.map(of)), least: sorted(rounds.map(of))[0], most: sorted(rounds.map(of)).at(-1) })
const cpu = ({ senderCpu, receiverCpu }) => senderCpu + receiverCpu
const comparison = {
  rounds: numbers.rounds,
  bytes: numbers.bytes,
  limit: numbers.least,
  ratio: summary(({ base, head }) => head.gbit / base.gbit),
  base: { gbit: summary(({ base }) => base.gbit), cpu: summary(({ base }) => cpu(base)) },
  head: { gbit: summary(({ head }) => head.gbit), cpu: summary(({ head }) => cpu(head)) },
}
comparison.ok = comparison.ratio.median >= numbers.least
mkdirSync(values.out, { recursive: true })
writeFileSync(join(values.out, 'comparison.json'), `${JSON.stringify(comparison)}\n`)
process.stdout.write(`head / base: ${comparison.ratio.median.toFixed(3)} [${comparison.ratio.least.toFixed(3)} – ${comparison.ratio.most.toFixed(3)}], at least ${numbers.least} is wanted\n`)
process.exitCode = comparison.ok ? 0 : 1

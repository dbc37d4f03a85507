// paceline and s2n-quic-dc, where dcQUIC comes from, open streams to each other on real sockets: one row per case. Before
// that, their codecs and key schedules are held against each other.
// usage: npm run interop [-- [--json] [--seed N] [WORD…]]; with words, only rows whose names have all of them
//        npm run interop -- --throughput [--json] [--rounds N] [--megabytes N] [PAIRING]: bulk in turns, 2 GiB of each pairing
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { isStopping, root, run } from './run.mjs'

const USAGE = 'usage: npm run interop [-- [--json] [--seed N] [WORD…] | --throughput [--json] [--rounds N] [--megabytes N] [PAIRING]]'

function parse() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        json: { type: 'boolean', default: false },
        seed: { type: 'string' },
        throughput: { type: 'boolean', default: false },
        rounds: { type: 'string' },
        megabytes: { type: 'string' },
        help: { type: 'boolean', short: 'h' },
      },
    })
    if (values.help) {
      process.stdout.write(`${USAGE}\n`)
      process.exit(0)
    }
    if (values.seed !== undefined && !/^\d{1,19}$/.test(values.seed)) throw new TypeError(`expected --seed from 0, got "${values.seed}"`)
    for (const name of ['rounds', 'megabytes']) {
      if (values[name] === undefined) continue
      if (!values.throughput) throw new TypeError(`expected --${name} with --throughput only`)
      if (!/^[1-9]\d{0,4}$/.test(values[name])) throw new TypeError(`expected --${name} from 1 to 99999, got "${values[name]}"`)
    }
    return { ...values, words: positionals }
  } catch (error) {
    process.stderr.write(`interop: ${error.message.split('. ')[0]}\n${USAGE}\n`)
    return process.exit(2)
  }
}

const { json, seed, throughput, rounds, megabytes, words } = parse()
const cwd = join(root, 'crates', 'interop')
const out = json ? process.stderr : process.stdout

function stop(message, output = '') {
  if (isStopping()) process.exit()
  process.stderr.write(`${output}interop: ${message}\n`)
  process.exit(1)
}

// A workspace and a target directory of its own, so that nothing of upstream's gets near paceline's builds.
out.write('building s2n-quic-dc and the peers (minutes, the first time)…\n')
const build = await run('cargo', ['build', '--release', '--locked', '--tests', '--bins'], { cwd })
if (build.code !== 0) stop('it does not build', build.output)

if (throughput) {
  const options = Object.entries({ rounds, megabytes }).flatMap(([name, value]) => (value === undefined ? [] : [`--${name}`, value]))
  const args = ['--throughput', ...(json ? ['--json'] : []), ...options, ...words]
  // Inherited: its progress shows on a terminal, and nowhere else.
  const { status } = spawnSync(join(cwd, 'target', 'release', 'paceline-interop'), args, { cwd, stdio: 'inherit' })
  process.exit(status ?? 1)
}

const begin = performance.now()
let differential
if (words.length === 0) {
  const test = await run('cargo', ['test', '--release', '--locked', '--tests', '--', '--nocapture'], { cwd })
  const [, cases] = /^ *(\d+) in all$/m.exec(test.output) ?? []
  if (test.code !== 0 || cases === undefined) stop('the codecs differ', test.output)
  differential = { cases: Number(cases), ok: true }
  out.write(`ok             ${cases} packets through both codecs\n`)
}

let rest = ''
const rows = []
const onText = (text) => {
  const lines = (rest + text).split('\n')
  rest = lines.pop() ?? ''
  for (const line of lines) {
    if (!line.startsWith('{')) {
      process.stderr.write(`${line}\n`)
      continue
    }
    const row = JSON.parse(line)
    rows.push(row)
    out.write(`${row.ok ? 'ok    ' : 'FAILED'} ${row.seconds.toFixed(2).padStart(6)} s ${row.case}${row.error ? `: ${row.error}` : ''}\n`)
  }
}
const args = ['--json', ...(seed === undefined ? [] : ['--seed', seed]), ...words]
const { code } = await run(join(cwd, 'target', 'release', 'paceline-interop'), args, { cwd, onText })
if (isStopping()) process.exit()

const failed = rows.filter(({ ok }) => !ok).length
const seconds = Math.round((performance.now() - begin) / 100) / 10
out.write(`${rows.length - failed} of ${rows.length} rows passed in ${seconds} s\n`)
if (json) process.stdout.write(`${JSON.stringify({ differential, rows, passed: rows.length - failed, failed, seconds })}\n`)
// A crash in between leaves rows that passed and a code that tells.
process.exitCode = code === 0 && failed === 0 && rows.length > 0 ? 0 : 1

// Tests on a machine that others use, too: busy loops beside them, and pauses at random of one of their processes or of all.
// A test that fails here waits for a clock where it should wait for an event, or has found a bug.
// usage: npm run stress -- [--loops 4] [--rounds 5] FILE…     (files of the ava suite, or of crates/node/tests)
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { bin, isStopping, run, start } from './run.mjs'

/** A pause is as long as what a busy or throttled machine does to a process; between two pauses it gets somewhere. Milliseconds. */
const PAUSE = [100, 300]
const BETWEEN = [50, 550]
/** Share of the pauses that are everybody's. */
const ALL = 0.4

function refuse(message) {
  process.stderr.write(`stress: ${message}\nusage: npm run stress -- [--loops N] [--rounds N] FILE…\n`)
  process.exit(2)
}

function parsed() {
  try {
    return parseArgs({ allowPositionals: true, options: { loops: { type: 'string', default: '4' }, rounds: { type: 'string', default: '5' } } })
  } catch (error) {
    return refuse(error.message)
  }
}

const { values, positionals: files } = parsed()
const [loops, rounds] = ['loops', 'rounds'].map((name) => {
  const value = Number(values[name])
  return Number.isSafeInteger(value) && value >= (name === 'rounds' ? 1 : 0) ? value : refuse(`expected --${name} to be a whole number, got ${values[name]}`)
})
if (files.length === 0) refuse('expected files of tests, got none')
for (const file of files) if (!existsSync(file)) refuse(`expected a file of tests, got ${file}`)
if (process.platform !== 'linux') refuse(`expected Linux, whose /proc names the processes of a test, got ${process.platform}`)

const between = ([least, most]) => sleep(least + Math.random() * (most - least))

/** A process and all that it has started. */
function family(pid) {
  const children = new Map()
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    try {
      const [, parent] = readFileSync(`/proc/${name}/stat`, 'utf8').replace(/^.*\) /, '').split(' ')
      children.set(Number(parent), [...(children.get(Number(parent)) ?? []), Number(name)])
    } catch {
      // It has ended meanwhile.
    }
  }
  const members = [pid]
  for (const member of members) members.push(...(children.get(member) ?? []))
  return members
}

function signal(pids, name) {
  for (const pid of pids) {
    try {
      process.kill(pid, name)
    } catch {
      // It has ended meanwhile.
    }
  }
}

/** Pauses what `child` has started until it is over; how often it did. */
async function disturb(child) {
  let pauses = 0
  const isOver = () => child.exitCode !== null || child.signalCode !== null
  for (;;) {
    await between(BETWEEN)
    if (isOver() || isStopping()) return pauses
    const all = family(child.pid)
    const paused = Math.random() < ALL ? all : [all[Math.floor(Math.random() * all.length)]]
    signal(paused, 'SIGSTOP')
    pauses++
    await between(PAUSE)
    signal(paused, 'SIGCONT')
  }
}

const command = (file) => (file.endsWith('.cjs') ? ['--expose-gc', '--test', '--test-reporter=tap', file] : [bin('ava', 'entrypoints/cli.mjs'), '--tap', file])

const busy = Array.from({ length: loops }, () => start('sh', ['-c', 'while :; do :; done'], { stdio: 'ignore' }))
let failed = 0
for (const file of files) {
  const seconds = []
  let pauses = 0
  for (let round = 1; round <= rounds && !isStopping(); round++) {
    const begin = performance.now()
    let disturbed
    const { code, output } = await run(process.execPath, command(file), { onStart: (child) => (disturbed = disturb(child)) })
    if (isStopping()) break
    pauses += await disturbed
    seconds.push(((performance.now() - begin) / 1000).toFixed(0))
    if (code === 0) continue
    failed++
    process.stdout.write(`FAIL ${file}, round ${round}\n${output.replace(/^ok .*\n/gm, '')}\n`)
  }
  if (isStopping()) break
  process.stdout.write(`${file}: ${seconds.length} rounds of ${seconds.join(', ')} s, ${pauses} pauses\n`)
}
for (const child of busy) child.kill('SIGKILL')
if (!isStopping()) {
  process.stdout.write(failed === 0 ? 'all passed\n' : `${failed} failed\n`)
  process.exitCode = failed === 0 ? 0 : 1
}

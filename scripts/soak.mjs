// A day of virtual time for two endpoints: streams open, transfer and close in changing weather, and memory must stay flat.
// usage: npm run soak [-- [--hours N] [--seed S] [--json]]
import { createRequire } from 'node:module'
import { parseArgs } from 'node:util'
import { root } from './run.mjs'

const USAGE = 'usage: npm run soak [-- [--hours N] [--seed S] [--json]]'
const PARTS = 10
const MiB = 1 << 20
/** Between half the time and its end. */
const MAX_GROWTH_BYTES = MiB
const LIMIT_SECONDS = 600
const FULL_HOURS = 24
/**
 * One call into the addon: between two, Ctrl-C is noticed. 24 h are 144 calls, too few for V8 to compile this loop: at about
 * the 840th it does, and its memory (3.7 MiB, once, measured) is not what is watched here.
 */
const STRIDE_SECONDS = 600

function fail(message, code = 1) {
  process.stderr.write(`soak: ${message}\n`)
  process.exit(code)
}

function parse() {
  try {
    const { values } = parseArgs({
      options: { hours: { type: 'string', default: String(FULL_HOURS) }, seed: { type: 'string', default: '1' }, json: { type: 'boolean', default: false }, help: { type: 'boolean', short: 'h' } },
    })
    if (values.help) {
      process.stdout.write(`${USAGE}\n`)
      process.exit(0)
    }
    const hours = Number(values.hours)
    if (!(hours > 0 && hours <= 10_000)) throw new TypeError(`expected --hours above 0, up to 10000, got "${values.hours}"`)
    if (!/^\d{1,19}$/.test(values.seed)) throw new TypeError(`expected --seed from 0, got "${values.seed}"`)
    return { hours, seed: BigInt(values.seed), json: values.json }
  } catch (error) {
    return fail(`${error.message.split('. ')[0]}\n${USAGE}`, 2)
  }
}

const { hours, seed, json } = parse()
const { NativeSoak } = createRequire(import.meta.url)(`${root}/packages/paceline/dist/addon.cjs`).requireAddon().addon

/** What of this process is in memory, after what JavaScript no longer needs has been given back. */
function rss() {
  globalThis.gc?.()
  return process.memoryUsage.rss()
}

const say = (line) => (json ? process.stderr : process.stdout).write(`${line}\n`)
const begin = performance.now()
const wall = () => (performance.now() - begin) / 1000
const samples = []
let totals
try {
  const soak = new NativeSoak(seed)
  say('      virtual      wall        RSS       pools     streams         bytes')
  for (let part = 1; part <= PARTS; part++) {
    const end = (hours * 3600 * part) / PARTS
    for (let at = totals?.virtualSeconds ?? 0; at < end; at = totals.virtualSeconds) {
      totals = soak.runUntil(Math.min(at + STRIDE_SECONDS, end))
      await new Promise(setImmediate)
    }
    const sample = { percent: part * (100 / PARTS), virtualHours: totals.virtualSeconds / 3600, wallSeconds: wall(), rssBytes: rss(), poolBytes: totals.poolAllocatedBytes, streams: totals.streams }
    samples.push(sample)
    const columns = [
      `${sample.percent} %`.padStart(5),
      `${sample.virtualHours.toFixed(1)} h`.padStart(8),
      `${sample.wallSeconds.toFixed(1)} s`.padStart(10),
      `${(sample.rssBytes / MiB).toFixed(2)} MiB`.padStart(11),
      `${(sample.poolBytes / MiB).toFixed(2)} MiB`.padStart(12),
      String(totals.streams).padStart(12),
      String(totals.bytes).padStart(14),
    ]
    say(columns.join(''))
  }
  totals = soak.finish()
} catch (error) {
  fail(`expected every stream whole, got: ${error.message}`)
}

const growth = samples[PARTS - 1].rssBytes - samples[PARTS / 2 - 1].rssBytes
const seconds = wall()
const faults = []
if (growth > MAX_GROWTH_BYTES) faults.push(`expected at most ${MAX_GROWTH_BYTES} bytes more from half to end, got ${growth}`)
if (hours <= FULL_HOURS && seconds > LIMIT_SECONDS) faults.push(`expected at most ${LIMIT_SECONDS} s, got ${seconds.toFixed(1)} s`)
if (totals.open !== 0 || totals.poolLent !== 0) faults.push(`expected nothing open at the end, got ${JSON.stringify(totals)}`)
const report = { ok: faults.length === 0, seed: Number(seed), virtualHours: hours, wallSeconds: seconds, growthBytes: growth, samples, ...totals }
if (json) process.stdout.write(`${JSON.stringify(report)}\n`)
else say(`${totals.streams} streams, ${totals.bytes} bytes, ${totals.datagrams} datagrams, ${totals.faults} faults; RSS from half to end: ${growth} bytes`)
for (const fault of faults) process.stderr.write(`soak: ${fault}\n`)
process.exitCode = faults.length === 0 ? 0 : 1

// What the long checks share. They are plain JavaScript over the built package, so that every Node runs them, and each
// prints one line of JSON: `{ ok, faults, … }`. usage: node r12.mjs [NAME=NUMBER…]
import { spawnSync } from 'node:child_process'
import { readdirSync, readlinkSync } from 'node:fs'
import { createRequire } from 'node:module'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Endpoint, generateSecret } from 'paceline'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc')

/** What of the addon is alive in this process. */
export const { nativeLiveness } = createRequire(import.meta.url)('../../../packages/paceline/dist/addon.cjs').requireAddon().addon

export const NOTHING_ALIVE = { drivers: 0, threads: 0, pools: 0, lentDescriptors: 0, poolBytes: 0 }

/** The numbers of the command line over the defaults. */
export function numbers(defaults) {
  const result = { ...defaults }
  for (const argument of process.argv.slice(2)) {
    const [, name, value] = /^(\w+)=(\d+)$/.exec(argument) ?? []
    if (!(name in defaults)) {
      process.stderr.write(`expected one of ${Object.keys(defaults).join(', ')} with =NUMBER, got ${argument}\n`)
      process.exit(2)
    }
    result[name] = Number(value)
  }
  return result
}

/**
 * Goes on in a child where resident memory says what is held:
 *
 * - V8 lets the young generation grow with how fast garbage comes, up to 2 × 64 MiB since Node 24 (2 × 16 before), and keeps
 *   it. Pairs of streams of node:stream alone take a process of Node 24 from 78 to 193 MiB within 35,000 of them, and `churn`
 *   from 93 to 234 within as many; both stop there, and with the option below neither begins.
 * - glibc keeps what was freed among what was not: 3 MiB are in use after each of 5,000 test networks, and 50 to 70 are
 *   resident. From this size on, what is freed goes back to the system.
 *
 * What grows then is a leak. (Figures of 2026-11-23.)
 */
export function pinned() {
  if (process.env.PACELINE_PINNED === '1') return
  const { status } = spawnSync(process.execPath, ['--max-semi-space-size=2', ...process.execArgv, ...process.argv.slice(1)], {
    stdio: 'inherit',
    env: { ...process.env, PACELINE_PINNED: '1', MALLOC_MMAP_THRESHOLD_: '16384' },
  })
  process.exit(status ?? 1)
}

/** Prints the report and ends. */
export function report(faults, figures) {
  process.stdout.write(`${JSON.stringify({ ok: faults.length === 0, faults, ...figures })}\n`)
  process.exitCode = faults.length === 0 ? 0 : 1
}

/** A list that says what was expected and what came. */
export class Faults extends Array {
  expect(condition, text) {
    if (!condition && this.length < 20) this.push(text)
  }
}

export const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds))

/** Garbage and its finalizers are gone. */
export async function settle() {
  for (let round = 0; round < 4; round += 1) {
    collect()
    await sleep(10)
  }
}

/** Waits until `condition` holds; returns whether it did. */
export async function until(condition, milliseconds = 60_000) {
  const deadline = performance.now() + milliseconds
  while (!condition()) {
    if (performance.now() > deadline) return false
    await sleep(5)
  }
  return true
}

/**
 * By how much samples at equal distances grow from the first to the last, by the median of the slopes between any two
 * (Theil and Sen): one sample of a moment when V8 or malloc kept what they give back later changes little.
 */
export function growth(samples) {
  const slopes = samples.flatMap((from, first) => samples.slice(first + 1).map((to, later) => (to - from) / (later + 1)))
  slopes.sort((a, b) => a - b)
  const middle = slopes.length >> 1
  const median = slopes.length % 2 === 1 ? slopes[middle] : (slopes[middle - 1] + slopes[middle]) / 2
  return median * (samples.length - 1)
}

const linux = process.platform === 'linux'

/** Open sockets of this process: what else has descriptors is Node's. */
export function sockets() {
  if (!linux) return 0
  let count = 0
  for (const name of readdirSync('/proc/self/fd')) {
    try {
      if (/^socket:|eventfd/.test(readlinkSync(`/proc/self/fd/${name}`))) count += 1
    } catch {
      // The descriptor of this very listing.
    }
  }
  return count
}

export const threads = () => (linux ? readdirSync('/proc/self/task').length : 0)

/** Two endpoints in this process, one peer. */
export async function pair(receiverOptions = {}, senderOptions = {}) {
  const secret = generateSecret()
  const receiver = await Endpoint.listen({ host: '127.0.0.1', port: 0, secret, ...receiverOptions })
  const sender = await Endpoint.bind({ host: '127.0.0.1', ...senderOptions })
  // Somebody has to iterate before anybody opens.
  const streams = receiver[Symbol.asyncIterator]()
  let first = streams.next()
  const accepted = {
    [Symbol.asyncIterator]: () => ({
      next() {
        const next = first ?? streams.next()
        first = undefined
        return next
      },
      return: () => streams.return(),
    }),
  }
  const peer = await sender.connect('127.0.0.1', receiver.address.port, { secret })
  return { sender, receiver, peer, accepted, secret }
}

/** xorshift32: the same seed makes the same choices. */
export function random(seed) {
  let state = Math.imul(seed, 2_654_435_761) | 1
  return (below) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % below
  }
}

export const MiB = 1 << 20

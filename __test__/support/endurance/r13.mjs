// R13: workers ended in mid-transfer, process.exit() and exceptions in callbacks: no crash, no hang, nothing left.
import { spawn } from 'node:child_process'
import { Worker } from 'node:worker_threads'
import { fileURLToPath } from 'node:url'
import { Faults, NOTHING_ALIVE, nativeLiveness, numbers, random, report, settle, sleep, sockets, threads, until } from './common.mjs'

const { workers, exits, throws, hang } = numbers({ workers: 500, exits: 100, throws: 100, /** ms */ hang: 1_000 })
const TRANSFER = fileURLToPath(new URL('transfer.mjs', import.meta.url))
const faults = new Faults()
const choose = random(13)
let slowest = 0

async function worker() {
  const worker = new Worker(TRANSFER, { workerData: choose(4), stdout: true, stderr: true })
  const running = await new Promise((resolve) => {
    worker.once('message', () => resolve(true))
    worker.once('error', (error) => (faults.push(`a worker failed: ${error.message}`), resolve(false)))
    worker.once('exit', () => resolve(false))
  })
  faults.expect(running, 'expected every worker in mid-transfer before it is ended')
  await sleep(choose(4))
  const begin = performance.now()
  await worker.terminate()
  const took = performance.now() - begin
  slowest = Math.max(slowest, took)
  faults.expect(took < hang, `expected terminate() within ${hang} ms, got ${took.toFixed(0)}`)
}

/** Ends a process in mid-transfer; it says when. */
function child(how, expected) {
  return new Promise((resolve) => {
    const process_ = spawn(process.execPath, [...process.execArgv, TRANSFER, how, String(1 + choose(8))], { stdio: ['ignore', 'pipe', 'pipe'] })
    let said = ''
    let complaint = ''
    process_.stdout.setEncoding('utf8').on('data', (text) => (said += text))
    process_.stderr.setEncoding('utf8').on('data', (text) => (complaint += text))
    const timer = setTimeout(() => process_.kill('SIGKILL'), 30_000)
    process_.once('close', (code, signal) => {
      clearTimeout(timer)
      const took = Date.now() - Number(said)
      const fine = code === expected && signal === null && said !== ''
      faults.expect(fine, `${how}: expected exit code ${expected}, got ${code ?? signal}: ${complaint.slice(0, 300)}`)
      if (how === 'throw') faults.expect(complaint.includes('on purpose'), `expected the exception on stderr, got ${complaint.slice(0, 100)}`)
      if (fine) slowest = Math.max(slowest, took)
      faults.expect(!fine || took < hang, `${how}: expected an end within ${hang} ms, got ${took}`)
      resolve()
    })
  })
}

const begin = performance.now()
// The first worker of a process starts threads that stay.
await worker()
await settle()
const before = { sockets: sockets(), threads: threads(), rss: process.memoryUsage.rss() }
for (let count = 1; count < workers; count += 1) await worker()
await settle()
// A thread that has been joined may stand in the system's list for a moment more.
await until(() => sockets() <= before.sockets && threads() <= before.threads, 10_000)
const after = { sockets: sockets(), threads: threads(), rss: process.memoryUsage.rss() }
faults.expect(after.sockets <= before.sockets, `expected ${before.sockets} sockets, got ${after.sockets}`)
faults.expect(after.threads <= before.threads, `expected ${before.threads} threads, got ${after.threads}`)
const alive = JSON.stringify(nativeLiveness())
faults.expect(alive === JSON.stringify(NOTHING_ALIVE), `expected nothing alive, got ${alive}`)

const jobs = [...Array.from({ length: exits }, () => ['exit', 7]), ...Array.from({ length: throws }, () => ['throw', 1])]
await Promise.all(
  Array.from({ length: 2 }, async () => {
    for (let job = jobs.shift(); job !== undefined; job = jobs.shift()) await child(...job)
  }),
)
report(faults, { workers, exits, throws, slowestEndMs: Math.round(slowest), before, after, seconds: (performance.now() - begin) / 1000 })

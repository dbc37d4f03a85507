import { parentPort } from 'node:worker_threads'
import { loadSimulator, type SimOptions, type Simulator } from '../simulator.js'
import { oneLine } from './faults.js'

/** What a worker can be asked for. */
export type Job =
  | { readonly run: 'seeds'; readonly from: number; readonly count: number; readonly options: SimOptions }
  | { readonly run: 'shrink'; readonly seed: number; readonly options: SimOptions; readonly milliseconds: number }
  | { readonly run: 'path'; readonly name: string }

/** What it answers: news as it comes, and `done` when it wants the next job. */
export type Answer =
  | { readonly kind: 'world'; readonly seed: number; readonly verdict: string; readonly log?: string }
  | { readonly kind: 'shrunk'; readonly text: string | null }
  | { readonly kind: 'path'; readonly report: string }
  | { readonly kind: 'broken'; readonly what: string }
  | { readonly kind: 'done' }

function work(simulator: Simulator, job: Job, answer: (answer: Answer) => void): void {
  switch (job.run) {
    case 'seeds':
      // The thread can be ended between two worlds, not within one.
      for (let seed = job.from; seed < job.from + job.count; seed++) {
        answer({ kind: 'world', seed, ...simulator.simSeed(BigInt(seed), job.options) })
      }
      break
    case 'shrink':
      answer({ kind: 'shrunk', text: simulator.simShrink(BigInt(job.seed), job.options, job.milliseconds) })
      break
    case 'path':
      answer({ kind: 'path', report: simulator.simPath(job.name) })
  }
}

const port = parentPort
if (port === null) throw new TypeError('expected to be a worker thread')
void loadSimulator().then((simulator) => {
  port.on('message', (job: Job) => {
    try {
      work(simulator, job, (answer) => port.postMessage(answer))
      port.postMessage({ kind: 'done' } satisfies Answer)
    } catch (error) {
      port.postMessage({ kind: 'broken', what: oneLine(error) } satisfies Answer)
    }
  })
})

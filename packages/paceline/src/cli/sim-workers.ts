import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import addonFile from '../addon.cjs'
import { Fault, oneLine } from './faults.js'
import type { Answer, Job } from './sim-worker.js'

const SCRIPT = join(addonFile.packageFolder, 'dist', 'cli', 'sim-worker.js')

/** Answers that are results. */
export type News = Exclude<Answer, { kind: 'done' | 'broken' }>

interface Doing {
  take(news: News): void
  done(): void
  broken(why: Error): void
}

/** One thread, one job at a time. */
class Thread {
  readonly #worker = new Worker(SCRIPT)
  #doing: Doing | undefined
  #broken: Error | undefined

  constructor() {
    this.#worker.on('message', (answer: Answer) => {
      if (answer.kind === 'done') this.#doing?.done()
      else if (answer.kind === 'broken') this.#break(answer.what)
      else this.#doing?.take(answer)
    })
    this.#worker.on('error', (error) => this.#break(oneLine(error)))
    this.#worker.on('exit', (code) => this.#break(`a thread that ended with ${code}`))
  }

  async run(job: Job, take: (news: News) => void): Promise<void> {
    if (this.#broken !== undefined) throw this.#broken
    try {
      await new Promise<void>((done, broken) => {
        this.#doing = { take, done, broken }
        this.#worker.postMessage(job)
      })
    } finally {
      this.#doing = undefined
    }
  }

  async end(): Promise<void> {
    await this.#worker.terminate()
  }

  #break(what: string): void {
    this.#broken ??= new Fault(`expected the simulator to run, got: ${what}`)
    this.#doing?.broken(this.#broken)
  }
}

/** Threads that run worlds. None outlives {@link SimWorkers.end}. */
export class SimWorkers {
  readonly #threads: readonly Thread[]

  constructor(count: number) {
    this.#threads = Array.from({ length: count }, () => new Thread())
  }

  /** Gives jobs to whoever is free, until there are none; rejects with the signal's reason, or when a thread breaks. */
  async run(jobs: Iterable<Job>, take: (news: News) => void, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    const queue = jobs[Symbol.iterator]()
    const drive = async (thread: Thread) => {
      for (let next = queue.next(); next.done !== true && !signal.aborted; next = queue.next()) {
        await thread.run(next.value, (news) => {
          if (!signal.aborted) take(news)
        })
      }
    }
    let stop = () => {}
    const stopped = new Promise<never>((_, reject) => {
      stop = () => reject(signal.reason as Error)
      signal.addEventListener('abort', stop)
    })
    try {
      await Promise.race([Promise.all(this.#threads.map(drive)), stopped])
    } finally {
      signal.removeEventListener('abort', stop)
    }
  }

  /** Ends every thread: at once, or when the world it is in is over. */
  async end(): Promise<void> {
    await Promise.all(this.#threads.map(async (thread) => thread.end()))
  }
}

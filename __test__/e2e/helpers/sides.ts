import { fork, type ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { ROOT } from './cli.ts'

export interface ReceiveTask {
  secret: string
  /** 0: as fast as it comes. */
  bytesPerSecond: number
}

export interface SendTask {
  secret: string
  port: number
  bytes: number
}

export interface StallTask {
  secret: string
  port: number
  maxBitrate: number
  queued: number
  settleMs: number
  stallMs: number
  afterwards: number
}

export interface Done {
  event: 'done'
  bytes: number
  wrong: number
  memoryGrowth: number
  milliseconds: number
}

export type Message = { event: 'listening'; port: number } | Done | { event: 'stalled'; begin: number; end: number }

/** A worker process and what it tells. */
export class Side {
  readonly #child: ChildProcess
  readonly #told: Message[] = []
  #watchers: (() => void)[] = []
  #ended: number | undefined

  constructor(t: ExecutionContext, role: string, task: object) {
    this.#child = fork(join(ROOT, '__test__', 'e2e', 'helpers', 'worker.ts'), [role, JSON.stringify(task)], {
      // What Node 20 and 22 have by themselves. From Node 24 on V8's young generation takes up to 96 MiB more, whoever makes garbage.
      execArgv: ['--max-semi-space-size=16', '--import', '@oxc-node/core/register'],
    })
    this.#child.on('message', (message) => this.#news(() => this.#told.push(message as Message)))
    this.#child.on('exit', (code) => this.#news(() => (this.#ended = code ?? 1)))
    t.teardown(() => this.#child.kill('SIGKILL'))
  }

  /** The first message of that kind. */
  async told<E extends Message['event']>(event: E): Promise<Extract<Message, { event: E }>> {
    return new Promise((resolve, reject) => {
      const look = () => {
        const found = this.#told.find((message): message is Extract<Message, { event: E }> => message.event === event)
        if (found !== undefined) resolve(found)
        else if (this.#ended !== undefined) reject(new Error(`a side ended (code ${this.#ended}) before it was ${event}`))
      }
      this.#watchers.push(look)
      look()
    })
  }

  /** Its exit code. */
  async ended(): Promise<number> {
    return new Promise((resolve) => {
      const look = () => this.#ended !== undefined && resolve(this.#ended)
      this.#watchers.push(look)
      look()
    })
  }

  #news(happened: () => void): void {
    happened()
    for (const look of this.#watchers) look()
  }
}

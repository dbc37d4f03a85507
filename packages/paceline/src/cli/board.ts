import type { Peer } from '../index.js'
import { printable } from './output.js'
import { Progress, pathTail } from './progress.js'

/** What one file tells the board. */
export interface BoardEntry {
  /** So much was there before. */
  skip(bytes: number): void
  add(bytes: number): void
  end(): void
}

/** One progress line for everything that arrives at the same time. */
export class Board {
  readonly #progress: Progress
  readonly #active = new Map<BoardEntry, { name: string; bytes: number }>()
  #total = 0
  #peer: Peer | undefined

  constructor(quiet: boolean) {
    const tail = () => pathTail(this.#peer?.stats().smoothedRttUs, undefined)
    this.#progress = new Progress('', 0, quiet, undefined, tail)
  }

  /** Files that arrive now. */
  get active(): number {
    return this.#active.size
  }

  add(name: string, bytes: number, peer: Peer): BoardEntry {
    this.#peer = peer
    if (this.#active.size === 0) {
      this.#total = 0
      this.#progress.restart()
    }
    const entry: BoardEntry = {
      skip: (there) => this.#progress.skip(there),
      add: (more) => this.#progress.add(more),
      end: () => {
        this.#active.delete(entry)
        if (this.#active.size === 0) this.clear()
        else this.#retitle()
      },
    }
    this.#active.set(entry, { name: printable(name), bytes })
    this.#total += bytes
    this.#retitle()
    this.#progress.add(0)
    return entry
  }

  clear(): void {
    this.#progress.clear()
  }

  #retitle(): void {
    const [first] = this.#active.values()
    this.#progress.retitle(this.#active.size === 1 ? (first?.name ?? '') : this.#active.size, this.#total)
  }
}

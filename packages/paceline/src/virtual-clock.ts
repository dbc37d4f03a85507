import type { Clock } from './clock.js'

/** What `setTimeout` of a {@link VirtualClock} gives: for `clearTimeout`. */
export interface VirtualTimer {
  /** When it is due, in virtual ms. */
  readonly at: number
}

interface Entry extends VirtualTimer {
  readonly order: number
  readonly run: () => void
  over: boolean
}

/** Timers on a clock that somebody else moves: a binary heap by time, first in first out at one time. */
export class VirtualClock implements Clock {
  now = 0
  #heap: Entry[] = []
  #orders = 0

  setTimeout(run: () => void, milliseconds: number): VirtualTimer {
    const entry: Entry = { at: this.now + milliseconds, order: (this.#orders += 1), run, over: false }
    this.#heap.push(entry)
    this.#up(this.#heap.length - 1)
    return entry
  }

  clearTimeout(timer: unknown): void {
    if (typeof timer === 'object' && timer !== null && 'over' in timer) timer.over = true
  }

  /** When the next timer is due; `Infinity` without one. */
  get next(): number {
    while (this.#heap[0]?.over === true) this.#shift()
    return this.#heap[0]?.at ?? Infinity
  }

  /** Takes the next timer that is due by now. */
  due(): (() => void) | undefined {
    if (this.next > this.now) return undefined
    const entry = this.#shift()
    if (entry !== undefined) entry.over = true
    return entry?.run
  }

  clear(): void {
    this.#heap = []
  }

  #shift(): Entry | undefined {
    const heap = this.#heap
    const [first] = heap
    const last = heap.pop()
    if (last !== undefined && heap.length > 0) {
      heap[0] = last
      this.#down()
    }
    return first
  }

  #up(at: number): void {
    for (let child = at; child > 0; ) {
      const parent = (child - 1) >> 1
      if (!this.#swap(child, parent)) return
      child = parent
    }
  }

  #down(): void {
    const heap = this.#heap
    for (let parent = 0; ; ) {
      const [left, right] = [2 * parent + 1, 2 * parent + 2]
      const a = heap[left]
      const b = heap[right]
      if (a === undefined) return
      const child = b !== undefined && before(b, a) ? right : left
      if (!this.#swap(child, parent)) return
      parent = child
    }
  }

  /** Puts the child above its parent if it comes first. */
  #swap(child: number, parent: number): boolean {
    const heap = this.#heap
    const a = heap[child]
    const b = heap[parent]
    if (a === undefined || b === undefined || !before(a, b)) return false
    heap[child] = b
    heap[parent] = a
    return true
  }
}

function before(a: Entry, b: Entry): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order)
}

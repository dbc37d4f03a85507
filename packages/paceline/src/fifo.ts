/**
 * A queue in a ring of slots that doubles when full. Its users bound what goes in.
 *
 * ```
 *      head            tail
 *       ▼               ▼
 *  ┌───┬───┬───┬───┬───┬───┬───┬───┐
 *  │   │ a │ b │ c │ d │   │   │   │   head and tail count up for ever; a slot is a count modulo the size
 *  └───┴───┴───┴───┴───┴───┴───┴───┘
 * ```
 */
export class Fifo<T> {
  #slots: (T | undefined)[] = [undefined, undefined, undefined, undefined]
  #head = 0
  #tail = 0

  get length(): number {
    return this.#tail - this.#head
  }

  push(value: T): void {
    if (this.length === this.#slots.length) this.#grow()
    this.#slots[this.#tail & (this.#slots.length - 1)] = value
    this.#tail += 1
  }

  peek(): T | undefined {
    return this.#slots[this.#head & (this.#slots.length - 1)]
  }

  shift(): T | undefined {
    if (this.#head === this.#tail) return undefined
    const index = this.#head & (this.#slots.length - 1)
    const value = this.#slots[index]
    this.#slots[index] = undefined
    this.#head += 1
    return value
  }

  clear(): void {
    this.#slots = [undefined, undefined, undefined, undefined]
    this.#head = this.#tail = 0
  }

  /** Replaces every value by what `map` makes of it; `undefined` removes it. O(length). */
  rewrite(map: (value: T) => T | undefined): void {
    for (let count = this.length; count > 0; count -= 1) {
      const mapped = map(this.shift() as T)
      if (mapped !== undefined) this.push(mapped)
    }
  }

  *[Symbol.iterator](): IterableIterator<T> {
    for (let at = this.#head; at < this.#tail; at += 1) yield this.#slots[at & (this.#slots.length - 1)] as T
  }

  #grow(): void {
    const values = [...this]
    this.#slots = values.concat(new Array<T>(values.length))
    this.#head = 0
    this.#tail = values.length
  }
}

/** Somebody who fills the budget: a stream's sending half. */
export interface Spender {
  /** Bytes of its own in the budget. */
  readonly unsealed: number
  /** There may be room now. */
  retry(): void
  /** Asks the driver how much of `unsealed` is still true. */
  refresh(): void
}

/**
 * The bytes all streams of an endpoint have written and the driver has not yet sealed.
 *
 * A stream may take half of what is free beyond its own share, so the budget is never exceeded and never quite used up:
 * streams to a peer that is stuck leave room for the others.
 */
export class SendBudget {
  readonly #limit: number
  readonly #spenders = new Set<Spender>()
  readonly #starved = new Set<Spender>()
  #used = 0
  /** Everybody was asked since the last bytes came back. */
  #refreshed = false

  constructor(limit: number) {
    this.#limit = limit
  }

  get used(): number {
    return this.#used
  }

  /** Bytes somebody with `own` bytes in the budget may add. */
  room(own: number): number {
    return Math.max(0, Math.floor((this.#limit - this.#used - own) / 2))
  }

  take(spender: Spender, bytes: number): void {
    if (spender.unsealed === 0) this.#spenders.add(spender)
    this.#used += bytes
  }

  /** `bytes` of the spender came back; its `unsealed` is already the smaller one. */
  release(spender: Spender, bytes: number): void {
    if (bytes === 0) return
    this.#used -= bytes
    this.#refreshed = false
    if (spender.unsealed === 0) this.#spenders.delete(spender)
    if (this.#starved.size === 0) return
    const starved = [...this.#starved]
    this.#starved.clear()
    for (const waiting of starved) waiting.retry()
  }

  /**
   * `spender` waits for bytes of others. What the others have sealed since they were last heard of may be room already,
   * so they are asked: O(streams), once per release.
   */
  starve(spender: Spender): void {
    this.#starved.add(spender)
    if (this.#refreshed) return
    this.#refreshed = true
    for (const other of this.#spenders) other.refresh()
  }

  forget(spender: Spender): void {
    this.#starved.delete(spender)
  }
}

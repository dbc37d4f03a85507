import { Completions, type RecordBudget } from './completions.js'

/** What has come of a stream since an endpoint records. */
interface Progress {
  came: number
  /** Transmissions that have a record; known once the stream is closed. */
  expected: number
  unrecorded: number
}

/**
 * The records of all streams of an endpoint, for `endpoint.completions()`. Costs nothing until the first call, and next to nothing
 * after the last iterator has ended.
 */
export class EndpointRecorder {
  readonly #budget: RecordBudget
  readonly #sinks = new Set<Completions>()
  readonly #streams = new Map<number, Progress>()
  #unrecorded = 0
  #over = false

  constructor(budget: RecordBudget) {
    this.#budget = budget
  }

  /** Somebody takes completions: a new stream is to be recorded from its first transmission on. */
  get active(): boolean {
    return this.#sinks.size > 0
  }

  /** `streams`: those there are, with how many of their records have come. */
  open(streams: Iterable<[id: number, came: number]>, signal?: AbortSignal): Completions {
    for (const [id, came] of streams) if (!this.#streams.has(id)) this.#streams.set(id, { came, expected: Infinity, unrecorded: 0 })
    let before = 0
    for (const { came, unrecorded } of this.#streams.values()) before += came + unrecorded
    // What other iterators were told of streams that are over does not concern this one.
    const completions = new Completions(this.#budget, before - this.#unrecorded, (left) => this.#sinks.delete(left), signal)
    if (this.#over) completions.end(this.#unrecorded)
    else this.#sinks.add(completions)
    return completions
  }

  opened(id: number): void {
    this.#streams.set(id, { came: 0, expected: Infinity, unrecorded: 0 })
  }

  completion(id: number, record: Float64Array): void {
    const stream = this.#streams.get(id)
    if (stream === undefined) return
    stream.came += 1
    if (this.#sinks.size > 0) {
      const copy = record.slice()
      for (const sink of this.#sinks) sink.push(copy, id)
    }
    this.#settle(id, stream)
  }

  skipped(id: number, count: number): void {
    const stream = this.#streams.get(id)
    if (stream === undefined) return
    stream.came += count
    for (const sink of this.#sinks) sink.skip(count)
    this.#settle(id, stream)
  }

  /** The stream is closed: only records follow. */
  closed(id: number, transmissions: number, unrecorded: number): void {
    const stream = this.#streams.get(id)
    if (stream === undefined) return
    stream.expected = transmissions - unrecorded
    stream.unrecorded = unrecorded
    this.#unrecorded += unrecorded
    this.#settle(id, stream)
  }

  /** The endpoint is gone: nothing will come. */
  end(): void {
    this.#over = true
    for (const sink of this.#sinks) sink.end(this.#unrecorded)
    this.#streams.clear()
  }

  #settle(id: number, stream: Progress): void {
    if (stream.came >= stream.expected) this.#streams.delete(id)
  }
}

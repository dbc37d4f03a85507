import { OptionError } from './errors.js'

/** Names that a call takes: its own, and those that it has no use for but lets pass. */
export interface OptionNames {
  readonly own: ReadonlySet<string>
  readonly passed: ReadonlySet<string>
}

/** All names of the options `T`: the compiler misses none. */
export function optionNames<T extends object>(own: Record<keyof T, true>, passed: readonly string[] = []): OptionNames {
  return { own: new Set(Object.keys(own)), passed: new Set(passed) }
}

/**
 * Refuses names that a call does not know: what is misspelt would be ignored, and looked for for an hour. The value is not
 * shown, as it may be a secret under a wrong name.
 *
 * @throws {OptionError} `ERR_PACELINE_OPTION`
 */
export function refuseUnknown(name: string, options: object, { own, passed }: OptionNames): void {
  for (const given in options) {
    if (own.has(given) || passed.has(given)) continue
    const near = suggest(given, [...own])
    const expected = near === undefined ? `one of ${[...own].join(', ')}` : 'a known option'
    throw new OptionError('ERR_PACELINE_OPTION', `${name}.${given}: expected ${expected}, got ${given}${near === undefined ? '' : `; did you mean ${near}?`}`)
  }
}

/** The known word that a typing error most likely meant. */
export function suggest(word: string, known: readonly string[]): string | undefined {
  let best: string | undefined
  // Two letters swapped count as two changes.
  let bestDistance = word.length <= 3 ? 2 : 3
  for (const candidate of known) {
    const distance = word.length > 1 && candidate.startsWith(word) ? 1 : editDistance(word, candidate)
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance]
  }
  return best
}

/** Levenshtein's distance, one row at a time. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const changed = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(changed, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}

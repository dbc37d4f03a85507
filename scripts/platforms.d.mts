/** Types for the tests; see platforms.mjs. */
export interface Cfg {
  readonly file: string
  readonly line: number
  readonly predicate: string
  readonly macro: boolean
  readonly guarded: string
}
export type Predicate = { readonly flag: string } | { readonly name: string; readonly parts: readonly Predicate[] }
export function parsePredicate(text: string): Predicate
export function holds(tree: Predicate, flags: readonly string[]): boolean | undefined
export function cfgsOf(file: string, source: string): Cfg[]
export function allCfgs(): Cfg[]
export function compiledIn(cfg: Cfg): string[]

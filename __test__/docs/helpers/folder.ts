import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { ROOT } from '../../e2e/helpers/cli.ts'

/** A folder for scripts that import the package. Below node_modules they find it, and what a killed run leaves there is in nobody's way. */
export function scriptFolder(): string {
  const cache = join(ROOT, 'node_modules', '.cache')
  mkdirSync(cache, { recursive: true })
  const folder = mkdtempSync(join(cache, 'paceline-docs-'))
  test.after.always(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

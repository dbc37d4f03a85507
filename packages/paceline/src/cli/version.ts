import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import addonFile from '../addon.cjs'

/** Of the package, from its `package.json`. */
export function packageVersion(): string {
  const manifest: unknown = JSON.parse(readFileSync(join(addonFile.packageFolder, 'package.json'), 'utf8'))
  const version = typeof manifest === 'object' && manifest !== null && 'version' in manifest ? manifest.version : undefined
  return typeof version === 'string' ? version : 'unknown'
}

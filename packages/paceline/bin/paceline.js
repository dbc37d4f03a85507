#!/usr/bin/env node
// Stands in the repository, where npm looks for it before anything is built.
import { existsSync } from 'node:fs'

const main = new URL('../dist/cli/main.js', import.meta.url)
if (existsSync(main)) await import(main.href)
else {
  process.stderr.write('paceline: expected a built package, found no dist folder; "npm run build" in the repository makes it\n')
  process.exitCode = 1
}

#!/usr/bin/env node
// Stands in the repository, where npm looks for it before anything is built.
'use strict'
const { existsSync } = require('node:fs')
const { join } = require('node:path')

const main = join(__dirname, '..', 'dist', 'cli', 'main.js')
if (existsSync(main)) require(main)
else {
  process.stderr.write('paceline: expected a built package, found no dist folder; "npm run build" in the repository makes it\n')
  process.exitCode = 1
}

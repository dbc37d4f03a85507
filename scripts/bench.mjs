// usage: npm run bench -- SUITE [--json] [options of the suite]; without a suite it lists them.
import { bin, isStopping, root, start } from './run.mjs'
import { tool } from './tools.mjs'

// Others that are measured, too, are in tools/ and not everybody's to install.
const args = process.argv.slice(2).filter((arg) => arg !== '--udx')
if (args.length < process.argv.length - 2) await tool('udx-native', 'package.json')

const child = start(process.execPath, ['--import', bin('@oxc-node/core', 'register.mjs'), 'benchmark/main.ts', ...args], {
  stdio: 'inherit',
  env: { ...process.env, OXC_TSCONFIG_PATH: `${root}/tsconfig.json` },
})
child.once('close', (code) => {
  if (!isStopping()) process.exitCode = code ?? 1
})

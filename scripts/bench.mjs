// usage: npm run bench -- SUITE [--json] [options of the suite]; without a suite it lists them.
import { bin, isStopping, root, start } from './run.mjs'

const child = start(process.execPath, ['--import', bin('@oxc-node/core', 'register.mjs'), 'benchmark/main.ts', ...process.argv.slice(2)], {
  stdio: 'inherit',
  env: { ...process.env, OXC_TSCONFIG_PATH: `${root}/tsconfig.json` },
})
child.once('close', (code) => {
  if (!isStopping()) process.exitCode = code ?? 1
})

// The long checks with their full counts, one line each. R14 has no longer one than `npx ava __test__/leak/forgotten.ts`.
// usage: npm run test:endurance [-- NAME…]
import { join } from 'node:path'
import { isStopping, root, run } from './run.mjs'

const checks = {
  R12: ['churn', 'streams=10000'],
  R13: ['r13', 'workers=500', 'exits=100', 'throws=100'],
  R15: ['r15', 'kills=20', 'restarts=1000'],
  R28: ['r28', 'lists=10000'],
  churn: ['churn', 'streams=100000'],
  idle: ['idle', 'milliseconds=10000'],
  networks: ['networks', 'networks=1000'],
}

const named = process.argv.slice(2)
const unknown = named.filter((name) => !(name in checks))
if (unknown.length > 0) {
  process.stderr.write(`endurance: expected some of ${Object.keys(checks).join(', ')}, got ${unknown.join(' ')}\n`)
  process.exit(2)
}
let failed = 0
for (const [name, [script, ...counts]] of Object.entries(checks)) {
  if (isStopping() || (named.length > 0 && !named.includes(name))) continue
  const { code, output } = await run(process.execPath, [join(root, '__test__', 'support', 'endurance', `${script}.mjs`), ...counts])
  if (code !== 0) failed += 1
  process.stdout.write(`${code === 0 ? 'ok  ' : 'FAIL'} ${name.padEnd(6)} ${output.trim()}\n`)
}
process.exitCode = failed > 0 ? 1 : 0

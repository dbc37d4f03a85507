// The reference of the API, by typedoc, into target/docs/api. Warnings fail: a link that leads nowhere, a type that is not exported.
// usage: npm run docs:api
import { join } from 'node:path'
import { root, run } from './run.mjs'
import { tool } from './tools.mjs'

const OUT = join(root, 'target', 'docs', 'api')
const PACKAGE = join(root, 'packages', 'paceline')
// prettier-ignore
const { code, output } = await run(process.execPath, [await tool('typedoc', 'bin/typedoc'),
  '--options', join(root, 'tools', 'typedoc.json'), '--tsconfig', join(PACKAGE, 'tsconfig.json'), '--out', OUT, join(PACKAGE, 'src', 'index.ts'), join(PACKAGE, 'src', 'testing.ts')], { cwd: PACKAGE })
process.stderr.write(output)
if (code === 0) process.stdout.write(`docs: wrote ${join('target', 'docs', 'api', 'index.html')}\n`)
process.exitCode = code

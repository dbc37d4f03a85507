import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { ROOT, run } from '../e2e/helpers/cli.ts'
import { scriptFolder } from './helpers/folder.ts'

const folder = scriptFolder()

test.serial('the lines of the README work when they are pasted', async (t) => {
  const code = /```js[^\n]*\n(.*?)```/s.exec(readFileSync(join(ROOT, 'README.md'), 'utf8'))?.[1] ?? ''
  t.true(code.includes("from 'paceline'"))
  const path = join(folder, 'readme.mjs')
  writeFileSync(path, code)
  const ended = await run(t, process.execPath, [path]).ended
  t.is(ended.code, 0, ended.stderr)
  t.regex(ended.stdout, /acknowledged: 104857600,\s+undelivered: 0,\s+received: 104857600/)
})

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { ROOT, run } from '../e2e/helpers/cli.ts'
import { scriptFolder } from './helpers/folder.ts'

const folder = scriptFolder()

const SAYS = [
  /^1000000 bytes after \d+(\.\d+)? ms\n\d+ datagrams were lost\n$/,
  /^still 100\nat 500\n$/,
  /^ERR_PACELINE_(IDLE_TIMEOUT|HANDSHAKE_TIMEOUT) after \d+(\.\d+)? ms; [1-9]\d* datagrams were cut off\n$/,
]

test.serial('every program in docs/testing.md works when it is pasted', async (t) => {
  const programs = [...readFileSync(join(ROOT, 'docs', 'testing.md'), 'utf8').matchAll(/```js\n(.*?)```/gs)].map(([, code]) => code ?? '')
  t.is(programs.length, SAYS.length)
  for (const [at, code] of programs.entries()) {
    const path = join(folder, `${at}.mjs`)
    writeFileSync(path, code)
    const ended = await run(t, process.execPath, [path]).ended
    t.is(ended.code, 0, ended.stderr)
    t.regex(ended.stdout, SAYS[at] ?? /^$/)
  }
})

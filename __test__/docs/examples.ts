import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { run } from '../e2e/helpers/cli.ts'

const FOLDER = 'examples'
const programs = readdirSync(FOLDER).filter((file) => file.endsWith('.mjs'))

for (const program of programs) {
  test.serial(`examples/${program} runs, and its own check of its result holds`, async (t) => {
    const ended = await run(t, process.execPath, [join(FOLDER, program)]).ended
    t.is(ended.code, 0, ended.stderr)
    t.is(ended.stderr, '')
    t.regex(ended.stdout, /^ok: /)
  })
}

test('every example is in the list of examples, and only they', (t) => {
  const listed = [...readFileSync(join(FOLDER, 'README.md'), 'utf8').matchAll(/\]\(([\w-]+\.mjs)\)/g)].map(([, name]) => name)
  t.deepEqual(listed.sort(), [...programs].sort())
  t.is(programs.length, 6)
})

// What a run of tests says of those that fail, in `npm test` and in `npm run test:matrix`.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { TapReader, saidAgain } from '../../scripts/tap.mjs'
import { ROOT, run } from '../e2e/helpers/cli.ts'

const TAP = ['TAP version 13', 'ok 1 - fine', '    ℹ a note', 'not ok 2 - broken', '  ---', '    name: AssertionError', '    message: why', '  ...', 'ok 3 - left out # SKIP', '---', '1..3', '# tests 3', '']

test('a line a test, and all there is about a failed one, in whatever pieces it comes', (t) => {
  for (const size of [1, 7, 10_000]) {
    let printed = ''
    const tap = new TapReader({ print: (text) => (printed += text) })
    for (let at = 0, text = TAP.join('\n'); at < text.length; at += size) tap.write(text.slice(at, at + size))
    t.is(printed.slice(0, printed.indexOf('- left')), '✔ fine\n    ℹ a note\n✘ broken\n      ---\n        name: AssertionError\n        message: why\n      ...\n')
    t.deepEqual(tap.failures.map((line) => line.trim()), ['✘ broken', '---', 'name: AssertionError', 'message: why', '...'])
    t.is(saidAgain(tap.failures, '', 2), '          message: why\n        ...\n')
  }
  t.is(saidAgain([], `${'line\n'.repeat(100)}last\n`).split('\n').length, 81, 'where no test failed, the last lines')
})

test('the matrix says why a test failed', async (t) => {
  // Below the folder that ava takes tests from; the name keeps it out of a suite that runs meanwhile.
  const folder = mkdtempSync(join(ROOT, '__test__', 'package', '_failing-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const file = join(folder, 'failing.ts')
  writeFileSync(file, "import test from 'ava'\ntest('it is not so', (t) => t.is(1 + 1, 3, 'arithmetic'))\n")
  const major = process.versions.node.split('.')[0] ?? ''
  const { code, stdout } = await run(t, process.execPath, ['scripts/matrix.mjs', major, file]).ended
  t.is(code, 1, stdout)
  t.regex(stdout, /^FAIL v\S+ +0 passed, 1 failed, 0 skipped/)
  t.regex(stdout, /✘ it is not so\n[^]*arithmetic/)
})

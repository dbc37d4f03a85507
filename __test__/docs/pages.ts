import { readFileSync } from 'node:fs'
import test from 'ava'
import { run } from '../e2e/helpers/cli.ts'
import { allCfgs, cfgsOf, compiledIn, holds, parsePredicate } from '../../scripts/platforms.mjs'

test('pages that are made from the code are what the code says', async (t) => {
  const ended = await run(t, process.execPath, ['scripts/docs.mjs', '--check']).ended
  t.is(ended.code, 0, ended.stderr)
})

test('the scan finds every kind of cfg, and knows what has been compiled', (t) => {
  const source = [
    '#[cfg(all(unix, not(target_os = "linux")))] // #[cfg(windows)] in a comment is none',
    'fn elsewhere() {}',
    '#[cfg(feature = "planted")]',
    'fn planted() {}',
    'let x = if cfg!(windows) { 1 } else { 2 };',
    '#[cfg_attr(target_vendor = "apple", allow(dead_code))]',
    'fn attribute() {}',
    '#[cfg(any(target_os = "linux", feature = "portable"))]',
    'fn here() {}',
    '#[cfg(target_os = "freebsd")]',
    'fn nowhere() {}',
  ].join('\n')
  const found = cfgsOf('crates/udp/src/x.rs', source)
  t.deepEqual(
    found.map(({ line, predicate, guarded }) => [line, predicate, guarded]),
    [
      [1, 'all(unix, not(target_os = "linux"))', 'fn elsewhere() {}'],
      [5, 'windows', 'let x = if cfg!(windows) { 1 } else { 2 };'],
      [6, 'target_vendor = "apple"', 'fn attribute() {}'],
      [8, 'any(target_os = "linux", feature = "portable")', 'fn here() {}'],
      [10, 'target_os = "freebsd"', 'fn nowhere() {}'],
    ],
  )
  t.deepEqual(
    found.map((cfg) => compiledIn(cfg).length > 0),
    [true, true, true, true, false],
  )
})

test('predicates: what is up to the build is neither true nor false', (t) => {
  const value = (text: string) => holds(parsePredicate(text), ['unix', 'target_os = "linux"'])
  t.true(value('any(windows, unix)'))
  t.false(value('all(unix, not(target_os = "linux"), feature = "x")'))
  t.is(value('all(unix, feature = "x")'), undefined)
  t.is(value('not(feature = "x")'), undefined)
  t.throws(() => parsePredicate('all(unix'), { message: /expected/ })
})

test('the scan sees as many cfg attributes of the platform as a plain search', (t) => {
  const files = [...new Set(allCfgs().map(({ file }) => file))]
  t.true(files.includes('crates/udp/src/wait.rs'))
  for (const file of files) {
    const plain = readFileSync(file, 'utf8').match(/^(?!\s*\/\/).*cfg(_attr)?!?\([^\n]*\b(target_os|target_vendor|target_arch|target_env|windows|unix)\b/gm) ?? []
    t.true(allCfgs().filter((cfg) => cfg.file === file).length >= plain.length, file)
  }
})

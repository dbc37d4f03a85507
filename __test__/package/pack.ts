import test from 'ava'
import { lastJson, run } from '../e2e/helpers/cli.ts'

interface Report {
  readonly ok: boolean
  readonly figures: { readonly addonPackageBytes: number; readonly importMs: { readonly best: number; readonly start: number }; readonly requireMs: { readonly best: number } }
  readonly rows: readonly { readonly name: string; readonly ok: boolean; readonly says?: string }[]
}

test.serial('packed, installed from tarballs without Rust, it works by import, by require and in TypeScript; a missed figure is red', async (t) => {
  // Figures that cannot be met, so that one run shows both: what must hold holds, and what is missed fails.
  const limits = ['--max-import-ms', '0.01', '--max-package-bytes', '1000']
  const ended = await run(t, process.execPath, ['scripts/pack-check.mjs', '--json', '--no-tools', ...limits]).ended
  const { ok, rows, figures } = lastJson<Report>(ended)
  t.is(ended.code, 1)
  t.false(ok)
  const red = rows.filter((row) => !row.ok)
  t.deepEqual(
    red.map(({ name }) => name),
    ['import takes less than 0.01 ms', 'require takes less than 0.01 ms', 'an installed platform package has less than 0.00 MB'],
    JSON.stringify(red),
  )
  t.is(rows.length - red.length, 9)
  t.true(figures.addonPackageBytes < 5e6, `${figures.addonPackageBytes} bytes`)
  t.log(`addon ${figures.addonPackageBytes} bytes, import ${figures.importMs.best.toFixed(1)} ms, require ${figures.requireMs.best.toFixed(1)} ms (best of 15; node starts in ${figures.importMs.start.toFixed(1)} ms)`)
})

test('a wrong option of pack:check is refused', async (t) => {
  const ended = await run(t, process.execPath, ['scripts/pack-check.mjs', '--max-import-ms', 'soon']).ended
  t.is(ended.code, 2)
  t.regex(ended.stderr, /expected --max-import-ms to be a positive number, got soon/)
})

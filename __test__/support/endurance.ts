import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { lastJson, ROOT, run } from '../e2e/helpers/cli.ts'

/** What every check of `__test__/support/endurance` reports. */
interface Report {
  ok: boolean
  faults: string[]
}

/**
 * Runs one of the long checks with small counts; `npm run test:endurance` runs them with the full ones. Fails with what
 * the check found.
 */
export async function endurance<Figures extends object>(t: ExecutionContext, name: string, counts: Record<string, number>): Promise<Figures> {
  const args = Object.entries(counts).map(([key, value]) => `${key}=${value}`)
  const ended = await run(t, process.execPath, [join(ROOT, '__test__', 'support', 'endurance', `${name}.mjs`), ...args]).ended
  if (ended.stdout.trim() === '') throw new Error(`${name} ended with ${ended.code ?? ended.signal}: ${ended.stderr}`)
  const report = lastJson<Report & Figures>(ended)
  t.deepEqual(report.faults, [])
  t.true(report.ok)
  t.is(ended.code, 0, ended.stderr)
  return report
}

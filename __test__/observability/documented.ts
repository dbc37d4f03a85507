import { readFileSync } from 'node:fs'
import test from 'ava'
import { channels } from '../../packages/paceline/src/diagnostics.js'
import { noPathStats, noStats } from '../../packages/paceline/src/stats.js'
import { joinStreams } from '../support/endpoints.js'

const page = readFileSync('docs/observability.md', 'utf8')
const names = new Set([...page.matchAll(/`([^`\s]+)`/g)].map(([, name = '']) => name))

test('every number of stats() and every channel stands on the page', async (t) => {
  const { local } = await joinStreams(t)
  const { at, elapsed, ...counts } = local.stats()
  t.true(at > 0 && elapsed >= 0)
  const all = { ...noStats(), ...noPathStats(), ...counts, ...noStats().dropped }
  t.deepEqual([...Object.keys(all), ...Object.values(channels).map((each) => (each as unknown as { name: string }).name)].filter((name) => !names.has(name)), [])
})

test('nothing stands there that is not there', (t) => {
  const documented = [...names].filter((name) => /^paceline:(endpoint|peer|stream|offload)\./.test(name))
  t.deepEqual(documented.sort(), Object.values(channels).map((each) => (each as unknown as { name: string }).name).sort())
})

import test from 'ava'
import { endurance } from '../support/endurance.ts'

test.serial('R12: nothing remains of streams that are over', async (t) => {
  const { streams, poolBytes } = await endurance<{ streams: number; poolBytes: number }>(t, 'churn', { streams: 10_000, windows: 5 })
  t.is(streams, 10_000)
  t.true(poolBytes > 0)
})

test.serial('a fast stream beside 1,000 idle ones, which cost nothing', async (t) => {
  const { idleCpuPercent, streams } = await endurance<{ idleCpuPercent: number; streams: number }>(t, 'idle', { megabytes: 32, milliseconds: 1_500 })
  t.is(streams, 1_000)
  t.true(idleCpuPercent > 0 && idleCpuPercent < 1)
})

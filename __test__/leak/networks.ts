import test from 'ava'
import { endurance } from '../support/endurance.ts'

test.serial('1,000 test networks leave nothing behind', async (t) => {
  const { networks, growth } = await endurance<{ networks: number; growth: number }>(t, 'networks', { networks: 1_000 })
  t.is(networks, 1_000)
  t.log(`resident memory grew by ${(growth / (1 << 20)).toFixed(1)} MiB after the first 500`)
})

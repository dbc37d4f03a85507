import test from 'ava'
import { endurance } from '../support/endurance.ts'

test.serial('R13: workers, exits and exceptions in mid-transfer: no crash, no hang, nothing left', async (t) => {
  const { workers, exits, throws } = await endurance<Record<'workers' | 'exits' | 'throws', number>>(t, 'r13', { workers: 12, exits: 4, throws: 4, hang: 10_000 })
  t.deepEqual([workers, exits, throws], [12, 4, 4])
})

test.serial('R15: a peer that was killed is a typed error: by the idle timeout, or, when it comes back, by its word', async (t) => {
  const { restarts, roundTrips, idleTimeouts } = await endurance<{
    restarts: number
    roundTrips: { median: number; most: number }
    idleTimeouts: { least: number; most: number }
  }>(t, 'r15', { kills: 4, restarts: 8 })
  t.is(restarts, 8)
  t.true(roundTrips.median >= 1 && roundTrips.most <= 3)
  t.true(idleTimeouts.least >= 0.9 && idleTimeouts.most <= 1.1)
})

import test from 'ava'
import { endurance } from '../support/endurance.ts'

test.serial('R28: the same operations over TCP and over a stream give the same bytes, order and end', async (t) => {
  const { lists, bytes } = await endurance<{ lists: number; bytes: number }>(t, 'r28', { lists: 300 })
  t.is(lists, 300)
  t.true(bytes > 1_000_000)
})

// close() of peers and endpoints: every call's own signal and deadline hold.
import { once } from 'node:events'
import test from 'ava'
import { AbortError } from '../../packages/paceline/src/index.js'
import { join, joinStreams, state } from '../support/endpoints.js'

const KiB = 1024
const SMALL = [{ window: 64 * KiB }, { sendBufferBytes: 64 * KiB }] as const
const MANY = 1 << 20
const reason = Object.assign(new Error('enough'), { errorCode: 999 })
const abortion = { instanceOf: AbortError, name: 'AbortError', code: 'ABORT_ERR' } as const

test('peer.close: aborted, its streams are reset with the code of the reason, and it is forgotten', async (t) => {
  const { local, remote, peer, sender } = await joinStreams(t, ...SMALL)
  const failed = once(remote, 'error') as Promise<[Error]>
  local.write(Buffer.alloc(MANY))
  const controller = new AbortController()
  const closing = peer.close({ signal: controller.signal })
  t.is(await state(closing), 'pending')
  controller.abort(reason)
  await t.throwsAsync(closing, abortion)
  t.like((await failed)[0], { errorCode: 999 })
  t.is(await state(peer.closed), 'settled')
  t.deepEqual(sender.peers, [])
  t.throws(() => peer.openStream(), { code: 'ERR_PACELINE_PEER_CLOSED' })
})

test('endpoint.close: aborted, everything is reset and nothing is left', async (t) => {
  const { local, remote, sender } = await joinStreams(t, ...SMALL)
  const failed = once(remote, 'error') as Promise<[Error]>
  local.write(Buffer.alloc(MANY))
  const controller = new AbortController()
  const closing = sender.close({ signal: controller.signal })
  t.is(await state(closing), 'pending')
  controller.abort(reason)
  await t.throwsAsync(closing, abortion)
  t.like((await failed)[0], { errorCode: 999 })
  await sender.closed
  const { acknowledged, undelivered } = await sender.close()
  t.is(acknowledged + undelivered, MANY + 1)
  t.true(undelivered > 0)
})

test('a signal that was aborted before is honoured where there is no stream to wait for, too', async (t) => {
  const { sender, receiver, peer } = await join(t)
  const signal = AbortSignal.abort(reason)
  await t.throwsAsync(peer.close({ signal }), abortion)
  t.is(await state(peer.closed), 'settled')
  for (const endpoint of [sender, receiver]) {
    await t.throwsAsync(endpoint.close({ signal }), abortion)
    await endpoint.closed
  }
})

test('a second close of an endpoint: its deadline cuts the first one short, and both tell the same', async (t) => {
  const { local, sender } = await joinStreams(t, ...SMALL)
  local.write(Buffer.alloc(MANY))
  const first = sender.close({ deadline: 60_000 })
  t.is(await state(first), 'pending')
  // Without a deadline of its own, as from `await using`, it only waits.
  const third = sender.close()
  t.is(await state(third), 'pending')
  const began = performance.now()
  const second = await sender.close({ deadline: 10 })
  t.true(performance.now() - began < 30_000, 'half of what the first one would wait')
  t.deepEqual(second, await first)
  t.deepEqual(second, await third)
  t.is(second.acknowledged + second.undelivered, MANY + 1)
  t.true(second.undelivered > 0)
  t.deepEqual(await sender.close(), second)
})

test('a second close of an endpoint: its signal resets what is left, and the first one tells how much that was', async (t) => {
  const { local, remote, sender } = await joinStreams(t, ...SMALL)
  const failed = once(remote, 'error') as Promise<[Error]>
  local.write(Buffer.alloc(MANY))
  const first = sender.close({ deadline: 60_000 })
  const controller = new AbortController()
  const second = sender.close({ signal: controller.signal })
  t.is(await state(second), 'pending')
  controller.abort(reason)
  await t.throwsAsync(second, abortion)
  t.like((await failed)[0], { errorCode: 999 })
  const { acknowledged, undelivered } = await first
  t.is(acknowledged + undelivered, MANY + 1)
  await sender.closed
})

test('a close after destroy() tells what got there, as far as known, and what did not', async (t) => {
  const { local, sender } = await joinStreams(t)
  await local.flush()
  local.write('lost')
  sender.destroy()
  t.deepEqual(await sender.close(), { acknowledged: 1, undelivered: 4 })
})

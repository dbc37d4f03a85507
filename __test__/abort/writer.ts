// stream.writer: a signal ends the wait, whatever is waited for, and its reason is the code of a reset.
import { once } from 'node:events'
import test from 'ava'
import { AbortError } from '../../packages/paceline/src/index.js'
import { joinStreams, readAll, state, turns } from '../support/endpoints.js'

const KiB = 1024
const SMALL = [{ window: 64 * KiB }, { sendBufferBytes: 64 * KiB }] as const
const reason = Object.assign(new Error('enough'), { errorCode: 999 })
const abortion = { instanceOf: AbortError, name: 'AbortError', code: 'ABORT_ERR' } as const

test('writev: taken back whole, and the stream goes on', async (t) => {
  const { local, remote } = await joinStreams(t, ...SMALL)
  await local.writer.write(Buffer.alloc(128 * KiB - 1, 'f'))
  const controller = new AbortController()
  const waiting = local.writer.writev([Buffer.alloc(5_000, 'x'), Buffer.alloc(5_000, 'y')], { signal: controller.signal })
  t.is(await state(waiting), 'pending')
  t.is(local.writer.desiredSize, 0)
  controller.abort(reason)
  await t.throwsAsync(waiting, abortion)
  t.false(local.destroyed)
  const [got] = await Promise.all([readAll(remote), local.writer.writev(['the ', 'rest']).then(() => local.writer.end())])
  t.is(got.length, 128 * KiB - 1 + 8)
  t.false(got.includes('x') || got.includes('y'))
})

test('writev: of which a part has gone, the stream is reset with the code of the reason', async (t) => {
  const { local, remote } = await joinStreams(t, ...SMALL)
  const failed = once(remote, 'error') as Promise<[Error]>
  const controller = new AbortController()
  const waiting = local.writer.writev([Buffer.alloc(100 * KiB), Buffer.alloc(100 * KiB)], { signal: controller.signal })
  t.is(await state(waiting), 'pending')
  controller.abort(reason)
  await t.throwsAsync(waiting, { ...abortion })
  t.like((await failed)[0], { errorCode: 999 })
})

test('write behind stock writes: what they hold cannot be taken back, so it is a reset', async (t) => {
  const { local, remote } = await joinStreams(t, ...SMALL)
  const failed = once(remote, 'error') as Promise<[Error]>
  local.write(Buffer.alloc(300 * KiB))
  const controller = new AbortController()
  const waiting = local.writer.write('behind', { signal: controller.signal })
  t.is(await state(waiting), 'pending')
  controller.abort(reason)
  await t.throwsAsync(waiting, abortion)
  t.like((await failed)[0], { errorCode: 999 })
})

test('AbortSignal.timeout() and AbortSignal.any() end a wait; a reason without a code is 256', async (t) => {
  const { local, remote } = await joinStreams(t, ...SMALL)
  const failed = once(remote, 'error') as Promise<[Error]>
  // Node holds a signal's sources weakly: one that is nowhere else may be collected before its time comes.
  const sources = [new AbortController().signal, AbortSignal.timeout(20)]
  const signal = AbortSignal.any(sources)
  const error = await t.throwsAsync(local.writer.write(Buffer.alloc(1 << 20), { signal }), abortion)
  t.is((error?.cause as Error).name, 'TimeoutError')
  t.deepEqual(sources.map(({ aborted }) => aborted), [false, true])
  t.like((await failed)[0], { errorCode: 256 })
})

test('an abort after the wait does nothing', async (t) => {
  const { local, remote } = await joinStreams(t)
  const controller = new AbortController()
  const { signal } = controller
  await local.writer.write('a', { signal })
  await local.writer.writev(['b', 'c'], { signal })
  t.is(await local.writer.end({ signal }), 4)
  controller.abort(reason)
  await turns(5)
  t.is((await readAll(remote)).toString(), 'abc')
  t.is(local.errored, null)
})

test('desiredSize: room, none behind a wait, 0 after the end, null after a failure', async (t) => {
  const { local, remote } = await joinStreams(t, ...SMALL)
  await turns(5)
  await local.flush()
  t.is(local.writer.desiredSize, 64 * KiB)
  const waiting = local.writer.write(Buffer.alloc(300 * KiB))
  t.is(local.writer.desiredSize, 0)
  remote.resume()
  await waiting
  t.true((local.writer.desiredSize ?? 0) > 0)
  await local.writer.end()
  t.is(local.writer.desiredSize, 0)
  const other = await joinStreams(t)
  other.local.writer.fail(reason)
  t.is(other.local.writer.desiredSize, null)
})

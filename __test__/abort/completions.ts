// A loop over completions ends with its signal, for a stream and for an endpoint.
import test from 'ava'
import { AbortError, type Completions, type Endpoint, type Stream, type WaitOptions } from '../../packages/paceline/src/index.js'
import { joinStreams, listenerCount, state, turns } from '../support/endpoints.js'

const reason = new Error('enough')
const abortion = { instanceOf: AbortError, name: 'AbortError', code: 'ABORT_ERR' } as const
type Source = (options: WaitOptions, of: { local: Stream; sender: Endpoint }) => Completions
const sources: [string, Source][] = [
  ['stream', (options, { local }) => local.completions(options)],
  ['endpoint', (options, { sender }) => sender.completions(options)],
]

for (const [name, open] of sources) {
  test(`${name}: aborted while it waits, the loop ends, and so does the recording for it`, async (t) => {
    const joined = await joinStreams(t)
    const { local, remote } = joined
    remote.resume()
    const controller = new AbortController()
    const listeners = listenerCount(controller.signal)
    const completions = open({ signal: controller.signal }, joined)
    await local.writer.write(Buffer.alloc(10_000))
    await local.flush()
    const first = await completions.next()
    t.is(first.value?.outcome, 'sent')
    const loop = (async () => {
      for await (const completion of completions) t.truthy(completion)
    })()
    t.is(await state(loop), 'pending')
    t.is(listeners(), 1)
    controller.abort(reason)
    const error = await t.throwsAsync(loop, abortion)
    t.is(error?.cause, reason)
    t.deepEqual(await completions.next(), { done: true, value: undefined })
    const { skipped } = completions
    await local.writer.write(Buffer.alloc(10_000))
    await local.flush()
    t.is(completions.skipped, skipped)
    t.is(listeners(), 0)
    t.false(local.destroyed)
  })

  test(`${name}: aborted while entries wait, they are skipped and counted; nobody else's are`, async (t) => {
    const joined = await joinStreams(t)
    const { local, remote } = joined
    remote.resume()
    const controller = new AbortController()
    const completions = open({ signal: controller.signal }, joined)
    const others = open({}, joined)
    await local.writer.write(Buffer.alloc(100_000))
    await local.flush()
    await turns(2)
    controller.abort(reason)
    await t.throwsAsync(completions.next(), abortion)
    t.true(completions.skipped > 0)
    t.is((await others.next()).value?.outcome, 'sent')
    t.is(others.skipped, 0)
  })

  test(`${name}: a signal that was aborted before gives an error, not an end`, async (t) => {
    const completions = open({ signal: AbortSignal.abort(reason) }, await joinStreams(t))
    await t.throwsAsync(completions.next(), abortion)
    t.deepEqual(await completions.next(), { done: true, value: undefined })
  })
}

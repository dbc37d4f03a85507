// Both sides at once: pipeline, finished, compose, half-open streams, abort, as Node documents them.
import { once } from 'node:events'
import stream, { addAbortSignal, Duplex, finished as finishedWith, PassThrough, pipeline as pipelineWith, Readable, Transform, Writable } from 'node:stream'
import { finished, pipeline } from 'node:stream/promises'
import { createGunzip, createGzip } from 'node:zlib'
import test from 'ava'
import { closed, joinStreams, pattern, readAll, state, turns, until } from '../support/endpoints.js'

/** Not in @types/node of Node 20. */
const { compose } = stream as unknown as { compose: (...streams: Duplex[]) => Duplex }

const upper = (): Transform =>
  new Transform({
    transform(chunk: Buffer, _encoding, callback) {
      callback(null, chunk.toString().toUpperCase())
    },
  })

test('in the middle of a pipeline: what goes in comes back through the peer', async (t) => {
  const { local, remote } = await joinStreams(t, { window: 70_000 })
  const serving = pipeline(remote, upper(), remote)
  const got: Buffer[] = []
  await pipeline(Readable.from(['ab', 'cd']), local, async function* (source: AsyncIterable<Buffer>) {
    for await (const chunk of source) {
      got.push(chunk)
      yield chunk
    }
  }, new PassThrough().resume())
  await serving
  t.is(Buffer.concat(got).toString(), 'ABCD')
  await Promise.all([closed(local), closed(remote)])
  t.is(local.errored, null)
})

test('pipeline through gzip, both ways, large', async (t) => {
  const { local, remote } = await joinStreams(t)
  const bytes = pattern(2_000_000)
  const chunks: Buffer[] = []
  await Promise.all([
    pipeline(Readable.from([bytes]), createGzip(), local),
    pipeline(remote, createGunzip(), async (source: AsyncIterable<Buffer>) => {
      for await (const chunk of source) chunks.push(chunk)
    }),
  ])
  t.true(Buffer.concat(chunks).equals(bytes))
})

test('pipeline with an async function as its last part: the sending half is still there to reply', async (t) => {
  const { local, remote } = await joinStreams(t)
  local.end('question')
  const question = await pipeline(remote, async (source: AsyncIterable<Buffer>) => {
    let all = ''
    for await (const chunk of source) all += chunk.toString()
    return all
  })
  t.is(question, 'question')
  t.true(remote.writable)
  remote.end('answer')
  t.is((await readAll(local)).toString(), 'answer')
})

test('pipeline: a source that fails destroys the stream, with the errorCode of its error', async (t) => {
  const { local, remote } = await joinStreams(t)
  const failed = once(remote, 'error') as Promise<[Error]>
  const broken = Object.assign(new Error('the source broke'), { errorCode: 1234 })
  const source = Readable.from(
    (async function* () {
      yield 'part'
      await turns(3)
      throw broken
    })(),
  )
  await t.throwsAsync(pipeline(source, local), { is: broken })
  t.true(local.destroyed)
  t.like((await failed)[0], { code: 'ERR_PACELINE_STREAM_RESET', errorCode: 1234 })
})

test('pipeline: a stream that the peer resets fails it, and destroys the others', async (t) => {
  const { local, remote } = await joinStreams(t)
  const sink = new PassThrough()
  const running = pipeline(remote, sink)
  await local.writer.write('x')
  local.reset(2000)
  await t.throwsAsync(running, { code: 'ERR_PACELINE_STREAM_RESET', message: /2000/ })
  t.true(sink.destroyed)
})

test('pipeline: destroyed by somebody else is a premature close', async (t) => {
  const { remote } = await joinStreams(t)
  const running = pipeline(remote, new PassThrough().resume())
  await turns(2)
  remote.destroy()
  await t.throwsAsync(running, { code: 'ERR_STREAM_PREMATURE_CLOSE' })
})

test('pipeline with a signal: the abort ends the wait, and its reason is the reset code', async (t) => {
  const { local, remote } = await joinStreams(t)
  const failed = once(remote, 'error') as Promise<[Error]>
  const controller = new AbortController()
  const running = pipeline(new PassThrough(), local, { signal: controller.signal })
  t.is(await state(running), 'pending')
  controller.abort(Object.assign(new Error('enough'), { errorCode: 4321 }))
  await t.throwsAsync(running, { name: 'AbortError' })
  t.like((await failed)[0], { errorCode: 4321 })
})

test('addAbortSignal: as pipeline', async (t) => {
  const { local, remote } = await joinStreams(t)
  const failed = once(remote, 'error') as Promise<[Error]>
  const own = once(local, 'error') as Promise<[Error]>
  const controller = new AbortController()
  t.is(addAbortSignal(controller.signal, local), local)
  controller.abort({ errorCode: 999 })
  t.is((await own)[0].name, 'AbortError')
  t.like((await failed)[0], { errorCode: 999 })
})

test('pipeline with a callback, and { end: false }', async (t) => {
  const { local, remote } = await joinStreams(t)
  await new Promise<void>((resolve, reject) => {
    pipelineWith(Readable.from(['first ']), local, (error) => (error == null ? resolve() : reject(error)))
  })
  t.true(local.writableFinished)
  t.is((await readAll(remote)).toString(), 'first ')

  const second = await joinStreams(t)
  await pipeline(Readable.from(['first ']), second.local, { end: false })
  t.true(second.local.writable)
  second.local.end('second')
  t.is((await readAll(second.remote)).toString(), 'first second')
})

test('finished: each half by itself, and both', async (t) => {
  const { local, remote } = await joinStreams(t)
  const writing = finished(local, { readable: false })
  const reading = finished(remote, { writable: false })
  const everything = finished(local)
  local.end('x')
  remote.resume()
  await Promise.all([writing, reading])
  t.is(await state(everything), 'pending')
  remote.end()
  local.resume()
  await everything
})

test('finished: an error, a premature close, and a signal', async (t) => {
  const first = await joinStreams(t)
  const failing = finished(first.remote)
  first.local.reset(500)
  await t.throwsAsync(failing, { code: 'ERR_PACELINE_STREAM_RESET' })

  const second = await joinStreams(t)
  const closing = finished(second.local)
  second.local.destroy()
  await t.throwsAsync(closing, { code: 'ERR_STREAM_PREMATURE_CLOSE' })

  const third = await joinStreams(t)
  const controller = new AbortController()
  const waiting = finished(third.local, { signal: controller.signal })
  controller.abort()
  await t.throwsAsync(waiting, { name: 'AbortError' })
  t.false(third.local.destroyed)
})

test('finished with a callback gives a function that takes the listeners away', async (t) => {
  const { local } = await joinStreams(t)
  const before = local.eventNames().length
  const take = finishedWith(local, () => t.fail('it was taken back'))
  t.true(local.eventNames().length > before)
  take()
  t.is(local.eventNames().length, before)
  local.destroy()
  await closed(local)
})

test('compose: one Duplex of a transform and the stream', async (t) => {
  const { local, remote } = await joinStreams(t)
  const serving = pipeline(remote, remote)
  const composed = compose(upper(), local)
  composed.end('shout')
  const chunks: Buffer[] = []
  for await (const chunk of composed) chunks.push(chunk as Buffer)
  t.is(Buffer.concat(chunks).toString(), 'SHOUT')
  await serving
})

test('Readable.prototype.compose', async (t) => {
  const { local, remote } = await joinStreams(t)
  local.end('quiet')
  const loud = remote.compose(upper())
  const chunks: Buffer[] = []
  for await (const chunk of loud) chunks.push(chunk as Buffer)
  t.is(Buffer.concat(chunks).toString(), 'QUIET')
})

test('allowHalfOpen: the sending half stays open after the end of the other', async (t) => {
  const { local, remote } = await joinStreams(t)
  t.true(remote.allowHalfOpen)
  remote.resume()
  local.end()
  await once(remote, 'end')
  await turns(5)
  t.false(remote.writableEnded)
  remote.end('later')
  t.is((await readAll(local)).toString(), 'later')
})

test('allowHalfOpen: false ends the sending half with the other, in both lanes', async (t) => {
  for (const lane of ['stock', 'iterator'] as const) {
    const { local, remote } = await joinStreams(t, {}, { allowHalfOpen: false })
    t.false(remote.allowHalfOpen)
    const echo = readAll(local)
    local.end('x')
    if (lane === 'stock') remote.resume()
    else t.is((await readAll(remote)).toString(), 'x')
    await closed(remote)
    t.true(remote.writableFinished)
    t.is((await echo).length, 0)
    t.is(remote.errored, null)
    await closed(local)
  }
})

test('allowHalfOpen of one stream overrides the endpoint, and may be set later', async (t) => {
  const { local, remote, peer } = await joinStreams(t, {}, { allowHalfOpen: false })
  t.true(peer.openStream({ allowHalfOpen: true }).allowHalfOpen)
  remote.allowHalfOpen = true
  remote.resume()
  local.end()
  await once(remote, 'end')
  await turns(5)
  t.false(remote.writableEnded)
})

test('a Duplex made of its two halves', async (t) => {
  const { local, remote } = await joinStreams(t)
  void pipeline(remote, remote)
  const pair = Duplex.from({ readable: local, writable: local })
  pair.end('through')
  const chunks: Buffer[] = []
  for await (const chunk of pair) chunks.push(chunk as Buffer)
  t.is(Buffer.concat(chunks).toString(), 'through')
})

test('pipe both ways between two streams relays a connection', async (t) => {
  const near = await joinStreams(t)
  const far = await joinStreams(t)
  near.remote.pipe(far.local).pipe(near.remote)
  void pipeline(far.remote, upper(), far.remote)
  near.local.end('relay')
  t.is((await readAll(near.local)).toString(), 'RELAY')
  await Promise.all([near.local, near.remote, far.local, far.remote].map((stream) => closed(stream)))
})

test('a Writable that is slow makes the sender wait, through every buffer', async (t) => {
  const { local, remote } = await joinStreams(t, { window: 64 * 1024 }, { sendBufferBytes: 64 * 1024 })
  let taken = 0
  let release: (() => void) | undefined
  const slow = new Writable({
    highWaterMark: 1000,
    write(chunk: Buffer, _encoding, callback) {
      taken += chunk.length
      release = callback
    },
  })
  remote.pipe(slow)
  let sent = 0
  const total = 4 << 20
  const writing = (async () => {
    for (; sent < total; sent += 16_384) await local.writer.write(Buffer.alloc(16_384))
    await local.writer.end()
  })()
  await turns(80)
  t.true(sent < 64 * 1024 * 6, `${sent} bytes went ahead of ${taken}`)
  t.is(await state(writing), 'pending')
  remote.unpipe(slow)
  remote.resume()
  release?.()
  await writing
})

test("'close' is emitted once for each way to end", async (t) => {
  for (const end of ['end', 'destroy', 'reset', 'error'] as const) {
    const { local, remote } = await joinStreams(t)
    let closes = 0
    local.on('close', () => (closes += 1))
    local.on('error', () => undefined)
    remote.resume()
    local.resume()
    if (end === 'end') {
      local.end()
      remote.end()
    } else if (end === 'error') local.destroy(new Error('x'))
    else local[end]()
    await until(t, () => closes > 0, end)
    await turns(5)
    t.is(closes, 1, end)
  }
})

test('node:stream knows it as what it is', async (t) => {
  const { local } = await joinStreams(t)
  t.true(local instanceof Duplex)
  t.true(local instanceof Readable)
  t.true(local instanceof Writable)
  t.true(stream.isReadable(local))
  t.deepEqual(local.eventNames(), [])
})

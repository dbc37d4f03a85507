import { once } from 'node:events'
import { Duplex, PassThrough, Readable, Writable } from 'node:stream'
import { finished, pipeline } from 'node:stream/promises'
import { text } from 'node:stream/consumers'
import test from 'ava'
import { closed, HELLO, joinStreams, pattern, readAll, turns } from '../support/endpoints.js'

test('a request and its reply: for await does not end the sending half', async (t) => {
  const { local, remote } = await joinStreams(t)
  const request = pattern(300_000)
  const served = (async () => {
    const got = await readAll(remote)
    remote.end(Buffer.concat([got, Buffer.from('reply')]))
  })()
  await local.writer.write(request)
  await local.writer.end()
  const reply = await readAll(local)
  await served
  t.true(reply.equals(Buffer.concat([request, Buffer.from('reply')])))
  await Promise.all([closed(local), closed(remote)])
  t.true(local.readableEnded && local.writableFinished && local.errored === null)
  t.true(remote.readableEnded && remote.writableFinished && remote.errored === null)
})

test('leaving the loop leaves the stream as it is, and another loop goes on', async (t) => {
  const { local, remote } = await joinStreams(t)
  await local.writer.write('head')
  for await (const chunk of remote) {
    t.is(chunk.toString(), 'head')
    break
  }
  t.false(remote.destroyed)
  local.end('body')
  t.is((await readAll(remote)).toString(), 'body')
})

test('pipeline carries bytes both ways through the stock machinery', async (t) => {
  const { local, remote } = await joinStreams(t)
  const bytes = pattern(3_000_000)
  const sink = new PassThrough({ highWaterMark: 1 << 20 })
  const [result] = await Promise.all([
    (async () => {
      const chunks: Buffer[] = []
      for await (const chunk of sink) chunks.push(chunk as Buffer)
      return Buffer.concat(chunks)
    })(),
    pipeline(Readable.from([bytes.subarray(0, 1_000_000), bytes.subarray(1_000_000)]), local),
    pipeline(remote, sink),
  ])
  t.true(result.equals(bytes))
})

test('pipe and echo: the whole Duplex in a pipeline', async (t) => {
  const { local, remote } = await joinStreams(t, { window: 70_000 })
  remote.pipe(remote)
  const bytes = pattern(1_500_000)
  const [echo] = await Promise.all([readAll(local), local.writer.write(bytes).then(() => local.writer.end())])
  t.true(echo.equals(bytes))
  await Promise.all([closed(local), closed(remote)])
})

test("'data' listeners, pause and resume", async (t) => {
  const { local, remote } = await joinStreams(t)
  const bytes = pattern(500_000)
  const chunks: Buffer[] = []
  remote.on('data', (chunk: Buffer) => {
    chunks.push(chunk)
    remote.pause()
    setImmediate(() => remote.resume())
  })
  local.end(bytes)
  await once(remote, 'end')
  t.true(Buffer.concat(chunks).equals(bytes))
})

test("read() with 'readable', and setEncoding", async (t) => {
  const { local, remote } = await joinStreams(t)
  remote.setEncoding('utf8')
  local.write('gr')
  local.end('üße')
  let got = ''
  remote.on('readable', () => {
    for (let chunk: string | null = remote.read(); chunk !== null; chunk = remote.read()) got += chunk
  })
  await once(remote, 'end')
  t.is(got, 'grüße')
})

test('for await after the stock machinery has begun goes on where it stopped', async (t) => {
  const { local, remote } = await joinStreams(t)
  local.write('one')
  await once(remote, 'readable')
  remote.unshift(Buffer.from('zero '))
  local.end(' two')
  t.is((await readAll(remote)).toString(), 'zero one two')
})

test('a slice taken by the iterator and the rest by a consumer', async (t) => {
  const { local, remote } = await joinStreams(t)
  local.write('x')
  await remote.chunks().next()
  local.end('rest')
  t.is(await text(remote), 'rest')
})

test("finished() resolves when both halves are over, and 'close' waits for the acknowledgements", async (t) => {
  const { local, remote, network } = await joinStreams(t)
  const over = finished(local)
  remote.end()
  await readAll(local)
  network.blackHole = true
  local.end('last')
  await once(local, 'finish')
  await turns(10)
  t.true(network.swallowed > 0)
  t.true(local.destroyed)
  t.false(local.closed)
  local.reset()
  await over
  t.true(local.closed)
})

test("write() gives false when the buffer is full, and 'drain' comes", async (t) => {
  const { local, remote } = await joinStreams(t, { window: 64 * 1024 }, { sendBufferBytes: 64 * 1024 })
  let accepted = 0
  while (local.write(Buffer.alloc(16 * 1024))) accepted += 16 * 1024
  t.true(accepted >= 64 * 1024)
  t.true(accepted <= 64 * 1024 + 256 * 1024)
  const drained = once(local, 'drain')
  remote.resume()
  await drained
  t.true(local.writableLength < 256 * 1024)
})

test('writer and write() keep one order', async (t) => {
  const { local, remote } = await joinStreams(t, { window: 64 * 1024 }, { sendBufferBytes: 64 * 1024 })
  const pieces = ['a', 'b', 'c', 'd', 'e', 'f'].map((letter) => Buffer.alloc(50_000, letter))
  const waits: Promise<void>[] = []
  for (const [index, piece] of pieces.entries()) {
    if (index % 2 === 0) waits.push(local.writer.write(piece))
    else local.write(piece)
  }
  local.end()
  const [got] = await Promise.all([readAll(remote), ...waits])
  t.true(got.equals(Buffer.concat(pieces)))
})

test('writev is one piece; strings are UTF-8', async (t) => {
  const { local, remote } = await joinStreams(t)
  await local.writer.writev(['ä', Buffer.from('b'), new Uint8Array([99])])
  local.cork()
  local.write('d')
  local.write('e')
  local.uncork()
  t.is(await local.writer.end(), HELLO.length + 'äbcde'.length + 1)
  t.is((await readAll(remote)).toString(), 'äbcde')
})

test('a writer after end is refused, and says so', async (t) => {
  const { local } = await joinStreams(t)
  await local.writer.end()
  t.is(await local.writer.end(), 1)
  await t.throwsAsync(local.writer.write('x'), { code: 'ERR_PACELINE_WRITE_AFTER_END' })
  t.is(local.writer.desiredSize, 0)
  // @ts-expect-error what JavaScript may do
  await t.throwsAsync(local.writer.write(7), { code: 'ERR_PACELINE_OPTION', message: 'chunk: expected a Uint8Array or a string, got 7' })
})

test('toWeb() carries bytes both ways', async (t) => {
  const { local, remote } = await joinStreams(t)
  const web = local.toWeb()
  const echoed = pipeline(remote, remote)
  const writer = web.writable.getWriter()
  await writer.write(new Uint8Array([1, 2, 3]))
  await writer.close()
  const got: number[] = []
  for await (const chunk of web.readable) got.push(...chunk)
  t.deepEqual(got, [1, 2, 3])
  await echoed
})

test('destroy(error) resets with its errorCode; the other side sees the code', async (t) => {
  const { local, remote } = await joinStreams(t)
  const failed = once(remote, 'error') as Promise<[Error]>
  const own = once(local, 'error') as Promise<[Error]>
  const reason = Object.assign(new Error('no more'), { errorCode: 777 })
  local.destroy(reason)
  t.is((await own)[0], reason)
  const [error] = await failed
  t.like(error, { code: 'ERR_PACELINE_STREAM_RESET', errorCode: 777, name: 'StreamError' })
})

test('destroy() without an error resets with 256', async (t) => {
  const { local, remote } = await joinStreams(t)
  const failed = once(remote, 'error') as Promise<[Error]>
  local.destroy()
  t.like((await failed)[0], { errorCode: 256 })
})

test.serial('an error from outside that nobody listens for ends nothing but the stream', async (t) => {
  const { local, remote } = await joinStreams(t)
  const uncaught: Error[] = []
  const listener = (error: Error): void => void uncaught.push(error)
  process.on('uncaughtException', listener)
  t.teardown(() => process.off('uncaughtException', listener))
  local.reset(300)
  await closed(remote)
  await turns(5)
  t.deepEqual(uncaught, [])
  t.like(remote.errored, { errorCode: 300 })
  await t.throwsAsync(readAll(remote), { code: 'ERR_PACELINE_STREAM_RESET' })
  await t.throwsAsync(remote.writer.write('x'), { code: 'ERR_PACELINE_STREAM_RESET' })
})

test('a failed sink destroys the stream through pipeline', async (t) => {
  const { local, remote } = await joinStreams(t)
  const broken = new Writable({
    write(_chunk, _encoding, callback) {
      callback(new Error('disk full'))
    },
  })
  local.write('x')
  await t.throwsAsync(pipeline(remote, broken), { message: 'disk full' })
  t.true(remote.destroyed)
  await closed(local)
  t.like(local.errored, { code: 'ERR_PACELINE_STREAM_RESET' })
})

test('it is a Duplex', async (t) => {
  const { local } = await joinStreams(t)
  t.true(local instanceof Duplex)
  t.true(local.writable && local.readable)
})

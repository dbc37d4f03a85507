// Web Streams from and to a Stream.
import { Duplex, Readable, Writable } from 'node:stream'
import test from 'ava'
import { closed, joinStreams, pattern, readAll, state, turns, until } from '../support/endpoints.js'

test('toWeb() is a ReadableStream and a WritableStream', async (t) => {
  const { local } = await joinStreams(t)
  const web = local.toWeb()
  t.true(web.readable instanceof ReadableStream)
  t.true(web.writable instanceof WritableStream)
})

test('pipeTo and pipeThrough carry every byte', async (t) => {
  const { local, remote } = await joinStreams(t)
  const bytes = pattern(500_000)
  const far = remote.toWeb()
  const serving = far.readable.pipeThrough(new CompressionStream('gzip')).pipeThrough(new DecompressionStream('gzip')).pipeTo(far.writable)
  const near = local.toWeb()
  const sending = new Blob([bytes]).stream().pipeTo(near.writable)
  const got: Uint8Array[] = []
  for await (const chunk of near.readable) got.push(chunk)
  await Promise.all([serving, sending])
  t.true(Buffer.concat(got).equals(bytes))
  await Promise.all([closed(local), closed(remote)])
})

test('the readable ends with its half: a request is read to its end, then comes the reply', async (t) => {
  const { local, remote } = await joinStreams(t)
  local.end('{"ok":true}')
  const { readable, writable } = remote.toWeb()
  t.deepEqual(await new Response(readable as ConstructorParameters<typeof Response>[0]).json(), { ok: true })
  const writer = writable.getWriter()
  await writer.write(Buffer.from('reply'))
  await writer.close()
  t.is((await readAll(local)).toString(), 'reply')
})

test('text is refused, as it would lose its bytes', async (t) => {
  const { local, remote } = await joinStreams(t)
  const { readable } = local.toWeb()
  local.setEncoding('hex')
  remote.write('x')
  const refused = { code: 'ERR_PACELINE_OPTION', message: /^readableEncoding: expected null for toWeb\(\) .*, got "hex"$/ }
  await t.throwsAsync(readable.getReader().read(), refused)
  t.throws(() => local.toWeb(), refused)
})

test('chunks are Uint8Arrays with memory of their own', async (t) => {
  const { local, remote } = await joinStreams(t)
  local.end('abc')
  const reader = remote.toWeb().readable.getReader()
  const { value } = await reader.read()
  t.is(value?.constructor, Uint8Array)
  t.is(value?.buffer.byteLength, 3)
  // Who transfers it takes nothing that others use.
  structuredClone(value, { transfer: [value?.buffer as ArrayBuffer] })
  t.true((await reader.read()).done)
})

test('nothing is read ahead of who reads, and a writer waits for room', async (t) => {
  const window = 64 * 1024
  const { local, remote, receiverDriver } = await joinStreams(t, { window }, { sendBufferBytes: window })
  const reader = remote.toWeb().readable.getReader()
  const writer = local.toWeb().writable.getWriter()
  const writing = writer.write(new Uint8Array(2 << 20))
  await turns(30)
  t.is(await state(writing), 'pending')
  t.is(remote.stats().bytesRead, 1)
  t.true(receiverDriver.maxUnconsumed <= window)
  let bytes = 0
  while (bytes < 2 << 20) bytes += (await reader.read()).value?.length ?? Infinity
  await writing
  await writer.ready
})

test('abort resets with the code of its reason', async (t) => {
  const { local, remote } = await joinStreams(t)
  const { readable, writable } = local.toWeb()
  const reading = readable.getReader().read()
  await writable.abort({ errorCode: 888 })
  await t.throwsAsync(reading, { code: 'ERR_PACELINE_STREAM_ABORTED' })
  await closed(remote)
  t.like(remote.errored, { code: 'ERR_PACELINE_STREAM_RESET', errorCode: 888 })
})

test('cancel stops reading; the other half goes on', async (t) => {
  const { local, remote } = await joinStreams(t)
  const { readable, writable } = remote.toWeb()
  await readable.cancel('enough')
  await local.writer.write(Buffer.alloc(1 << 20))
  await local.flush()
  const writer = writable.getWriter()
  await writer.write(Buffer.from('still here'))
  t.is((await local.chunks().next()).value?.toString(), 'still here')
})

test('a reset is the error of both halves, also if nobody waits', async (t) => {
  const { local, remote } = await joinStreams(t)
  const { readable, writable } = remote.toWeb()
  const [reader, writer] = [readable.getReader(), writable.getWriter()]
  local.reset(300)
  await t.throwsAsync(reader.closed, { code: 'ERR_PACELINE_STREAM_RESET' })
  await t.throwsAsync(writer.closed, { code: 'ERR_PACELINE_STREAM_RESET' })
  await t.throwsAsync(reader.read(), { code: 'ERR_PACELINE_STREAM_RESET' })
  await t.throwsAsync(writer.write(Buffer.from('x')), { code: 'ERR_PACELINE_STREAM_RESET' })
})

test('what has arrived whole is read although the stream failed afterwards', async (t) => {
  const { local, remote, receiverDriver } = await joinStreams(t)
  local.end('whole')
  await until(t, () => remote.stats().bytesReceived === 6, 'everything has come')
  await turns(3)
  const { readable, writable } = remote.toWeb()
  receiverDriver.failStream(remote.id, 5)
  await t.throwsAsync(writable.getWriter().closed, { code: 'ERR_PACELINE_IDLE_TIMEOUT' })
  let got = ''
  for await (const chunk of readable) got += Buffer.from(chunk).toString()
  t.is(got, 'whole')
})

test("Node's own Duplex.toWeb, Readable.toWeb and Writable.toWeb work, too", async (t) => {
  const { local, remote } = await joinStreams(t)
  const far = Duplex.toWeb(remote)
  const near = Duplex.toWeb(local)
  const replies = far.writable.getWriter()
  await replies.write(Buffer.from('reply'))
  // There each half is closed only when the other has ended, too.
  const closings = [replies.close()]
  const writer = near.writable.getWriter()
  await writer.write(Buffer.from('request'))
  closings.push(writer.close())
  for (const [web, expected] of [[near, 'reply'], [far, 'request']] as const) {
    let got = ''
    for await (const chunk of web.readable) got += Buffer.from(chunk as Uint8Array).toString()
    t.is(got, expected)
  }
  await Promise.all(closings)

  const halves = await joinStreams(t)
  const half = Writable.toWeb(halves.local).getWriter()
  await half.write(Buffer.from('half'))
  const halfClosing = half.close()
  halves.local.resume()
  halves.remote.end()
  let got = ''
  for await (const chunk of Readable.toWeb(halves.remote)) got += Buffer.from(chunk as Uint8Array).toString()
  t.is(got, 'half')
  await halfClosing
})

// What Node's documentation promises of the readable side of a Duplex.
import { once } from 'node:events'
import { PassThrough, Readable, Writable, isErrored, isReadable } from 'node:stream'
import { buffer, json, text } from 'node:stream/consumers'
import test from 'ava'
import { closed, joinStreams, pattern, state, turns, until } from '../support/endpoints.js'

test('it is paused until somebody asks, flows with a data listener, and says which', async (t) => {
  const { local, remote } = await joinStreams(t)
  t.is(remote.readableFlowing, null)
  const chunks: Buffer[] = []
  remote.on('data', (chunk: Buffer) => chunks.push(chunk))
  t.is(remote.readableFlowing, true)
  t.false(remote.isPaused())
  await local.writer.write('flows')
  await until(t, () => chunks.length > 0, 'it flows')
  remote.pause()
  t.true(remote.isPaused())
  t.is(remote.readableFlowing, false)
  await local.writer.write('stays')
  await turns(10)
  t.is(Buffer.concat(chunks).toString(), 'flows')
  remote.resume()
  local.end()
  await once(remote, 'end')
  t.is(Buffer.concat(chunks).toString(), 'flowsstays')
})

test('chunks are Buffers; read(n) gives n bytes or null, and the rest at the end', async (t) => {
  const { local, remote } = await joinStreams(t)
  t.is(remote.read(), null)
  const readable = once(remote, 'readable')
  await local.writer.write('0123456789')
  await readable
  t.true(Buffer.isBuffer(remote.read(0) ?? Buffer.alloc(0)))
  t.is((remote.read(4) as Buffer).toString(), '0123')
  t.is(remote.read(100), null)
  t.is((remote.read(1) as Buffer).toString(), '4')
  const ended = once(remote, 'end')
  local.end('abc')
  await until(t, () => remote.readableLength === 8, 'the rest came')
  await turns(3)
  t.is((remote.read(100) as Buffer | null)?.toString(), '56789abc')
  await ended
  t.true(remote.readableEnded)
  t.false(remote.readable)
})

test("'readable' comes again when there is more, and once for the end", async (t) => {
  const { local, remote } = await joinStreams(t)
  const seen: (string | null)[] = []
  remote.on('readable', () => {
    const chunk = remote.read() as Buffer | null
    seen.push(chunk === null ? null : chunk.toString())
  })
  local.write('one')
  await until(t, () => seen.includes('one'), 'the first came')
  local.write('two')
  await until(t, () => seen.includes('two'), 'the second came')
  local.end()
  await once(remote, 'end')
  t.is(seen.filter((chunk) => chunk !== null).join(' '), 'one two')
  t.is(seen.at(-1), null)
})

test('readableHighWaterMark bounds what the Readable takes ahead', async (t) => {
  const { receiver, local, remote, peer } = await joinStreams(t, {}, { readableHighWaterMark: 10_000 })
  t.is(remote.readableHighWaterMark, 10_000)
  t.is(local.readableHighWaterMark, 10_000)
  remote.read(0)
  const writing = local.writer.write(Buffer.alloc(2 << 20))
  await turns(60)
  // It took until it had enough: at most one chunk of the driver beyond the mark.
  t.true(remote.readableLength >= 10_000 && remote.readableLength <= 10_000 + 64 * 1024, `${remote.readableLength}`)
  const own = peer.openStream({ readableHighWaterMark: 1, writableHighWaterMark: 2 })
  t.deepEqual([own.readableHighWaterMark, own.writableHighWaterMark], [1, 2])
  remote.resume()
  await writing
  void receiver
})

test('setEncoding gives strings, and never half a character', async (t) => {
  const { local, remote } = await joinStreams(t)
  t.is(remote.readableEncoding, null)
  t.is(remote.setEncoding('utf8'), remote)
  t.is(remote.readableEncoding, 'utf8')
  const euro = Buffer.from('€')
  const got: string[] = []
  remote.on('data', (chunk: string) => got.push(chunk))
  for (const byte of euro) {
    await local.writer.write(Buffer.from([byte]))
    await local.flush()
  }
  local.end()
  await once(remote, 'end')
  t.deepEqual(got, ['€'])
})

test('setEncoding: for await gives strings, too', async (t) => {
  const { local, remote } = await joinStreams(t)
  remote.setEncoding('hex')
  local.end(Buffer.from([1, 2, 255]))
  let got = ''
  for await (const chunk of remote) got += chunk as unknown as string
  t.is(got, '0102ff')
})

test('a loop that was left takes no chunk from the next one, in both lanes', async (t) => {
  const { local, remote } = await joinStreams(t)
  for (const lane of ['own', 'stock']) {
    if (lane === 'stock') remote.setEncoding('utf8')
    const left = remote.chunks()
    const waiting = left.next()
    await left.return()
    t.deepEqual(await waiting, { done: true, value: undefined })
    await local.writer.write(lane)
    t.is(String((await remote.chunks().next()).value), lane)
  }
  t.is(remote.listenerCount('readable'), 0)
})

test('unshift puts back; pipe and unpipe tell the destination', async (t) => {
  const { local, remote } = await joinStreams(t)
  const sink = new PassThrough()
  const events: string[] = []
  sink.on('pipe', (source) => events.push(source === remote ? 'pipe' : 'other'))
  sink.on('unpipe', (source) => events.push(source === remote ? 'unpipe' : 'other'))
  await local.writer.write('abc')
  await once(remote, 'readable')
  remote.unshift(Buffer.from('>'))
  t.is(remote.pipe(sink), sink)
  await until(t, () => sink.readableLength === 4, 'it went through')
  remote.unpipe(sink)
  t.deepEqual(events, ['pipe', 'unpipe'])
  await local.writer.write('def')
  await turns(5)
  // Node 26 gives chunk after chunk, earlier ones all at once.
  let got = ''
  for (let chunk = sink.read() as Buffer | null; chunk !== null; chunk = sink.read() as Buffer | null) got += chunk.toString()
  t.is(got, '>abc')
  remote.pipe(sink)
  local.end()
  await once(remote, 'end')
  t.is(await text(sink), 'def')
})

test('pipe with end: false leaves the destination open', async (t) => {
  const { local, remote } = await joinStreams(t)
  const sink = new PassThrough()
  remote.pipe(sink, { end: false })
  local.end('x')
  await once(remote, 'end')
  t.true(sink.writable)
})

test('two destinations get the same, and the slower one sets the pace', async (t) => {
  const { local, remote } = await joinStreams(t)
  const bytes = pattern(700_000)
  const fast = new PassThrough()
  const slowChunks: Buffer[] = []
  const slow = new Writable({
    highWaterMark: 1,
    write(chunk: Buffer, _encoding, callback) {
      slowChunks.push(chunk)
      setImmediate(callback)
    },
  })
  remote.pipe(fast)
  remote.pipe(slow)
  local.end(bytes)
  const [got] = await Promise.all([buffer(fast), once(slow, 'finish')])
  t.true(got.equals(bytes))
  t.true(Buffer.concat(slowChunks).equals(bytes))
})

test('the consumers of node:stream/consumers', async (t) => {
  const first = await joinStreams(t)
  first.local.end('{"a":[1,2]}')
  t.deepEqual(await json(first.remote), { a: [1, 2] })
  const second = await joinStreams(t)
  const bytes = pattern(200_000)
  second.local.end(bytes)
  t.true((await buffer(second.remote)).equals(bytes))
})

test("'end' comes once, after the last byte, and 'close' after it", async (t) => {
  const { local, remote } = await joinStreams(t)
  const events: string[] = []
  for (const event of ['end', 'finish', 'close', 'error']) remote.on(event, () => events.push(event))
  remote.on('data', () => events.push('data'))
  remote.end()
  local.end('x')
  await closed(remote)
  await turns(5)
  t.deepEqual(
    events.filter((event) => event !== 'finish'),
    ['data', 'end', 'close'],
  )
  t.is(events.filter((event) => event === 'finish').length, 1)
  t.is(events.at(-1), 'close')
})

test('isReadable, isErrored, readableAborted, readableDidRead', async (t) => {
  const { local, remote } = await joinStreams(t)
  t.true(isReadable(remote))
  t.false(remote.readableDidRead)
  remote.resume()
  await local.writer.write('x')
  await until(t, () => remote.stats().bytesRead === 2, 'it was read')
  t.true(remote.readableDidRead)
  remote.on('error', () => undefined)
  remote.destroy(new Error('mine'))
  t.true(remote.readableAborted)
  t.false(isReadable(remote))
  await closed(remote)
  await turns(1)
  t.true(isErrored(remote))
})

test('nothing comes after destroy(), not even what had arrived', async (t) => {
  const { local, remote } = await joinStreams(t)
  const seen: string[] = []
  remote.on('data', () => seen.push('data'))
  remote.on('end', () => seen.push('end'))
  remote.pause()
  await local.writer.write('x')
  await turns(5)
  remote.destroy()
  remote.resume()
  await closed(remote)
  await turns(5)
  t.deepEqual(seen, [])
})

test('a Readable made from it with wrap and from keeps every byte', async (t) => {
  const { local, remote } = await joinStreams(t)
  const bytes = pattern(300_000)
  local.end(bytes)
  const wrapped = Readable.from(remote)
  t.true(Buffer.concat((await wrapped.toArray()) as Buffer[]).equals(bytes))
})

test('the stock iterator() ends the whole stream when the loop is left, the own one does not', async (t) => {
  const first = await joinStreams(t)
  await first.local.writer.write('x')
  for await (const chunk of first.remote.iterator()) {
    t.is((chunk as Buffer).toString(), 'x')
    break
  }
  t.true(first.remote.destroyed)

  const second = await joinStreams(t)
  await second.local.writer.write('x')
  for await (const chunk of second.remote.iterator({ destroyOnReturn: false })) {
    t.is((chunk as Buffer).toString(), 'x')
    break
  }
  t.false(second.remote.destroyed)

  const third = await joinStreams(t)
  await third.local.writer.write('x')
  for await (const chunk of third.remote) {
    t.is(chunk.toString(), 'x')
    break
  }
  t.false(third.remote.destroyed)
  t.true(third.remote.writable)
  const waiting = third.remote.chunks().next()
  t.is(await state(waiting), 'pending')
  await third.local.writer.write('y')
  t.is((await waiting).value?.toString(), 'y')
})

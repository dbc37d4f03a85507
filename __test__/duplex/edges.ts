// What is seldom used of a Duplex, as Node's documentation has it.
import { EventEmitter, on, once } from 'node:events'
import { Duplex, PassThrough, Readable, Writable, type Transform } from 'node:stream'
import { finished, pipeline } from 'node:stream/promises'
import test from 'ava'
import { OptionError, type OpenStreamOptions } from '../../packages/paceline/src/index.js'
import { closed, join, joinStreams, pattern, readAll, state, turns, until } from '../support/endpoints.js'

const KiB = 1024

test('highWaterMark: 0: write() says what it says in Node, drain comes, and every byte gets through', async (t) => {
  const { local, remote } = await joinStreams(t, {}, { readableHighWaterMark: 0, writableHighWaterMark: 0 })
  t.is(local.writableHighWaterMark, 0)
  t.is(remote.readableHighWaterMark, 0)
  const ofNode = new Writable({ highWaterMark: 0, write: (_chunk, _encoding, callback) => callback() })
  for (const chunk of ['a', 'b', 'c']) {
    t.is(local.write(chunk), ofNode.write(chunk), process.version)
    if (local.writableNeedDrain) await once(local, 'drain')
  }
  local.end('d')
  let got = ''
  remote.on('readable', () => {
    for (let chunk = remote.read() as Buffer | null; chunk !== null; chunk = remote.read() as Buffer | null) got += chunk.toString()
  })
  await once(remote, 'end')
  t.is(got, 'abcd')
  // A pipe lives with it, too.
  const piped = await joinStreams(t, { window: 64 * KiB }, { readableHighWaterMark: 0, writableHighWaterMark: 0, sendBufferBytes: 64 * KiB })
  const bytes = pattern(300_000)
  void pipeline(piped.remote, piped.remote)
  const sink: Buffer[] = []
  piped.local.on('data', (chunk: Buffer) => sink.push(chunk))
  t.false(piped.local.write(Buffer.alloc(200_000)))
  await once(piped.local, 'drain')
  Readable.from([bytes.subarray(0, 100_000), bytes.subarray(100_000)]).pipe(piped.local)
  await once(piped.local, 'end')
  t.true(Buffer.concat(sink).equals(Buffer.concat([Buffer.alloc(200_000), bytes])))
})

test('unshift goes first in both lanes: for the own iterator, too', async (t) => {
  const { local, remote } = await joinStreams(t)
  await local.writer.write('body')
  const { value } = await remote.chunks().next()
  t.is(value?.toString(), 'body')
  remote.unshift(Buffer.from('dy'))
  remote.unshift(Buffer.from('bo'))
  local.end('!')
  t.is((await readAll(remote)).toString(), 'body!')
  t.true(remote.readableEnded)
})

test('unshift before anything was read, while more is on its way', async (t) => {
  const { local, remote } = await joinStreams(t)
  remote.unshift(Buffer.from('head '))
  local.end('and tail')
  t.is((await readAll(remote)).toString(), 'head and tail')
})

test('an async listener that rejects destroys the stream, where rejections are captured', async (t) => {
  const { local, remote, peer } = await joinStreams(t)
  const before = EventEmitter.captureRejections
  EventEmitter.captureRejections = true
  const stream = peer.openStream()
  EventEmitter.captureRejections = before
  stream.end('x')
  const failed = once(stream, 'error') as Promise<[Error]>
  stream.on('custom', async () => Promise.reject(Object.assign(new Error('listener'), { errorCode: 700 })))
  stream.emit('custom')
  t.is((await failed)[0].message, 'listener')
  t.true(stream.destroyed)
  t.false(local.destroyed || remote.destroyed)
})

test('destroySoon, where Node has it, ends as end() does', async (t) => {
  const { local, remote } = await joinStreams(t)
  const { destroySoon } = local as Duplex & { destroySoon?: () => void }
  t.is(typeof destroySoon, typeof (Writable.prototype as Writable & { destroySoon?: unknown }).destroySoon)
  local.write('last words')
  destroySoon?.call(local)
  if (destroySoon === undefined) local.end()
  t.is((await readAll(remote)).toString(), 'last words')
})

test('cork gathers text of any encoding and bytes into one piece, and destroy() lets none of it out', async (t) => {
  const { local, remote } = await joinStreams(t)
  local.cork()
  local.write('c3bc', 'hex')
  local.write(new Uint8Array([33]))
  local.write('ü', 'latin1')
  local.uncork()
  const { value } = await remote.chunks().next()
  t.deepEqual([...(value ?? [])], [0xc3, 0xbc, 33, 0xfc])
  const { bytesAcknowledged } = local.stats()
  local.cork()
  const told = new Promise<Error | null | undefined>((resolve) => local.write('never', resolve))
  local.destroy()
  t.like(await told, { code: 'ERR_STREAM_DESTROYED' })
  await closed(local)
  t.true(local.stats().bytesAcknowledged <= bytesAcknowledged + 4)
})

test('setDefaultEncoding refuses what is none, and gives the stream', async (t) => {
  const { local } = await joinStreams(t)
  t.is(local.setDefaultEncoding('hex'), local)
  t.throws(() => local.setDefaultEncoding('klingon' as BufferEncoding), { code: 'ERR_UNKNOWN_ENCODING' })
})

test('a stream carries bytes: object mode is refused, and highWaterMark is both marks', async (t) => {
  const { peer } = await join(t)
  for (const name of ['objectMode', 'readableObjectMode', 'writableObjectMode']) {
    t.throws(() => peer.openStream({ [name]: true } as OpenStreamOptions), { instanceOf: OptionError, message: `options.${name}: expected false (a stream carries bytes), got true` })
    t.notThrows(() => peer.openStream({ [name]: false } as OpenStreamOptions))
  }
  // What a stream does not do is refused instead of ignored.
  for (const [name, value] of Object.entries({ autoDestroy: false, emitClose: false, decodeStrings: false, defaultEncoding: 'hex', encoding: 'utf8' })) {
    t.throws(() => peer.openStream({ [name]: value } as OpenStreamOptions), { instanceOf: OptionError, message: new RegExp(`^options\\.${name}: expected .*, got `) })
  }
  const both = peer.openStream({ highWaterMark: 5_000 })
  t.deepEqual([both.readableHighWaterMark, both.writableHighWaterMark], [5_000, 5_000])
  // As in the constructor of node:stream, where it wins over the mark of one side.
  const one = peer.openStream({ highWaterMark: 5_000, readableHighWaterMark: 7_000 })
  const node = new Duplex({ highWaterMark: 5_000, readableHighWaterMark: 7_000 })
  t.deepEqual([one.readableHighWaterMark, one.writableHighWaterMark], [node.readableHighWaterMark, node.writableHighWaterMark])
  t.throws(() => peer.openStream({ highWaterMark: -1 }), { message: 'options.highWaterMark: expected an integer from 0 to 1073741824 (bytes), got -1' })
})

test('events.on reads, and ends with what it is told', async (t) => {
  const { local, remote } = await joinStreams(t)
  local.end('event')
  let got = ''
  for await (const [chunk] of on(remote, 'data', { close: ['end'] } as object)) got += String(chunk)
  t.is(got, 'event')
})

test('finished of what is over already, and of one half when the other goes on', async (t) => {
  const { local, remote } = await joinStreams(t)
  local.end('x')
  await readAll(remote)
  await finished(remote, { writable: false })
  await finished(local, { readable: false })
  t.is(await state(finished(remote)), 'pending')
  remote.end()
  local.resume()
  await Promise.all([closed(local), closed(remote)])
  await finished(local)
  await finished(remote)
})

test('pipeline with generators on both ends and in the middle', async (t) => {
  const { local, remote } = await joinStreams(t, { window: 70_000 })
  const serving = pipeline(
    remote,
    async function* (source: AsyncIterable<Buffer>) {
      for await (const chunk of source) yield chunk.toString().toUpperCase()
    },
    remote,
  )
  await pipeline(async function* () {
    for (let count = 0; count < 1_000; count += 1) yield `line ${count}\n`
  }, local)
  const got = (await readAll(local)).toString()
  await serving
  t.is(got.split('\n').length, 1_001)
  t.true(got.endsWith('LINE 999\n'))
})

test('a destination that fails is unpiped, and the stream lives', async (t) => {
  const { local, remote } = await joinStreams(t)
  const sink = new Writable({
    write(_chunk, _encoding, callback) {
      callback(new Error('full'))
    },
  })
  remote.pipe(sink)
  const failed = once(sink, 'error')
  await local.writer.write('x')
  await failed
  await turns(2)
  t.false(remote.destroyed)
  local.end('y')
  t.is((await readAll(remote)).toString(), 'y')
})

test('Duplex.from gives the stream itself, Duplex.fromWeb takes its Web Streams', async (t) => {
  const { local, remote } = await joinStreams(t)
  t.is(Duplex.from(local), local as Duplex)
  const web = remote.toWeb()
  const far = Duplex.fromWeb(web as Parameters<typeof Duplex.fromWeb>[0])
  local.end('question')
  far.end('answer')
  const question: Buffer[] = []
  for await (const chunk of far) question.push(chunk as Buffer)
  t.is(Buffer.concat(question).toString(), 'question')
  t.is((await readAll(local)).toString(), 'answer')
})

test('compose with the stream in front, and of it with a function', async (t) => {
  const { local, remote } = await joinStreams(t)
  void pipeline(remote, remote)
  const composed = local.compose(new PassThrough() as unknown as Transform)
  local.end('front')
  let got = ''
  for await (const chunk of composed) got += String(chunk)
  t.is(got, 'front')
})

test('what has been read is disturbed; read() after the end gives null', async (t) => {
  const { local, remote } = await joinStreams(t)
  t.false(Readable.isDisturbed(local))
  local.end('x')
  remote.resume()
  await once(remote, 'end')
  t.true(Readable.isDisturbed(remote))
  t.is(remote.read(), null)
  t.false(remote.readable)
})

test('read(n) larger than the mark still gives n bytes', async (t) => {
  const { local, remote } = await joinStreams(t, {}, { readableHighWaterMark: 1_000 })
  const bytes = pattern(50_000)
  local.end(bytes)
  const parts: Buffer[] = []
  remote.on('readable', () => {
    for (let part = remote.read(20_000) as Buffer | null; part !== null; part = remote.read(20_000) as Buffer | null) parts.push(part)
  })
  await once(remote, 'end')
  t.deepEqual(parts.map((part) => part.length), [20_000, 20_000, 10_000])
  t.true(Buffer.concat(parts).equals(bytes))
})

test('write and end before the peer reads, then destroy of the reader: the writer is told', async (t) => {
  const { local, remote } = await joinStreams(t, { window: 64 * KiB }, { sendBufferBytes: 64 * KiB })
  const failed = once(local, 'error') as Promise<[Error]>
  local.write(pattern(400_000))
  local.end()
  await turns(5)
  remote.destroy()
  t.like((await failed)[0], { code: 'ERR_PACELINE_STREAM_RESET', errorCode: 256 })
  await until(t, () => local.closed, 'it is closed')
})

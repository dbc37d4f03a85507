// What Node's documentation promises of the writable side of a Duplex.
import { once } from 'node:events'
import { Readable, type Duplex } from 'node:stream'
import test from 'ava'
import type { Stream } from '../../packages/paceline/src/index.js'
import { closed, HELLO, joinStreams, pattern, readAll, turns, until } from '../support/endpoints.js'

const KiB = 1024

test('callbacks of write come in order, each once; that of end after them', async (t) => {
  const { local, remote } = await joinStreams(t, { window: 64 * KiB }, { sendBufferBytes: 64 * KiB })
  const order: string[] = []
  for (const name of ['a', 'b', 'c']) local.write(Buffer.alloc(60 * KiB, name), () => order.push(name))
  local.end('d', () => order.push('end'))
  local.on('finish', () => order.push('finish'))
  const got = await readAll(remote)
  await until(t, () => order.length === 5, 'all were called')
  t.deepEqual(order.slice(0, 3), ['a', 'b', 'c'])
  t.deepEqual(order.slice(3).sort(), ['end', 'finish'])
  t.is(got.length, 180 * KiB + 1)
})

test('strings with their encodings, Uint8Arrays, and end in all its forms', async (t) => {
  const { local, remote } = await joinStreams(t)
  local.write('c3bc', 'hex')
  local.write('ü', 'latin1')
  local.setDefaultEncoding('base64')
  local.write('YQ==')
  local.write(new Uint8Array([98]))
  let called = false
  local.end('/w==', 'base64', () => {
    called = true
  })
  t.deepEqual([...(await readAll(remote))], [0xc3, 0xbc, 0xfc, 97, 98, 0xff])
  t.true(called)
})

test('what is no chunk is refused at once, and the stream lives', async (t) => {
  const { local, remote } = await joinStreams(t)
  t.throws(() => local.write(null), { code: 'ERR_STREAM_NULL_VALUES' })
  t.throws(() => local.write(7), { code: 'ERR_INVALID_ARG_TYPE' })
  t.throws(() => local.write({}), { code: 'ERR_INVALID_ARG_TYPE' })
  t.false(local.writableObjectMode)
  local.end('ok')
  t.is((await readAll(remote)).toString(), 'ok')
})

test('writableHighWaterMark: write() gives false at it, writableNeedDrain says so, and drain ends it', async (t) => {
  const { local, remote } = await joinStreams(t, { window: 64 * KiB }, { sendBufferBytes: 64 * KiB, writableHighWaterMark: 32 * KiB })
  t.is(local.writableHighWaterMark, 32 * KiB)
  let writes = 0
  while (local.write(Buffer.alloc(8 * KiB))) writes += 1
  t.true(local.writableNeedDrain)
  t.true(local.writableLength >= 32 * KiB && local.writableLength <= 40 * KiB, `${local.writableLength}`)
  t.true(writes * 8 * KiB <= 64 * KiB + 64 * KiB + 32 * KiB, `${writes} writes`)
  const drained = once(local, 'drain')
  remote.resume()
  await drained
  t.false(local.writableNeedDrain)
  t.true(local.write('more'))
})

test('cork gathers, uncork sends: as often as it was corked', async (t) => {
  const { local, senderDriver } = await joinStreams(t)
  await turns(5)
  const { writes, submits } = senderDriver
  local.cork()
  local.cork()
  t.is(local.writableCorked, 2)
  for (let count = 0; count < 10; count += 1) local.write('x')
  await turns(3)
  t.is(local.writableLength, 10)
  t.is(local.stats().bytesWritten, HELLO.length + 10)
  t.is(senderDriver.submits + senderDriver.writes, submits + writes)
  local.uncork()
  await turns(3)
  t.is(local.writableLength, 10)
  local.uncork()
  await turns(3)
  t.is(local.writableLength, 0)
  // Ten small writes are one submit.
  t.is(senderDriver.submits, submits + 1)
})

test('end uncorks', async (t) => {
  const { local, remote } = await joinStreams(t)
  local.cork()
  local.write('corked')
  local.end()
  t.is((await readAll(remote)).toString(), 'corked')
})

test("states: writable, writableEnded, writableFinished, 'finish' after the last byte was handed over", async (t) => {
  const { local, remote } = await joinStreams(t, { window: 64 * KiB }, { sendBufferBytes: 64 * KiB })
  t.true(local.writable)
  local.write(Buffer.alloc(300 * KiB))
  local.end()
  t.true(local.writableEnded)
  t.false(local.writable)
  t.false(local.writableFinished)
  await turns(20)
  t.false(local.writableFinished)
  const finish = once(local, 'finish')
  remote.resume()
  await finish
  t.true(local.writableFinished)
  t.is(local.writableLength, 0)
})

test('a write after end fails with the code of Node, to the callback and as error', async (t) => {
  const { local } = await joinStreams(t)
  local.end()
  const failed = once(local, 'error') as Promise<[Error]>
  const told = new Promise<Error | null | undefined>((resolve) => local.write('x', resolve))
  t.like((await failed)[0], { code: 'ERR_STREAM_WRITE_AFTER_END' })
  t.like(await told, { code: 'ERR_STREAM_WRITE_AFTER_END' })
  await closed(local)
})

test('a second end: its callback comes, or says that it is too late', async (t) => {
  const { local, remote } = await joinStreams(t)
  remote.resume()
  const first = new Promise<Error | null | undefined>((resolve) => local.end(resolve as () => void))
  const second = new Promise<Error | null | undefined>((resolve) => local.end(resolve as () => void))
  t.falsy(await first)
  t.falsy(await second)
  const third = new Promise<Error | null | undefined>((resolve) => local.end(resolve as () => void))
  t.like(await third, { code: 'ERR_STREAM_ALREADY_FINISHED' })
})

test('writes that wait when it is destroyed are told why, in order; later ones, too', async (t) => {
  const { local } = await joinStreams(t, { window: 64 * KiB }, { sendBufferBytes: 64 * KiB })
  const told: string[] = []
  const tell =
    (name: string) =>
    (error?: Error | null): void =>
      void told.push(`${name} ${(error as { code?: string } | null | undefined)?.code ?? error?.message ?? 'fine'}`)
  local.on('error', () => undefined)
  local.write(Buffer.alloc(200 * KiB), tell('first'))
  local.write('second', tell('second'))
  local.destroy(new Error('mine'))
  local.write('third', tell('third'))
  await closed(local)
  await turns(3)
  t.deepEqual(told.map((line) => line.split(' ')[0]).sort(), ['first', 'second', 'third'])
  t.true(told.every((line) => !line.endsWith('fine')), told.join(', '))
  t.true(told.includes('third ERR_STREAM_DESTROYED'), told.join(', '))
})

test('destroy is idempotent, the first error is the one, and close comes once', async (t) => {
  const { local } = await joinStreams(t)
  const events: string[] = []
  local.on('error', (error: Error) => events.push(error.message))
  local.on('close', () => events.push('close'))
  t.is(local.destroy(new Error('first')), local)
  local.destroy(new Error('second'))
  await closed(local)
  await turns(5)
  t.deepEqual(events, ['first', 'close'])
  t.is(local.errored?.message, 'first')
  t.true(local.destroyed && local.closed)
  t.true((local as Duplex & { writableAborted?: boolean }).writableAborted ?? true)
})

test('a source of many small chunks, and one of a large one', async (t) => {
  const { local, remote } = await joinStreams(t, { window: 64 * KiB }, { sendBufferBytes: 64 * KiB })
  const bytes = pattern(400_000)
  const pieces: Buffer[] = []
  for (let at = 0; at < 200_000; at += 100) pieces.push(bytes.subarray(at, at + 100))
  Readable.from([...pieces, bytes.subarray(200_000)]).pipe(local)
  t.true((await readAll(remote)).equals(bytes))
})

test('empty chunks are written, called back, and carry nothing', async (t) => {
  const { local, remote } = await joinStreams(t)
  let called = 0
  local.write('', () => (called += 1))
  local.write(Buffer.alloc(0), () => (called += 1))
  await local.writer.write('')
  local.end('', () => (called += 1))
  t.is((await readAll(remote)).length, 0)
  await until(t, () => called === 3, 'all were called')
})

test('a chunk may be changed once its write was called back', async (t) => {
  const { local, remote } = await joinStreams(t, { window: 64 * KiB }, { sendBufferBytes: 64 * KiB })
  const chunk = Buffer.alloc(50 * KiB)
  const writing = (async () => {
    for (let round = 0; round < 8; round += 1) {
      chunk.fill(round)
      await new Promise((resolve) => local.write(chunk, resolve))
    }
    local.end()
  })()
  const got = await readAll(remote)
  await writing
  for (let round = 0; round < 8; round += 1) t.true(got.subarray(round * 50 * KiB, (round + 1) * 50 * KiB).every((byte) => byte === round))
})

const both = (stream: Stream): boolean[] => [stream.readable, stream.writable]

test('each half is writable and readable of its own', async (t) => {
  const { local, remote } = await joinStreams(t)
  t.deepEqual(both(local), [true, true])
  local.end()
  await readAll(remote)
  t.deepEqual(both(local), [true, false])
  t.deepEqual(both(remote), [false, true])
})

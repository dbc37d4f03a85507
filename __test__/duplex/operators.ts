// The operators of Readable: map, filter, take, … They go through the stream's own iterator.
import test from 'ava'
import { joinStreams, state, until } from '../support/endpoints.js'

const bytes = (chunk: unknown): string => (chunk as Buffer).toString()

test('map, filter, flatMap, drop, take, toArray', async (t) => {
  const { local, remote } = await joinStreams(t)
  void (async () => {
    for (const letter of ['a', 'b', 'c', 'd', 'e', 'f']) {
      await local.writer.write(letter)
      await local.flush()
    }
    local.end()
  })().catch(() => undefined)
  const result = remote
    .map(bytes)
    .filter((text: string) => text !== 'b')
    .flatMap((text: string) => [text, text.toUpperCase()])
    .drop(2)
    .take(5)
  t.deepEqual(await result.toArray(), ['c', 'C', 'd', 'D', 'e'])
})

test('reduce, some, every, find, forEach', async (t) => {
  const read = async <T>(run: (stream: Awaited<ReturnType<typeof joinStreams>>['remote']) => Promise<T>): Promise<T> => {
    const { local, remote } = await joinStreams(t)
    local.write('12')
    await local.flush()
    local.end('345')
    return run(remote)
  }
  t.is(await read((stream) => stream.reduce((sum: number, chunk: Buffer) => sum + chunk.length, 0)), 5)
  t.true(await read((stream) => stream.some((chunk: Buffer) => chunk.includes('5'))))
  t.false(await read((stream) => stream.every((chunk: Buffer) => chunk.includes('5'))))
  t.is(bytes(await read((stream) => stream.find((chunk: Buffer) => chunk.includes('1')))).slice(0, 2), '12')
  let seen = ''
  await read((stream) =>
    stream.forEach((chunk: Buffer) => {
      seen += chunk.toString()
    }),
  )
  t.is(seen, '12345')
})

test('take leaves the sending half, and the rest to the next reader', async (t) => {
  const { local, remote } = await joinStreams(t)
  await local.writer.write('head')
  await local.flush()
  t.deepEqual((await remote.take(1).toArray()).map(bytes), ['head'])
  t.false(remote.destroyed)
  t.true(remote.writable)
  await local.writer.write('body')
  const { value } = await remote.chunks().next()
  t.is(value?.toString(), 'body')
})

test('a signal: Node looks at it with every chunk; the iterator of the stream at once', async (t) => {
  const { local, remote } = await joinStreams(t)
  const controller = new AbortController()
  const { signal } = controller
  const stock = remote.toArray({ signal })
  controller.abort()
  t.is(await state(stock), 'pending')
  await local.writer.write('x')
  await t.throwsAsync(stock, { name: 'AbortError' })
  const own = new AbortController()
  const waiting = remote.chunks({ signal: own.signal }).next()
  own.abort()
  await t.throwsAsync(waiting, { name: 'AbortError' })
})

test('map with concurrency keeps the order', async (t) => {
  const { local, remote } = await joinStreams(t)
  void (async () => {
    for (let count = 0; count < 8; count += 1) {
      await local.writer.write(String(count))
      await local.flush()
    }
    local.end()
  })()
  let running = 0
  let most = 0
  const result = await remote
    .map(
      async (chunk: Buffer) => {
        most = Math.max(most, (running += 1))
        await until(t, () => running > 1 || most > 1, 'two run at once')
        running -= 1
        return chunk.toString()
      },
      { concurrency: 2 },
    )
    .toArray()
  t.is(result.join(''), '01234567')
  t.is(most, 2)
})

import test from 'ava'
import { CommandQueue, DIRECT_BYTES } from '../../packages/paceline/src/commands.js'
import { Op } from '../../packages/paceline/src/driver.js'

interface Command {
  op: number
  id: number
  arg: number
  body: Buffer
}

/** Takes the records apart as `driver.ts` describes them, and complains about padding that is not zero. */
function decode(bytes: Buffer): Command[] {
  const commands: Command[] = []
  for (let at = 0; at < bytes.length; ) {
    const length = bytes.readUInt32LE(at + 8)
    const end = at + 16 + Math.ceil(length / 8) * 8
    const padding = bytes.subarray(at + 16 + length, end)
    if (padding.some((byte) => byte !== 0)) throw new Error('padding is not zero')
    commands.push({ op: bytes.readUInt32LE(at), id: bytes.readUInt32LE(at + 4), arg: bytes.readUInt32LE(at + 12), body: bytes.subarray(at + 16, at + 16 + length) })
    at = end
  }
  return commands
}

type Call = { submit: Command[] } | { write: number; bytes: number }

function recorder(): { calls: Call[]; queue: CommandQueue } {
  const calls: Call[] = []
  const queue = new CommandQueue({
    submit: (bytes) => calls.push({ submit: decode(Buffer.from(bytes)) }),
    write: (write, chunk) => calls.push({ write, bytes: chunk.length }),
  })
  return { calls, queue }
}

function submitted(calls: Call[]): Command[] {
  return calls.flatMap((call) => ('submit' in call ? call.submit : []))
}

const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

test('the commands of a tick are one submit, in order, also across awaits of settled promises', async (t) => {
  const { calls, queue } = recorder()
  queue.open(1, 3, 2)
  for (let index = 0; index < 10; index += 1) {
    queue.write(1 + 2 * (index % 2), Buffer.from([index]))
    await Promise.resolve()
  }
  queue.finish(1)
  t.is(calls.length, 0)
  await tick()
  t.is(calls.length, 1)
  const commands = submitted(calls)
  t.deepEqual(commands.map(({ op }) => op), [Op.Open, ...new Array<number>(10).fill(Op.Write), Op.Finish])
  t.deepEqual(commands[0], { op: Op.Open, id: 1, arg: 2, body: Buffer.from([3, 0, 0, 0, 0, 0, 0, 0]) })
})

test('numbers are u64, little endian; Infinity is the largest', (t) => {
  const { calls, queue } = recorder()
  queue.reset(5, 2 ** 53 - 1)
  queue.wantAcknowledged(5, Infinity)
  queue.setMaxBitrate(7, 10e9)
  queue.acceptStreams(1024)
  queue.setPriority(9, 7)
  queue.flush()
  const [reset, want, rate, accept, priority] = submitted(calls)
  t.is(reset?.body.readBigUInt64LE(), 2n ** 53n - 1n)
  t.is(want?.body.readBigUInt64LE(), 2n ** 64n - 1n)
  t.is(rate?.body.readBigUInt64LE(), 10_000_000_000n)
  t.deepEqual([accept?.id, accept?.arg, accept?.body.length], [0, 1024, 0])
  t.deepEqual([priority?.id, priority?.arg], [9, 7])
})

test('small writes of one stream become one record, whatever their lengths', (t) => {
  const { calls, queue } = recorder()
  const text = 'so many small pieces make a whole'
  // Something long before, so that the slab is dirty where the padding will be.
  queue.write(99, Buffer.alloc(200, 0xff))
  queue.flush()
  for (const piece of text.match(/.{1,5}/gs) ?? []) queue.write(1, Buffer.from(piece))
  queue.write(3, Buffer.from('x'))
  queue.write(1, Buffer.from('y'))
  queue.flush()
  t.deepEqual(submitted(calls).slice(1).map(({ id, body }) => [id, body.toString()]), [[1, text], [3, 'x'], [1, 'y']])
})

test('what is consumed of one stream is added up', (t) => {
  const { calls, queue } = recorder()
  queue.consume(1, 2 ** 32 - 1)
  queue.consume(1, 2)
  queue.consume(3, 1)
  queue.flush()
  t.deepEqual(submitted(calls).map(({ id, body }) => [id, body.readBigUInt64LE()]), [[1, 2n ** 32n + 1n], [3, 1n]])
})

test('a large chunk goes by itself, after what was queued before it', (t) => {
  const { calls, queue } = recorder()
  queue.open(1, 1, 4)
  queue.write(1, Buffer.alloc(DIRECT_BYTES - 1))
  queue.write(1, Buffer.alloc(DIRECT_BYTES))
  queue.finish(1)
  queue.flush()
  t.is(calls.length, 3)
  t.deepEqual(submitted(calls.slice(0, 1)).map(({ op }) => op), [Op.Open, Op.Write])
  t.deepEqual(calls[1], { write: 1, bytes: DIRECT_BYTES })
  t.deepEqual(submitted(calls.slice(2)).map(({ op }) => op), [Op.Finish])
})

test('a full slab goes out within the tick, and nothing is lost or doubled', async (t) => {
  const { calls, queue } = recorder()
  let expected = 0
  for (let index = 0; index < 500; index += 1) {
    queue.write(1, Buffer.alloc(997, index))
    expected += 997
  }
  t.true(calls.length > 5)
  await tick()
  const bodies = submitted(calls)
  t.is(bodies.reduce((sum, { body }) => sum + body.length, 0), expected)
  t.is(Buffer.concat(bodies.map(({ body }) => body))[997 * 499], 499 & 0xff)
})

test('an empty write is no command; after close() nothing goes out', async (t) => {
  const { calls, queue } = recorder()
  queue.write(1, new Uint8Array(0))
  queue.flush()
  t.is(calls.length, 0)
  queue.finish(1)
  queue.close()
  queue.write(1, Buffer.alloc(DIRECT_BYTES))
  queue.finish(1)
  await tick()
  t.is(calls.length, 0)
})

// R28: the same operations over TCP and over a stream of ours give the same bytes, the same order, the same end.
import { createHash } from 'node:crypto'
import { connect, createServer } from 'node:net'
import { Faults, numbers, pair, random, report } from './common.mjs'

const { lists, first, at } = numbers({ lists: 10_000, first: 1, at: 8 })
const faults = new Faults()
const PATTERN = Buffer.alloc(1 << 18)
for (let index = 0; index < PATTERN.length; index += 1) PATTERN[index] = (index * 31 + (index >> 8)) & 0xff

/** What one side does, and how it reads. */
function generate(choose) {
  const operations = []
  for (let count = choose(9); count > 0; count -= 1) {
    const bytes = choose(8) === 0 ? choose(120_000) : choose(3_000)
    operations.push([['write', bytes], ['write', bytes], ['write', bytes], ['wait', choose(4)], ['drain'], ['cork', bytes], ['callback', bytes], ['string', choose(500)], ['unread', choose(3)]][choose(9)])
  }
  return { operations, end: ['end', 'end with bytes', 'end twice', 'end after the other'][choose(4)], endBytes: choose(2_000), reads: ['data', 'readable', 'for await', 'pause'][choose(4)] }
}

const turns = async (count) => {
  for (; count > 0; count -= 1) await new Promise(setImmediate)
}

/** Reads everything in the chosen way: how much, which bytes, and what came when. */
function read(duplex, way, events) {
  const hash = createHash('sha256')
  let bytes = 0
  const take = (chunk) => {
    if (events.includes('end')) events.push('bytes after the end')
    bytes += chunk.length
    hash.update(chunk)
  }
  duplex.once('end', () => events.push('end'))
  const ended = new Promise((resolve) => duplex.once('end', resolve).once('close', resolve))
  if (way === 'readable') {
    duplex.on('readable', () => {
      for (let chunk = duplex.read(); chunk !== null; chunk = duplex.read()) take(chunk)
    })
  } else if (way === 'for await') {
    void (async () => {
      // The stock iterator, which both have.
      for await (const chunk of duplex.iterator({ destroyOnReturn: false })) take(chunk)
    })().catch((error) => events.push(error.code))
  } else {
    duplex.on('data', (chunk) => {
      take(chunk)
      if (way === 'pause') {
        duplex.pause()
        setImmediate(() => duplex.resume())
      }
    })
  }
  return ended.then(() => ({ bytes, hash: hash.digest('hex') }))
}

async function write(duplex, { operations, end, endBytes }, otherEnded, events) {
  let offset = 0
  const next = (bytes) => {
    const from = offset % (PATTERN.length - 120_001)
    offset += bytes
    return PATTERN.subarray(from, from + bytes)
  }
  let callbacks = 0
  for (const [operation, argument] of operations) {
    if (operation === 'wait') await turns(argument)
    else if (operation === 'drain') {
      if (duplex.writableNeedDrain) await new Promise((resolve) => duplex.once('drain', resolve))
    } else if (operation === 'cork') {
      duplex.cork()
      duplex.write(next(argument >> 1))
      duplex.write(next(argument >> 1))
      process.nextTick(() => duplex.uncork())
    } else if (operation === 'callback') {
      const mine = (callbacks += 1)
      duplex.write(next(argument), (error) => events.push(error == null ? `callback ${mine}` : error.code))
    } else if (operation === 'string') duplex.write(next(argument).toString('latin1'), 'latin1')
    else if (operation === 'unread') duplex.read(0)
    else duplex.write(next(argument))
  }
  if (end === 'end after the other') await otherEnded
  duplex.once('finish', () => events.push('finish'))
  if (end === 'end with bytes') duplex.end(next(endBytes))
  else duplex.end()
  if (end === 'end twice') duplex.end()
  return offset
}

/** Runs a list over a connection; what both sides saw. */
async function perform(near, far, [a, b]) {
  const sides = [
    [near, a, []],
    [far, b, []],
  ]
  const closes = sides.map(([duplex, , events]) => new Promise((resolve) => duplex.once('close', () => resolve(events.push('close')))))
  for (const [duplex, , events] of sides) duplex.on('error', (error) => events.push(`error ${error.code}`))
  const reads = sides.map(([duplex, plan, events]) => read(duplex, plan.reads, events))
  const writes = sides.map(([duplex, plan, events], index) => write(duplex, plan, index === 0 ? Promise.resolve() : reads[1], events))
  const [read0, read1, wrote0, wrote1] = await Promise.all([...reads, ...writes])
  await Promise.all(closes)
  // How the halves interleave is the network's doing; within a half the order is fixed.
  const order = (events) => ({
    writing: events.filter((event) => event === 'finish' || event.startsWith('callback')).join(' '),
    reading: events.filter((event) => event !== 'finish' && !event.startsWith('callback')).join(' '),
  })
  return { near: { ...read0, wrote: wrote0, ...order(sides[0][2]) }, far: { ...read1, wrote: wrote1, ...order(sides[1][2]) } }
}

const server = createServer({ allowHalfOpen: true })
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
const connections = new Map()
server.on('connection', (socket) => connections.get(socket.remotePort)?.(socket))

async function overTcp(plans) {
  const near = connect({ port: server.address().port, host: '127.0.0.1', allowHalfOpen: true })
  const far = await new Promise((resolve) => near.once('connect', () => {
    // Whoever comes first: the connection here, or the news of it there.
    connections.set(near.localPort, resolve)
    const waiting = early.get(near.localPort)
    if (waiting !== undefined) resolve(waiting)
  }))
  connections.delete(near.localPort)
  early.delete(near.localPort)
  return perform(near, far, plans)
}
const early = new Map()
server.on('connection', (socket) => connections.has(socket.remotePort) || early.set(socket.remotePort, socket))

const ours = await pair({ maxIncomingStreams: 4 * at })
const acceptors = []
void (async () => {
  for await (const stream of ours.accepted) {
    // The first byte says whose it is; it is taken out by the fast lane, and the rest is the test's.
    void stream.chunks().next().then(({ value }) => {
      const [index] = value
      if (value.length > 1) stream.unshift(value.subarray(1))
      acceptors[index](stream)
    })
  }
})()

async function overStream(plans, lane) {
  const near = ours.peer.openStream()
  const accepted = new Promise((resolve) => (acceptors[lane] = resolve))
  await near.writer.write(Buffer.from([lane]))
  return perform(near, await accepted, plans)
}

const begin = performance.now()
let next = first
let bytes = 0
await Promise.all(
  Array.from({ length: at }, async (_, lane) => {
    for (let seed = next; seed < first + lists; seed = next) {
      next += 1
      const plans = () => {
        const choose = random(seed)
        const both = [generate(choose), generate(choose)]
        if (both[0].end === 'end after the other') both[0].end = 'end'
        return both
      }
      const [tcp, stream] = [await overTcp(plans()), await overStream(plans(), lane)]
      bytes += stream.near.bytes + stream.far.bytes
      faults.expect(JSON.stringify(tcp) === JSON.stringify(stream), `list ${seed}: over TCP ${JSON.stringify(tcp)}, over a stream ${JSON.stringify(stream)}`)
      faults.expect(stream.near.bytes === stream.far.wrote && stream.far.bytes === stream.near.wrote, `list ${seed}: expected every byte written to be read`)
    }
  }),
)
server.close()
await ours.sender.close({ deadline: 2_000 })
await ours.receiver.close({ deadline: 2_000 })
report(faults, { lists, bytes, seconds: (performance.now() - begin) / 1000 })

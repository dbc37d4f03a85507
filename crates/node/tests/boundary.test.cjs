// cargo build -p paceline-node --release && node --expose-gc --test crates/node/tests/
'use strict'
const assert = require('node:assert/strict')
const test = require('node:test')
const { NativeDriver, nativeLiveness, Op, Event, NOTHING_ALIVE, secret, options, record, Host, threadsHaveLeft, until } = require('./support.cjs')

const code = (expected) => (error) => error instanceof Error && error.code === expected
const ring = () => new Float64Array(1024)

test('an address that is taken is an error as Node has it', () => {
  const first = new NativeDriver(options())
  const { port } = first.address
  assert.throws(() => new NativeDriver(options({ port })), (error) => {
    const { code, errno, syscall, address } = error
    assert.deepEqual({ code, errno, syscall, address, port: error.port }, {
      code: 'EADDRINUSE', errno: { linux: -98, darwin: -48, win32: -4091 }[process.platform], syscall: 'bind', address: '127.0.0.1', port,
    })
    return error instanceof Error
  })
  assert.equal(nativeLiveness().drivers, 1)
  assert.equal(nativeLiveness().threads, 1)
  first.close()
  assert.throws(() => new NativeDriver(options({ address: '192.0.2.1' })), code('EADDRNOTAVAIL'))
  new NativeDriver(options({ port })).close()
})

test('arguments that the package would not pass are refused', () => {
  for (const over of [{ address: 'localhost' }, { port: 65_536 }, { poolBytes: 1024 }, { cipher: 'rot13' }, { congestionControl: 'none' }]) {
    assert.throws(() => new NativeDriver(options(over)), code('ERR_PACELINE_OPTION'), JSON.stringify(over))
  }
  for (const bytes of [Buffer.alloc(16, 'short'), Buffer.alloc(32)]) {
    assert.throws(() => new NativeDriver(options({ secrets: [bytes] })), code('ERR_PACELINE_SECRET'))
  }
  assert.throws(() => new NativeDriver(), Error)
  const driver = new NativeDriver(options())
  const connect = (peer, address, port, secrets = [secret]) => () => driver.connect(peer, address, port, { secrets, handshakeTimeout: 100, maxBitrate: 0 })
  assert.throws(connect(2, '127.0.0.1', 1), code('ERR_PACELINE_INTERNAL'))
  assert.throws(connect(1, '::1', 1), code('ERR_PACELINE_OPTION'))
  assert.throws(connect(1, '127.0.0.1', 0), code('ERR_PACELINE_OPTION'))
  assert.throws(connect(1, '127.0.0.1', 1, [Buffer.alloc(8)]), code('ERR_PACELINE_SECRET'))
  for (const slab of [Buffer.alloc(8), record(99, 1), record(Op.Open, 2, 4, 1), record(Op.Write, 1, 0, Buffer.alloc(100)).subarray(0, 64)]) {
    assert.throws(() => driver.submit(slab), code('ERR_PACELINE_INTERNAL'))
  }
  const shared = new ArrayBuffer(64 << 10)
  assert.throws(() => driver.drain(new Float64Array(10), Buffer.alloc(64 << 10), 0), code('ERR_PACELINE_INTERNAL'))
  assert.throws(() => driver.drain(new Float64Array(shared), new Uint8Array(shared), 0), code('ERR_PACELINE_INTERNAL'))
  driver.close()
})

test('the clock is on the line of performance.now()', () => {
  const driver = new NativeDriver(options())
  const before = performance.now()
  const now = driver.now()
  const after = performance.now()
  driver.close()
  // The offset is known to half the time of one call of performance.now(), a few µs on a busy machine.
  assert.ok(now > before - 0.2 && now < after + 0.2, `${before} ${now} ${after}`)
})

test('after close() everything is silent, and the last counters stay', async () => {
  const driver = new NativeDriver(options({ address: '::1' }))
  assert.equal(driver.address.family, 'IPv6')
  assert.equal(driver.drain(ring(), Buffer.alloc(1024), 0), 0)
  driver.close()
  driver.close()
  driver.ref()
  driver.unref()
  driver.submit(record(Op.Shutdown, 0))
  driver.write(1, Buffer.alloc(10))
  assert.equal(driver.drain(ring(), Buffer.alloc(1024), 0), 0)
  assert.equal(driver.peerStats(1), undefined)
  assert.equal(driver.peerAddress(1), undefined)
  assert.equal(driver.stats().poolCapacityBytes, 32 << 20)
  assert.deepEqual(nativeLiveness(), NOTHING_ALIVE)
  await threadsHaveLeft()
})

test('peers and streams that fail say so once, and last', async () => {
  const log = (events) => ({ data: (stream, bytes) => events.push([Event.Data, stream, bytes.length]), event: (type, values) => events.push([type, ...values]) })
  const [here, there] = [[], []]
  const receiver = new Host({ secrets: [secret] }, log(there))
  const sender = new Host({}, log(here))
  const last = (events, ...start) => () => start.every((value, at) => events.at(-1)?.[at] === value)

  // Nobody answers on port 9.
  sender.connect(1, 9, 100)
  sender.submit(record(Op.Open, 1, 4, 1))
  assert.deepEqual(sender.driver.peerAddress(1), { address: '127.0.0.1', port: 9 })
  await until(last(here, Event.PeerClosed, 1))
  assert.deepEqual(here, [[Event.Failed, 1, 1, 0], [Event.Closed, 1, 0, 0, 0], [Event.PeerClosed, 1, 1, 0]])
  assert.equal(sender.driver.peerAddress(1), undefined)

  // Nobody is let in before AcceptStreams.
  sender.connect(3, receiver)
  sender.submit(record(Op.Open, 3, 4, 3), record(Op.Write, 3, 0, Buffer.from('hello')))
  await until(last(here, Event.Closed, 3))
  assert.ok(here.some(([type, id, failure]) => type === Event.Failed && id === 3 && failure === 8), 'refused')
  assert.deepEqual(there, [[Event.PeerOpen, 2, 1]])
  assert.equal(sender.driver.peerStats(3).cipher, 'aes-128-gcm')

  // A reset reaches both.
  there.length = here.length = 0
  receiver.submit(record(Op.AcceptStreams, 0, 10))
  sender.submit(record(Op.Open, 5, 4, 3), record(Op.Write, 5, 0, Buffer.alloc(3_000)))
  await until(last(there, Event.Data))
  sender.submit(record(Op.Reset, 5, 0, 777))
  await until(last(here, Event.Closed, 5))
  await until(last(there, Event.Closed))
  assert.deepEqual(there.filter(([type]) => type === Event.Failed), [[Event.Failed, there[0][1], 6, 777]])
  assert.deepEqual(here.filter(([type]) => type === Event.Failed), [[Event.Failed, 5, 7, 777]])

  sender.submit(record(Op.ClosePeer, 3))
  await until(last(here, Event.PeerClosed, 3, 0, 0))
  sender.submit(record(Op.Shutdown, 0))
  await until(last(here, Event.Drained))
  // Also keeps both from the collector until here.
  for (const host of [sender, receiver]) host.close()
  assert.deepEqual(nativeLiveness(), NOTHING_ALIVE)
})

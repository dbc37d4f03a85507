'use strict'
const assert = require('node:assert/strict')
const { spawnSync } = require('node:child_process')
const test = require('node:test')
const { Worker } = require('node:worker_threads')
const { NativeDriver, nativeLiveness, NOTHING_ALIVE, options, secret, Host, ioThreads, threadsHaveLeft, until } = require('./support.cjs')

const SUPPORT = JSON.stringify(require.resolve('./support.cjs'))
const SOME_BYTES = 1_000_000
const ROUNDS = 50

/** Until the collector has done what it is to do. */
const collect = (condition) => until(() => (globalThis.gc(), condition()))

test('worker.terminate() in mid-transfer', { timeout: 120_000 }, async () => {
  const source = `
    const { parentPort } = require('node:worker_threads')
    let told = false
    globalThis.keep = require(${SUPPORT}).endlessTransfer((bytes) => {
      if (!told && bytes > ${SOME_BYTES}) told = parentPort.postMessage(bytes) === undefined
    })`
  for (let round = 0; round < ROUNDS; round++) {
    const worker = new Worker(source, { eval: true })
    await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))
    assert.equal(ioThreads(), 2)
    assert.equal(nativeLiveness().drivers, 2)
    await worker.terminate()
    assert.deepEqual(nativeLiveness(), NOTHING_ALIVE, `round ${round}`)
    await threadsHaveLeft()
  }
})

/** Runs `act` in a process of its own in mid-transfer; returns how it ended. */
function inMidTransfer(act) {
  const source = `
    let done = false
    const pair = globalThis.keep = require(${SUPPORT}).endlessTransfer((bytes) => {
      if (done || bytes < ${SOME_BYTES}) return
      done = true
      const { sender, receiver } = pair
      ${act}
    })`
  const { status, signal, stderr } = spawnSync(process.execPath, ['-e', source], { encoding: 'utf8', timeout: 20_000 })
  return { status, signal, stderr }
}

test('every way to end a process in mid-transfer', () => {
  const quiet = (status) => ({ status, signal: null, stderr: '' })
  assert.deepEqual(inMidTransfer('process.exit(7)'), quiet(7))
  assert.deepEqual(inMidTransfer('process.on("exit", () => { sender.driver.stats(); sender.close() }); process.exit(9)'), quiet(9))
  assert.deepEqual(inMidTransfer('sender.close(); receiver.close()'), quiet(0))
  assert.deepEqual(inMidTransfer('sender.closed = receiver.closed = true; sender.driver.unref(); receiver.driver.unref()'), quiet(0))
  const thrown = inMidTransfer('throw new Error("on purpose")')
  assert.equal(thrown.status, 1)
  assert.match(thrown.stderr, /on purpose/)
})

test('an open driver keeps the process alive until unref() or close()', () => {
  const run = (act) => {
    const source = `
      const { NativeDriver, options } = require(${SUPPORT})
      const driver = globalThis.keep = new NativeDriver(options())
      // Turns, not time: a process that is to end does so in its first one, however long that takes on a busy machine.
      let turns = 0
      const turn = () => (++turns > 60 ? process.exit(5) : setTimeout(turn, 5).unref())
      turn()
      ${act}`
    return spawnSync(process.execPath, ['-e', source], { timeout: 20_000 }).status
  }
  assert.equal(run(''), 5)
  assert.equal(run('driver.unref(); driver.unref()'), 0)
  assert.equal(run('driver.unref(); driver.ref()'), 5)
  assert.equal(run('driver.close()'), 0)
  assert.equal(run('driver.unref(); driver.ref(); driver.close()'), 0)
})

test('a forgotten driver is closed by the garbage collector', { skip: globalThis.gc === undefined && 'needs --expose-gc' }, async () => {
  const hosts = Array.from({ length: 20 }, () => new Host({ secrets: [secret] }, {}))
  assert.equal(nativeLiveness().threads, 20)
  hosts.length = 0
  await collect(() => nativeLiveness().drivers === 0)
  assert.deepEqual(nativeLiveness(), NOTHING_ALIVE)
  await threadsHaveLeft()
})

test('thousands of drivers leave nothing', { skip: globalThis.gc === undefined && 'needs --expose-gc' }, async () => {
  const round = async () => {
    for (let count = 0; count < 200; count++) new NativeDriver(options({ secrets: [secret] })).close()
    await new Promise((resolve) => setTimeout(resolve, 2))
    globalThis.gc()
  }
  for (let count = 0; count < 10; count++) await round()
  // A leak grows in every window; the heap of JavaScript only in some.
  const grown = []
  for (let window = 0; window < 5; window++) {
    const before = process.memoryUsage.rss()
    for (let count = 0; count < 5; count++) await round()
    grown.push(process.memoryUsage.rss() - before)
  }
  // Less than half a KiB each: a leaked closure, hook or queue would be more.
  assert.ok(Math.min(...grown) < 512 * 1_000, `${grown} bytes for 1,000 drivers`)
  assert.deepEqual(nativeLiveness(), NOTHING_ALIVE)
})

// A driver without the package above it: what the tests of the border need of `packages/paceline/src/{driver,events}.ts`.
'use strict'
const { randomBytes } = require('node:crypto')
const { readdirSync, readFileSync } = require('node:fs')
const { join } = require('node:path')

/** What `npm run build` made, or the one that is named. */
function builtAddon() {
  const folder = join(__dirname, '../../../packages/paceline/binding')
  const name = readdirSync(folder).find((file) => file.endsWith('.node'))
  if (name === undefined) throw new Error(`expected an addon in ${folder}, got none: npm run build`)
  return join(folder, name)
}
const path = process.env.PACELINE_ADDON ?? builtAddon()
const addon = { exports: {} }
process.dlopen(addon, path)
const { NativeDriver, nativeLiveness } = addon.exports

const Op = {
  Open: 1, Write: 2, Finish: 3, Reset: 4, StopReading: 5, Consume: 6, WantRoom: 7, WantAcknowledged: 8, Record: 9,
  SetPriority: 10, SetMaxBitrate: 11, AcceptStreams: 12, ClosePeer: 13, Shutdown: 14,
}
const Event = {
  PeerOpen: 1, PeerClosed: 2, StreamAccepted: 3, Data: 4, End: 5, Progress: 6, Failed: 7, Closed: 8, Completion: 9,
  Skipped: 10, Drained: 11,
}
const NOTHING_ALIVE = { drivers: 0, threads: 0, pools: 0, lentDescriptors: 0, poolBytes: 0 }
const RING_ELEMENTS = 16 * 1024
const SLAB_BYTES = 256 * 1024
const MIN_SLAB_BYTES = 32 * 1024

/** Made once a run; threads and child processes find it in the environment. */
process.env.PACELINE_BOUNDARY_SECRET ??= randomBytes(32).toString('hex')
const secret = Buffer.from(process.env.PACELINE_BOUNDARY_SECRET, 'hex')

function options(over = {}) {
  return {
    address: '127.0.0.1', port: 0, secrets: [], maxBitrate: 0, maxInFlightTransmissions: 16, congestionControl: 'bbr',
    cipher: 'aes-128-gcm', idleTimeout: 30_000, keepAlive: true, maxIncomingStreams: 1024, maxStreams: 65_536,
    poolBytes: 32 << 20, sendBufferBytes: 4 << 20, initialWindow: 256 << 10, maxWindow: 16 << 20, maxScheduleAhead: 2,
    maxDatagramSize: 0, disableGso: false, disableGro: false, onWake() {}, ...over,
  }
}

/** One encoded command; a number as body is a u64. */
function record(op, id, arg = 0, body = Buffer.alloc(0)) {
  if (!Buffer.isBuffer(body)) {
    const number = Buffer.alloc(8)
    number.writeBigUInt64LE(BigInt(body))
    body = number
  }
  const bytes = Buffer.alloc(16 + ((body.length + 7) & ~7))
  for (const [at, word] of [op, id, body.length, arg].entries()) bytes.writeUInt32LE(word, at * 4)
  body.copy(bytes, 16)
  return bytes
}

/** Drains once per turn of the event loop while there is news. `on.data(stream, bytes)`, `on.event(type, values)`. */
class Host {
  closed = false
  #ring = new Float64Array(RING_ELEMENTS)
  #slab = Buffer.alloc(0)
  #slabAt = 0
  #scheduled = false

  constructor(over, on) {
    this.on = on
    // As the package does: the callback must not hold what holds the driver.
    const self = new WeakRef(this)
    this.driver = new NativeDriver(options({ ...over, onWake: () => self.deref()?.wake() }))
  }

  wake() {
    if (!this.#scheduled) this.#turn()
  }

  connect(peer, host, handshakeTimeout = 30_000) {
    this.driver.connect(peer, '127.0.0.1', host.driver?.address.port ?? host, { secrets: [secret], handshakeTimeout, maxBitrate: 0 })
  }

  submit(...records) {
    this.driver.submit(Buffer.concat(records))
  }

  close() {
    this.closed = true
    this.driver.close()
  }

  #turn() {
    this.#scheduled = false
    if (this.closed) return
    if (this.#slab.length - this.#slabAt < MIN_SLAB_BYTES) {
      this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES)
      this.#slabAt = 0
    }
    const length = this.driver.drain(this.#ring, this.#slab, this.#slabAt)
    if (length === 0) return
    this.#scheduled = true
    setImmediate(() => this.#turn())
    for (let at = 0; at < length; ) {
      const [type, size] = this.#ring.subarray(at, at + 2)
      const values = [...this.#ring.subarray(at + 2, at + size)]
      at += size
      if (type === Event.Data) {
        this.#slabAt = values[1] + values[2]
        this.on.data(values[0], this.#slab.subarray(values[1], this.#slabAt))
      } else {
        this.on.event(type, values)
      }
    }
  }
}

/** Two hosts and a stream that never ends; `onBytes(total)` after each arrival. */
function endlessTransfer(onBytes) {
  const WINDOW = 4 << 20
  const chunk = Buffer.alloc(64 << 10, 7)
  let [received, sent, sealed] = [0, 0, 0]
  const receiver = new Host({ secrets: [secret] }, {
    data(stream, bytes) {
      receiver.submit(record(Op.Consume, stream, 0, bytes.length))
      onBytes((received += bytes.length))
    },
    event() {},
  })
  receiver.submit(record(Op.AcceptStreams, 0, 100))
  const write = () => {
    for (; sent - sealed < WINDOW; sent += chunk.length) sender.driver.write(1, chunk)
    sender.submit(record(Op.WantRoom, 1, 0, WINDOW / 2))
  }
  const sender = new Host({}, {
    data() {},
    event(type, values) {
      if (type !== Event.Progress) return
      sealed = values[1]
      write()
    },
  })
  sender.connect(1, receiver)
  sender.submit(record(Op.Open, 1, 4, 1), record(Op.Record, 1))
  write()
  return { sender, receiver }
}

/** Threads of this process that are ours. Linux only; elsewhere what the addon itself counts. */
function ioThreads() {
  if (process.platform !== 'linux') return nativeLiveness().threads
  const names = readdirSync('/proc/self/task').map((task) => {
    try {
      return readFileSync(`/proc/self/task/${task}/comm`, 'utf8').trim()
    } catch {
      return 'ended meanwhile'
    }
  })
  return names.filter((name) => name === 'paceline-io').length
}

/** A joined thread leaves the system's list a moment after the join; on a busy machine, when it has its next turn. */
const threadsHaveLeft = () => until(() => ioThreads() === 0)

async function until(condition, ms = 30_000) {
  const end = performance.now() + ms
  while (!condition()) {
    if (performance.now() > end) throw new Error(`still not so after ${ms} ms: ${condition}`)
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
}

module.exports = { NativeDriver, nativeLiveness, Op, Event, NOTHING_ALIVE, secret, options, record, Host, endlessTransfer, ioThreads, threadsHaveLeft, until }

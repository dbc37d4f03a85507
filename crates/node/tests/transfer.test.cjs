'use strict'
const assert = require('node:assert/strict')
const { createHash, randomBytes } = require('node:crypto')
const test = require('node:test')
const { nativeLiveness, Op, Event, NOTHING_ALIVE, secret, record, Host, threadsHaveLeft } = require('./support.cjs')

const WINDOW = 4 << 20
/** Nothing else would hold hosts that only wait: the callback must not, and a promise that nobody resolves does not. */
const busy = new Set()

/** Sends `total` bytes in chunks; resolves when both sides have said Closed and all records have come. */
function transfer(total, chunkBytes) {
  const pattern = randomBytes(1 << 20)
  const [hashSent, hashReceived] = [createHash('sha1'), createHash('sha1')]
  const seen = { received: 0, order: [], records: 0, skipped: 0, packetBytes: 0, early: 0, finAcknowledged: false }
  return new Promise((resolve) => {
    let [sent, sealed, expected, finished] = [0, 0, Infinity, false]
    const closed = new Set()
    const settle = () => {
      if (closed.size < 2 || seen.records + seen.skipped < expected) return
      const path = sender.driver.peerStats(1)
      const stats = sender.driver.stats()
      for (const host of busy) host.close()
      busy.clear()
      resolve({ ...seen, expected, path, stats, equal: hashSent.digest('hex') === hashReceived.digest('hex') })
    }
    const receiver = new Host({ secrets: [secret] }, {
      data(stream, bytes) {
        seen.received += bytes.length
        hashReceived.update(bytes)
        receiver.submit(record(Op.Consume, stream, 0, bytes.length))
        if (seen.order.at(-1) !== Event.Data) seen.order.push(Event.Data)
      },
      event(type, [stream]) {
        if (type !== Event.Progress) seen.order.push(type)
        if (type === Event.End) receiver.submit(record(Op.Finish, stream))
        if (type === Event.Closed) settle(closed.add('receiver'))
      },
    })
    receiver.submit(record(Op.AcceptStreams, 0, 1))
    const write = () => {
      while (sent < total && sent - sealed < WINDOW) {
        const at = sent % (pattern.length - chunkBytes)
        const chunk = pattern.subarray(at, at + Math.min(chunkBytes, total - sent))
        if (chunk.length >= 16 << 10) sender.driver.write(1, chunk)
        else sender.submit(record(Op.Write, 1, 0, chunk))
        hashSent.update(chunk)
        sent += chunk.length
      }
      if (sent < total) sender.submit(record(Op.WantRoom, 1, 0, WINDOW / 2))
      else if (!finished) sender.submit(record(Op.Finish, 1), record(Op.WantAcknowledged, 1, 0, 2n ** 64n - 1n))
      finished = sent === total
    }
    const sender = new Host({}, {
      data() {},
      event(type, [, a, b, c, ...rest]) {
        if (type === Event.Progress) {
          assert.ok(a >= sealed && b <= a, 'totals never go back')
          sealed = a
          seen.finAcknowledged ||= c === 1
          write()
        } else if (type === Event.Completion) {
          // outcome, scheduledAt, sentAt, errno, packets
          seen.records += 1
          if (a === 0 && c < b) seen.early += 1
          for (let at = 1; at < rest.length; at += 4) if ((rest[at + 3] & 2) === 0) seen.packetBytes += rest[at + 2]
          settle()
        } else if (type === Event.Skipped) {
          seen.skipped += a
        } else if (type === Event.Closed) {
          expected = a - b
          settle(closed.add('sender'))
        }
      },
    })
    busy.add(sender).add(receiver)
    sender.connect(1, receiver)
    sender.submit(record(Op.Open, 1, 4, 1), record(Op.Record, 1))
    write()
  })
}

for (const [total, chunkBytes] of [[1_000, 1_000], [50_000_000, 64 << 10], [5_000_000, 1_000], [20_000_000, 1_000_000]]) {
  test(`${total} bytes in chunks of ${chunkBytes}`, { timeout: 60_000 }, async () => {
    const seen = await transfer(total, chunkBytes)
    assert.equal(seen.received, total)
    assert.ok(seen.equal, 'the same bytes')
    assert.deepEqual(seen.order, [Event.PeerOpen, Event.StreamAccepted, Event.Data, Event.End, Event.Closed])
    assert.ok(seen.finAcknowledged)
    assert.equal(seen.records + seen.skipped, seen.expected, 'every transmission once')
    assert.equal(seen.expected, seen.stats.transmissions)
    assert.equal(seen.early, 0, 'nothing left before its time')
    if (seen.skipped === 0) assert.ok(seen.packetBytes >= total, 'the records name every byte')
    assert.ok(seen.path.smoothedRttUs > 0 && seen.path.pacingRateBps > 0)
    assert.deepEqual(nativeLiveness(), NOTHING_ALIVE)
    await threadsHaveLeft()
  })
}

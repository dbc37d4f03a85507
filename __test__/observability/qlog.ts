import { once } from 'node:events'
import { createWriteStream, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join as joinPath } from 'node:path'
import { PassThrough, Writable } from 'node:stream'
import test, { type ExecutionContext } from 'ava'
import { Completions, type PeerStats } from '../../packages/paceline/src/index.js'
import { writeQlog } from '../../packages/paceline/src/qlog.js'
import { noPathStats } from '../../packages/paceline/src/stats.js'
import { joinStreams, until } from '../support/endpoints.js'

interface Event {
  time: number
  name: string
  data: {
    header?: { packet_type: string; packet_number: number }
    raw?: { length: number; payload_length: number }
    frames?: { frame_type: string; stream_id?: number; offset?: number; length?: number; fin?: boolean }[]
    count?: number
    is_retransmission?: boolean
    smoothed_rtt?: number
    pacing_rate?: number
  }
}

interface Header {
  qlog_version: string
  qlog_format: string
  title: string
  trace: { vantage_point: { type: string }; common_fields: { time_format: string; reference_time: number; protocol_type: string[] } }
}

/** RFC 7464: each text between a record separator and a line feed; anything else is an error. */
function sequence(text: string): [Header, Event[]] {
  const records: unknown[] = []
  for (let at = 0; at < text.length; ) {
    if (text[at] !== '\x1e') throw new Error(`no record separator at ${at}`)
    const end = text.indexOf('\n', at)
    if (end < 0) throw new Error('the last record has no end')
    const json = text.slice(at + 1, end)
    if (json.includes('\x1e')) throw new Error(`a record separator within ${json}`)
    records.push(JSON.parse(json))
    at = end + 1
  }
  const [header, ...events] = records
  return [header as Header, events as Event[]]
}

/** What qvis (quiclog/qvis, QlogLoaderV2 and its graphs) asks of a file of version 0.3; what is not so, it leaves out or complains about. */
function asQvisReads(t: ExecutionContext, { trace }: Header, events: readonly Event[]): void {
  t.true(['client', 'server'].includes(trace.vantage_point.type))
  t.is(trace.common_fields.time_format, 'relative')
  let last = 0
  for (const { time, name, data } of events) {
    t.true(time >= last, `${name} at ${time} after ${last}`)
    last = time
    t.regex(name, /^[a-z]+:[a-z_]+$/)
    if (data.header !== undefined) t.true(['1RTT', 'unknown'].includes(data.header.packet_type) && Number.isSafeInteger(data.header.packet_number))
    if (name === 'transport:packet_sent') t.true((data.raw?.length ?? 0) > (data.raw?.payload_length ?? Infinity), 'the size of the packet')
  }
}

function folder(t: ExecutionContext): string {
  const path = mkdtempSync(joinPath(tmpdir(), 'paceline-qlog-'))
  t.teardown(() => {
    rmSync(path, { recursive: true })
  })
  return path
}

test('a file of a whole stream reads back: every packet once, with times and frames', async (t) => {
  const { local, remote, network, senderDriver } = await joinStreams(t)
  senderDriver.pathCounts = { path: 1, smoothedRttUs: 20_000, minRttUs: 10_000, congestionWindow: 15_000, pacingRateBps: 1e6 }
  remote.resume()
  remote.end()
  local.resume()
  await local.flush()
  const file = joinPath(folder(t), 'stream.sqlog')
  const began = performance.timeOrigin + performance.now()
  const out = createWriteStream(file)
  const stored = once(out, 'close')
  const logged = local.qlog(out, { title: 'upload 17', interval: 1 })
  const bytes = 300_000
  await local.writer.write(Buffer.alloc(bytes / 2))
  senderDriver.pathCounts = { path: 1, smoothedRttUs: 25_000, minRttUs: 10_000, congestionWindow: 15_000, pacingRateBps: 1e6 }
  await local.flush()
  network.failSends = 1
  await local.writer.write(Buffer.alloc(bytes / 2))
  await local.close()
  const result = await logged
  await stored
  const [header, events] = sequence(readFileSync(file, 'utf8'))
  t.like(header, { qlog_version: '0.3', qlog_format: 'JSON-SEQ', title: 'upload 17' })
  t.like(header.trace, { vantage_point: { type: 'client' }, common_fields: { time_format: 'relative', protocol_type: ['QUIC'] } })
  t.true(Math.abs(header.trace.common_fields.reference_time - began) < 60_000)
  t.deepEqual(result, { written: events.length + 1, dropped: 0 })
  const sent = events.filter(({ name }) => name === 'transport:packet_sent')
  asQvisReads(t, header, events)
  let offset = 1
  const byOffset = [...sent].sort((a, b) => (a.data.frames?.[0]?.offset ?? 0) - (b.data.frames?.[0]?.offset ?? 0))
  for (const { time, data } of byOffset) {
    t.true(time < 60_000)
    t.is(data.raw?.length, (frameLength(data) ?? 0) + 64)
    t.is(data.header?.packet_type, data.is_retransmission === true ? 'unknown' : '1RTT')
    const frame = data.frames?.[0]
    t.like(frame, { frame_type: 'stream', stream_id: local.id, offset })
    offset += frame?.length ?? 0
  }
  t.is(offset, 1 + bytes, 'every byte once')
  t.is(sent.filter(({ data }) => data.frames?.[0]?.fin).length, 1)
  t.true(sent.some(({ data }) => data.is_retransmission === true), 'the failed burst was sent again')
  t.is(events.filter(({ name }) => name === 'paceline:transmission_failed').length, 1)
  const metrics = events.filter(({ name }) => name === 'recovery:metrics_updated')
  t.like(metrics[0]?.data, { smoothed_rtt: 20, min_rtt: 10, congestion_window: 15_000, pacing_rate: 1e6 })
  t.deepEqual(metrics.slice(1).map(({ data }) => data), [{ smoothed_rtt: 25 }], 'then only what changed')
  t.is(events.at(-1)?.name, 'paceline:log_ended')
})

const frameLength = ({ frames }: Event['data']) => frames?.[0]?.length

test('times never go back, and have no digits but those that were measured', async (t) => {
  const completions = new Completions({ waiting: 0 }, 0, () => undefined)
  const log = new PassThrough()
  let now = 100.1
  const path = () => ({ ...noPathStats(), at: 0, elapsed: 0, smoothedRttUs: 110.755 }) as unknown as PeerStats
  const logged = writeQlog({ id: 7, vantage: 'client', completions, now: () => now, path }, log, { title: 'x', interval: 50, end: true })
  now = 500
  const flags = 8 | (1_472 << 16)
  // The first left before the log began; the third before we heard that the second was taken back.
  completions.push(Float64Array.of(0, 99, 99.5, 0, 5, 0, 1_408, flags), 7)
  completions.push(Float64Array.of(2, 600, NaN, 0, 6, 1_408, 1_408, flags), 7)
  completions.push(Float64Array.of(0, 300.2, 300.3, 0, 7, 2_816, 1_408, flags), 7)
  completions.end(0)
  await logged
  const text = Buffer.concat(await log.toArray()).toString()
  const [header, events] = sequence(text)
  asQvisReads(t, header, events)
  t.deepEqual(events.filter(({ name }) => name !== 'recovery:metrics_updated').map(({ time }) => time), [0, 0, 200.2, 399.9])
  t.notRegex(text, /\d\.\d{7}/)
})

test('a copy says which packet was lost', async (t) => {
  const completions = new Completions({ waiting: 0 }, 0, () => undefined)
  const log = new PassThrough()
  const source = { id: 7, vantage: 'server' as const, completions, now: () => 100, path: () => ({ ...noPathStats(), at: 0, elapsed: 0 }) as unknown as PeerStats }
  const logged = writeQlog(source, log, { title: 'x', interval: 50, end: true })
  const size = (bytes: number) => bytes << 16
  const [sent, flags] = [0, { ect0: 8, retransmission: 2, recovery: 4 }]
  completions.push(Float64Array.of(sent, 101, 102, 0, 5, 0, 1_408, flags.ect0 | size(1_472), 6, 1_408, 10, flags.ect0 | size(74)), 7)
  completions.push(Float64Array.of(sent, 201, 202, 0, 1, 1_408, 10, flags.ect0 | flags.retransmission | flags.recovery | size(74)), 7)
  completions.push(Float64Array.of(2, 201, NaN, 0, 7, 1_418, 10, flags.ect0), 7)
  completions.end(0)
  await logged
  const [header, events] = sequence(Buffer.concat(await log.toArray()).toString())
  t.is(header.trace.vantage_point.type, 'server')
  asQvisReads(t, header, events)
  t.deepEqual(events.map(({ name }) => name).filter((name) => name !== 'recovery:metrics_updated'), [
    'transport:packet_sent', 'transport:packet_sent', 'recovery:packet_lost', 'transport:packet_sent', 'paceline:transmission_cancelled', 'paceline:log_ended',
  ])
  t.like(events.find(({ name }) => name === 'recovery:packet_lost'), { time: 102, data: { header: { packet_type: '1RTT', packet_number: 6 } } })
})

test('a writable that takes nothing holds nothing back: events are left out and counted', async (t) => {
  const { local, remote } = await joinStreams(t)
  remote.resume()
  remote.end()
  local.resume()
  let release: (() => void) | undefined
  const parts: string[] = []
  const stuck = new Writable({
    highWaterMark: 1,
    decodeStrings: false,
    write: (chunk: string, _encoding, done) => {
      parts.push(chunk)
      if (release === undefined) release = done
      else done()
    },
  })
  const logged = local.qlog(stuck)
  await local.writer.write(Buffer.alloc(16 << 20))
  await local.close()
  const { written, dropped } = await logged
  const packets = local.stats().packets - 1
  t.true(dropped > 1_000, `${dropped} dropped`)
  t.true(stuck.writableLength < 2 << 20, 'and what waits is bounded')
  t.true(written + dropped >= packets, 'each is one or the other')
  release?.()
  await until(t, () => stuck.writableFinished, 'the log is ended')
  const [, events] = sequence(parts.join(''))
  t.is(events.length + 1, written)
})

test('what was left out is told in the log when it goes on', async (t) => {
  const { local, remote } = await joinStreams(t)
  remote.resume()
  remote.end()
  local.resume()
  const log = new PassThrough({ highWaterMark: 1 })
  const logged = local.qlog(log)
  await local.writer.write(Buffer.alloc(16 << 20))
  await local.flush()
  const parts: Buffer[] = []
  log.on('data', (chunk: Buffer) => parts.push(chunk))
  await until(t, () => log.writableLength === 0, 'the log is taken')
  await local.writer.write('x')
  await local.close()
  const { dropped } = await logged
  const [, events] = sequence(Buffer.concat(parts).toString())
  const told = events.filter(({ name }) => name === 'paceline:events_dropped').reduce((sum, { data }) => sum + (data.count ?? 0), 0)
  t.true(dropped > 0)
  t.is(told, dropped)
})

test('a writable that fails ends the log and nothing else', async (t) => {
  const { local, remote } = await joinStreams(t)
  remote.resume()
  remote.end()
  local.resume()
  const failing = new Writable({ write: (_chunk, _encoding, done) => done(new Error('disk full')) })
  const logged = local.qlog(failing)
  await local.writer.write(Buffer.alloc(1 << 20))
  t.like(await local.close(), { undelivered: 0 })
  t.true((await logged).dropped > 0)
})

test('wrong options are refused; end: false leaves the writable open', async (t) => {
  const { local, remote } = await joinStreams(t)
  remote.resume()
  remote.end()
  local.resume()
  await t.throwsAsync(local.qlog(5 as never), { code: 'ERR_PACELINE_OPTION', message: 'writable: expected a Writable of node:stream, got 5' })
  await t.throwsAsync(local.qlog(new PassThrough(), { interval: 0 }), { code: 'ERR_PACELINE_OPTION', message: /^options\.interval: / })
  await t.throwsAsync(local.qlog(new PassThrough(), { end: 'no' as never }), { code: 'ERR_PACELINE_OPTION', message: 'options.end: expected true or false, got "no"' })
  await t.throwsAsync(local.qlog(new PassThrough(), { title: null as never }), { code: 'ERR_PACELINE_OPTION', message: 'options.title: expected a string, got null' })
  const log = new PassThrough()
  log.resume()
  const logged = local.qlog(log, { end: false })
  await local.close()
  await logged
  t.false(log.writableEnded)
  // Nothing of ours stays there, to swallow an error.
  t.is(log.listenerCount('error'), 0)
})

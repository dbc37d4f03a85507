// Draws docs/pictures/*.svg from transfers that are made here and now: what `stream.completions()` says of them.
// usage: npm run pictures [-- --out FOLDER]
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { Endpoint, generateSecret } from 'paceline'
import { root } from './run.mjs'

const { values } = parseArgs({ args: isMainThread ? process.argv.slice(2) : [], options: { out: { type: 'string', default: join(root, 'docs', 'pictures') } } })
const out = resolve(values.out)
const MB = 1e6

/** Middle tones, which can be read on white and on black alike. */
const INK = '#7d8590'
const FAINT = '#7d859055'
const BLUE = '#3b82f6'
const ORANGE = '#e0731d'
const FONT = 'font-family="ui-sans-serif, system-ui, sans-serif"'

/** A transfer over the loopback: what became of each transmission, in the order they left. */
async function transfer({ bytes, maxBitrate, blockAfterMs }) {
  const secret = generateSecret()
  // In a thread of its own: an event loop that is blocked here must not be the receiver's, too.
  const receiver = new Worker(new URL(import.meta.url), { workerData: { secret } })
  const ended = once(receiver, 'exit')
  const sender = await Endpoint.bind({ host: '127.0.0.1' })
  try {
    const [port] = await once(receiver, 'message')
    const peer = await sender.connect('127.0.0.1', port, { secret, maxBitrate })
    const stream = peer.openStream()
    const records = []
    const completions = stream.completions()
    const recording = (async () => {
      for await (const { outcome, scheduledAt, sentAt, bytes: payload, packetCount } of completions) {
        if (outcome === 'sent') records.push({ scheduledAt, sentAt, bytes: payload, packets: packetCount })
      }
    })()
    let blocked
    const blocking = (async () => {
      if (blockAfterMs === undefined) return
      await sleep(blockAfterMs)
      const from = performance.now()
      while (performance.now() < from + 300);
      blocked = { from, to: performance.now() }
    })()
    const chunk = Buffer.alloc(64 << 10)
    for (let rest = bytes; rest > 0; rest -= chunk.length) await stream.writer.write(rest < chunk.length ? chunk.subarray(0, rest) : chunk)
    await stream.close()
    await Promise.all([recording, ended, blocking])
    return { records, blocked, skipped: completions.skipped }
  } finally {
    await Promise.all([sender.close(), receiver.terminate()])
  }
}

/** The other side: reads one stream to its end. */
async function receive(secret) {
  const endpoint = await Endpoint.listen({ host: '127.0.0.1', port: 0, secret })
  const streams = endpoint.streams()
  const first = streams.next()
  // Streams are refused until somebody waits for them; the port is told after that.
  await nextTurn()
  parentPort.postMessage(endpoint.address.port)
  const { value: stream } = await first
  for await (const _ of stream);
  await stream.close()
  await endpoint.close()
}

const number = (value, digits = 0) => value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits })
const quantile = (sorted, q) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))]
const text = (x, y, content, { anchor = 'start', size = 13, fill = INK, weight = 400 } = {}) =>
  `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}" font-size="${size}" font-weight="${weight}" fill="${fill}" ${FONT}>${content}</text>`
const line = (x1, y1, x2, y2, stroke = FAINT, width = 1) =>
  `<line x1="${x1.toFixed(1)}" y1="${y1.toFixed(1)}" x2="${x2.toFixed(1)}" y2="${y2.toFixed(1)}" stroke="${stroke}" stroke-width="${width}"/>`

/** Round steps for an axis: about `count` of them. */
function ticks(max, count) {
  const rough = max / count
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough)
  return Array.from({ length: Math.floor(max / step + 1e-9) + 1 }, (_, at) => at * step)
}

const WIDTH = 760
const HEIGHT = 340
const AREA = { left: 62, right: 740, top: 56, bottom: 288 }

/** A frame with axes; `draw` gets the two scales. */
function plot({ title, caption, xMax, yMax, xLabel, yLabel, draw }) {
  const x = (value) => AREA.left + (value / xMax) * (AREA.right - AREA.left)
  const y = (value) => AREA.bottom - (value / yMax) * (AREA.bottom - AREA.top)
  const parts = [
    text(AREA.left, 22, title, { size: 15, weight: 600 }),
    text(AREA.left, 42, caption, { size: 12 }),
    ...ticks(yMax, 5).flatMap((value) => [line(AREA.left, y(value), AREA.right, y(value)), text(AREA.left - 8, y(value) + 4, number(value), { anchor: 'end', size: 12 })]),
    ...ticks(xMax, 8).map((value) => text(x(value), AREA.bottom + 18, number(value, value % 1 === 0 ? 0 : 1), { anchor: 'middle', size: 12 })),
    line(AREA.left, AREA.bottom, AREA.right, AREA.bottom, INK),
    text((AREA.left + AREA.right) / 2, AREA.bottom + 40, xLabel, { anchor: 'middle', size: 12 }),
    `<g transform="translate(16 ${(AREA.top + AREA.bottom) / 2}) rotate(-90)">${text(0, 0, yLabel, { anchor: 'middle', size: 12 })}</g>`,
    ...draw(x, y),
  ]
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${title}: ${caption}">\n${parts.join('\n')}\n</svg>\n`
}

/** The first milliseconds of a steady transfer: the plan as a step line, what left as dots. */
function scheduledAndSent({ records }, bitrate) {
  // Past the beginning, where rates are still searched for.
  const steady = records.slice(Math.floor(records.length / 2))
  const begin = steady[0].scheduledAt
  const window = 20
  const shown = steady.filter(({ scheduledAt }) => scheduledAt - begin < window)
  let sum = 0
  const points = shown.map((record) => ({ ...record, sum: (sum += record.bytes) / 1e3 }))
  const errors = steady.map(({ scheduledAt, sentAt }) => (sentAt - scheduledAt) * 1e3).sort((a, b) => a - b)
  return plot({
    title: `Scheduled and sent: one stream at ${number(bitrate / MB)} Mbit/s`,
    caption: `${points.length} transmissions; sent after schedule: median ${number(quantile(errors, 0.5))} µs, p99 ${number(quantile(errors, 0.99))} µs of ${number(errors.length)}`,
    xMax: window,
    yMax: (sum / 1e3) * 1.05,
    xLabel: 'ms',
    yLabel: 'KB of the stream',
    draw: (x, y) => [
      `<path d="M${x(0).toFixed(1)} ${y(0).toFixed(1)}${points.map((point) => `H${x(point.scheduledAt - begin).toFixed(1)}V${y(point.sum).toFixed(1)}`).join('')}" fill="none" stroke="${BLUE}" stroke-width="2"/>`,
      ...points.map((point) => `<circle cx="${x(Math.min(window, point.sentAt - begin)).toFixed(1)}" cy="${y(point.sum).toFixed(1)}" r="3.2" fill="${ORANGE}"/>`),
      ...legend([[BLUE, 'scheduled'], [ORANGE, 'sent']]),
    ],
  })
}

function legend(entries) {
  return entries.flatMap(([colour, label], at) => [
    `<rect x="${AREA.left + 14 + at * 110}" y="${AREA.top + 6}" width="12" height="12" rx="2" fill="${colour}"/>`,
    text(AREA.left + 32 + at * 110, AREA.top + 16, label, { size: 12 }),
  ])
}

/** How many packets leave as one train, by rate. */
function trains(runs) {
  const rows = runs.map(({ label, records }) => {
    const lengths = records.slice(Math.floor(records.length / 4)).map(({ packets }) => packets).sort((a, b) => a - b)
    return { label, low: quantile(lengths, 0.1), median: quantile(lengths, 0.5), high: quantile(lengths, 0.9), count: lengths.length }
  })
  const xMax = Math.max(...rows.map(({ high }) => high)) * 1.12
  const step = (AREA.bottom - AREA.top) / rows.length
  const x = (value) => AREA.left + 60 + (value / xMax) * (AREA.right - AREA.left - 60)
  const title = 'Train lengths: packets of one transmission, by rate'
  const caption = 'Median; orange: 10th to 90th percentile. Slow streams leave in small pieces, fast ones in long trains.'
  const parts = [
    text(AREA.left, 22, title, { size: 15, weight: 600 }),
    text(AREA.left, 42, caption, { size: 12 }),
    ...ticks(xMax, 8).flatMap((value) => [line(x(value), AREA.top, x(value), AREA.bottom), text(x(value), AREA.bottom + 18, number(value), { anchor: 'middle', size: 12 })]),
    ...rows.flatMap(({ label, low, median, high }, at) => {
      const middle = AREA.top + (at + 0.5) * step
      return [
        text(AREA.left + 48, middle + 4, label, { anchor: 'end', size: 12 }),
        `<rect x="${x(0).toFixed(1)}" y="${(middle - 10).toFixed(1)}" width="${(x(median) - x(0)).toFixed(1)}" height="20" fill="${BLUE}"/>`,
        line(x(low), middle, Math.max(x(high), x(low) + 2), middle, ORANGE, 4),
        text(x(Math.max(median, high)) + 10, middle + 4, number(median), { size: 12 }),
      ]
    }),
    line(x(0), AREA.bottom, AREA.right, AREA.bottom, INK),
    text((AREA.left + AREA.right) / 2, AREA.bottom + 40, 'packets', { anchor: 'middle', size: 12 }),
  ]
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${title}">\n${parts.join('\n')}\n</svg>\n`
}

/** Bytes that left in each 10 ms, while JavaScript does nothing else for 300 ms. */
function stall({ records, blocked }, bitrate) {
  const begin = records[0].sentAt
  const step = 10
  const end = records.at(-1).sentAt - begin
  const bins = new Array(Math.floor(end / step) + 1).fill(0)
  for (const { sentAt, bytes } of records) bins[Math.floor((sentAt - begin) / step)] += (bytes * 8) / (step / 1e3) / MB
  const [from, to] = [blocked.from - begin, blocked.to - begin]
  const inside = records.filter(({ sentAt }) => sentAt >= blocked.from && sentAt <= blocked.to)
  const gaps = inside.slice(1).map(({ sentAt }, at) => sentAt - inside[at].sentAt)
  return plot({
    title: 'A busy event loop delays nothing',
    caption: `JavaScript blocked for 300 ms: ${number(inside.length)} transmissions left meanwhile, longest gap ${number(Math.max(...gaps), 1)} ms (cap ${number(bitrate / MB)} Mbit/s)`,
    xMax: end,
    yMax: Math.max(...bins) * 1.3,
    xLabel: 'ms',
    yLabel: 'Mbit/s, each 10 ms',
    draw: (x, y) => [
      `<rect x="${x(from).toFixed(1)}" y="${AREA.top}" width="${(x(to) - x(from)).toFixed(1)}" height="${AREA.bottom - AREA.top}" fill="${ORANGE}" fill-opacity="0.16"/>`,
      text((x(from) + x(to)) / 2, AREA.top + 16, 'event loop blocked', { anchor: 'middle', size: 12, fill: ORANGE }),
      `<path d="M${bins.slice(0, -1).map((value, at) => `${x((at + 0.5) * step).toFixed(1)} ${y(value).toFixed(1)}`).join('L')}" fill="none" stroke="${BLUE}" stroke-width="2"/>`,
    ],
  })
}

function save(name, svg) {
  writeFileSync(join(out, name), svg)
  process.stdout.write(`pictures: wrote ${name}\n`)
}

async function draw() {
  mkdirSync(out, { recursive: true })
  const rates = [2, 20, 200, 1000]
  const runs = []
  for (const rate of rates) runs.push({ label: `${number(rate)} Mbit/s`, rate, ...(await transfer({ bytes: rate * MB / 8 * (rate < 100 ? 1 : 0.5), maxBitrate: rate * MB })) })
  for (const { records, skipped } of runs) if (records.length === 0 || skipped > 0) throw new Error(`expected a record of every transmission, got ${records.length}, and ${skipped} skipped`)
  save('scheduled-and-sent.svg', scheduledAndSent(runs.find(({ rate }) => rate === 200), 200 * MB))
  save('train-lengths.svg', trains(runs))

  const STALL_RATE = 60 * MB
  const stalled = await transfer({ bytes: (STALL_RATE / 8) * 0.9, maxBitrate: STALL_RATE, blockAfterMs: 300 })
  save('event-loop-blocked.svg', stall(stalled, STALL_RATE))
}

await (isMainThread ? draw() : receive(workerData.secret))

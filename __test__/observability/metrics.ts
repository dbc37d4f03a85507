import test, { type ExecutionContext } from 'ava'
import { metrics, type Endpoint } from '../../packages/paceline/src/index.js'
import { noPathStats, noStats } from '../../packages/paceline/src/stats.js'
import { join } from '../support/endpoints.js'

interface Sample {
  name: string
  labels: Record<string, string>
  value: number
}

interface Family {
  help: string
  type: string
  samples: Sample[]
}

/** The text format, version 0.0.4, and nothing that only looks like it. */
function parse(text: string): Map<string, Family> {
  const families = new Map<string, Family>()
  if (!text.endsWith('\n')) throw new Error('the last line has no end')
  let current: [name: string, family: Family] | undefined
  for (const line of text.slice(0, -1).split('\n')) {
    const help = /^# HELP ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$/.exec(line)
    if (help !== null) {
      const [, name = '', said = ''] = help
      if (families.has(name)) throw new Error(`${name} comes twice`)
      current = [name, { help: said, type: '', samples: [] }]
      families.set(...current)
      continue
    }
    const type = /^# TYPE (\S+) (counter|gauge|histogram)$/.exec(line)
    if (type !== null) {
      if (current?.[0] !== type[1] || current?.[1].type !== '') throw new Error(`TYPE out of place: ${line}`)
      current[1].type = type[2] ?? ''
      continue
    }
    const sample = /^([a-zA-Z_:][a-zA-Z0-9_:]*)\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*",?)*)\} (-?\d+(?:\.\d+)?(?:e[+-]\d+)?|[+-]Inf|NaN)$/.exec(line)
    if (sample === null || current === undefined) throw new Error(`not a sample: ${line}`)
    const [, name = '', pairs = '', number = ''] = sample
    if (pairs.endsWith(',')) throw new Error(`a comma too many: ${line}`)
    const labels: Record<string, string> = {}
    for (const [, label = '', value = ''] of pairs.matchAll(/([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"/g)) {
      if (label in labels) throw new Error(`${label} twice: ${line}`)
      labels[label] = value.replace(/\\(.)/g, (_, character: string) => (character === 'n' ? '\n' : character))
    }
    const suffixes = current[1].type === 'histogram' ? ['_bucket', '_sum', '_count'] : ['']
    if (!suffixes.some((suffix) => name === `${current?.[0]}${suffix}`)) throw new Error(`${name} within ${current[0]}`)
    current[1].samples.push({ name, labels, value: number === '+Inf' ? Infinity : Number(number) })
  }
  const seen = new Set<string>()
  for (const [name, { help, type, samples }] of families) {
    if (help === '' || type === '' || samples.length === 0) throw new Error(`${name} is not whole`)
    if ((type === 'counter') !== name.endsWith('_total')) throw new Error(`${name} is a ${type}`)
    for (const sample of samples) {
      const identity = JSON.stringify([sample.name, Object.entries(sample.labels).sort()])
      if (seen.has(identity)) throw new Error(`twice: ${identity}`)
      seen.add(identity)
    }
    if (type === 'histogram') checkHistogram(name, samples)
  }
  return families
}

/** Per set of labels: `le` ascends to +Inf, counts do not fall, and the last one is `_count`. */
function checkHistogram(name: string, samples: readonly Sample[]): void {
  const series = new Map<string, { le: number[]; counts: number[]; count?: number; sum?: number }>()
  for (const { name: full, labels, value } of samples) {
    const { le, ...rest } = labels
    const key = JSON.stringify(rest)
    const one = series.get(key) ?? { le: [], counts: [] }
    series.set(key, one)
    if (full.endsWith('_bucket')) {
      one.le.push(le === '+Inf' ? Infinity : Number(le))
      one.counts.push(value)
    } else if (full.endsWith('_sum')) one.sum = value
    else one.count = value
  }
  for (const { le, counts, count, sum } of series.values()) {
    const ascending = (numbers: number[], strictly: boolean) => numbers.every((each, at) => at === 0 || (strictly ? each > (numbers[at - 1] ?? 0) : each >= (numbers[at - 1] ?? 0)))
    if (le.at(-1) !== Infinity || !ascending(le, true) || !ascending(counts, false)) throw new Error(`${name}: ${le.join()} ${counts.join()}`)
    if (count !== counts.at(-1) || sum === undefined) throw new Error(`${name}: ${count} of ${counts.join()}`)
  }
}

const read = (families: Map<string, Family>, family: string, labels: Record<string, string> = {}, name = family): number[] =>
  (families.get(family)?.samples ?? [])
    .filter((sample) => sample.name === name && Object.entries(labels).every(([label, value]) => sample.labels[label] === value))
    .map(({ value }) => value)

test('the parser is strict', (t) => {
  const good = '# HELP a_total x\n# TYPE a_total counter\na_total{b="c\\"d"} 1\n'
  t.is(parse(good).get('a_total')?.samples[0]?.labels['b'], 'c"d')
  for (const bad of [
    good.slice(0, -1), good + good, good.replace('# HELP a_total x\n', ''), good.replace('counter', 'gauge'), good.replace('\\"', '"'),
    good.replace(' 1', ' one'), good.replace('a_total{', 'b_total{'), `${good}a_total{b="c\\"d"} 2\n`, good.replace('"}', '",}'),
    good.replaceAll('a_total', 'a').replace('counter', 'histogram'),
  ]) t.throws(() => parse(bad), undefined, bad)
})

async function filled(t: ExecutionContext): Promise<Endpoint> {
  const { sender, senderDriver, peer } = await join(t)
  senderDriver.counts = {
    ...noStats(),
    bytesSent: 1e21,
    sent: 7,
    failed: 2,
    dropped: { ...noStats().dropped, notAuthentic: 3 },
    handshake: { ...noStats().handshake, droppedMac: 4 },
    socket: { ...noStats().socket, gsoFallbacks: 5 },
    secretControl: { ...noStats().secretControl, staleKeyReceived: 6 },
    pacingErrorUs: { counts: noStats().pacingErrorUs.counts.map((_, index) => (index < 9 ? 1 : index === 76 ? 2 : 0)), sum: 3_000_040 },
    gsoSegments: { counts: [1, 0, 0, 0, 0, 3, 0, 0], sum: 97 },
    poolCapacityBytes: 32 << 20,
  }
  senderDriver.pathCounts = { ...noPathStats(), path: 3, smoothedRttUs: 12_500, pacingRateBps: 8e6, bytesSent: 900, ecn: 'failed' }
  t.is(peer.remoteAddress?.port, 4433)
  return sender
}

test('what stats() tells, in base units, with types and labels', async (t) => {
  const sender = await filled(t)
  const text = metrics(sender)
  const families = parse(text)
  const endpoint = `0.0.0.0:${sender.address.port}`
  t.deepEqual(read(families, 'paceline_sent_bytes_total', { endpoint }), [1e21])
  t.deepEqual(read(families, 'paceline_completed_transmissions_total', { outcome: 'sent' }), [7])
  t.deepEqual(read(families, 'paceline_completed_transmissions_total', { outcome: 'failed' }), [2])
  t.deepEqual(read(families, 'paceline_dropped_packets_total', { reason: 'not_authentic' }), [3])
  t.deepEqual(read(families, 'paceline_handshake_events_total', { event: 'dropped_mac' }), [4])
  t.deepEqual(read(families, 'paceline_socket_events_total', { event: 'gso_fallbacks' }), [5])
  t.deepEqual(read(families, 'paceline_secret_control_packets_total', { event: 'stale_key_received' }), [6])
  t.deepEqual(read(families, 'paceline_pool_capacity_bytes'), [32 << 20])
  const error = 'paceline_pacing_error_seconds'
  t.deepEqual(read(families, error, { le: '0.000001' }, `${error}_bucket`), [1])
  t.deepEqual(read(families, error, { le: '0.000004' }, `${error}_bucket`), [4])
  t.deepEqual(read(families, error, { le: '0.000016' }, `${error}_bucket`), [9])
  t.deepEqual(read(families, error, { le: '1.048576' }, `${error}_bucket`), [9])
  t.deepEqual(read(families, error, { le: '+Inf' }, `${error}_bucket`), [11])
  t.deepEqual(read(families, error, {}, `${error}_sum`), [3.000_04])
  t.deepEqual(read(families, 'paceline_transmission_packets', {}, 'paceline_transmission_packets_bucket'), [1, 1, 1, 1, 1, 4, 4, 4])
  const labels = { endpoint, peer: '0.0.0.0:4433' }
  t.deepEqual(read(families, 'paceline_peer_smoothed_rtt_seconds', labels), [0.0125])
  t.deepEqual(read(families, 'paceline_peer_pacing_rate_bytes_per_second', labels), [1e6])
  t.deepEqual(read(families, 'paceline_peer_sent_bytes_total', labels), [900])
  t.deepEqual(read(families, 'paceline_peer_ecn_capable', labels), [0])
  t.regex(metrics.contentType, /^text\/plain; version=0\.0\.4/)
})

test('several endpoints are one text; peers of one path are one', async (t) => {
  const [first, second] = [await filled(t), await filled(t)]
  const families = parse(metrics([first, second]))
  t.is(read(families, 'paceline_sent_bytes_total').length, 2)
  t.is(read(families, 'paceline_peer_sent_bytes_total').length, 2)
  const twice = parse(metrics([first, first]))
  t.is(new Set(twice.get('paceline_streams')?.samples.map(({ labels }) => labels['endpoint'])).size, 2)
  t.is(metrics([]), '')
})

test('labels are escaped, and counted numbers are all there', async (t) => {
  const sender = await filled(t)
  const odd = { address: { address: 'a"b\\c\nd', port: 1, family: 'IPv4' }, peers: [], stats: () => sender.stats() } as unknown as Endpoint
  const families = parse(metrics(odd))
  t.is(families.get('paceline_streams')?.samples[0]?.labels['endpoint'], 'a"b\\c\nd:1')
  const { dropped, handshake, secretControl, socket } = noStats()
  const length = (family: string) => families.get(family)?.samples.length
  t.is(length('paceline_dropped_packets_total'), Object.keys(dropped).length)
  t.is(length('paceline_handshake_events_total'), Object.keys(handshake).length)
  t.is(length('paceline_secret_control_packets_total'), Object.keys(secretControl).length)
  t.is(length('paceline_socket_events_total'), Object.keys(socket).length)
  // Every number of stats() but `at`, `elapsed` and `packetsDropped`, which is the sum of its reasons, is in the text.
  const numbers = Object.values(noStats()).filter((value) => typeof value === 'number').length - 1
  const plain = [...families].filter(([name, { type }]) => type !== 'histogram' && !/handshake|secret_control|socket|dropped/.test(name)).reduce((sum, [, { samples }]) => sum + samples.length, 0)
  t.is(plain, numbers)
})

test('anything but endpoints is refused', (t) => {
  for (const wrong of [undefined, null, 5, {}, [{}]]) {
    t.throws(() => metrics(wrong as never), { code: 'ERR_PACELINE_OPTION', message: /^endpoints: expected an Endpoint or an array of them, got / })
  }
})

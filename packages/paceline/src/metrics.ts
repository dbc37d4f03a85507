import { hostPort } from './host-port.js'
import type { Endpoint } from './endpoint.js'
import type { Histogram } from './histogram.js'
import { wrongOption } from './options.js'
import type { EndpointStats, PeerStats } from './stats.js'

type Labels = Readonly<Record<string, string>>
type Kind = 'counter' | 'gauge' | 'histogram'

/** A name with its samples, in the order in which they came. */
interface Family {
  readonly kind: Kind
  readonly help: string
  readonly lines: string[]
}

const MICROSECONDS = 1e6
const BITS = 8

/** `droppedNotAccepting` becomes `dropped_not_accepting`. */
function snake(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
}

function escapeLabel(value: string): string {
  return value.replace(/[\\"\n]/g, (character) => (character === '\n' ? '\\n' : `\\${character}`))
}

/** As the format wants numbers: `+Inf` and `NaN` besides what JavaScript writes. */
function number(value: number): string {
  return value === Infinity ? '+Inf' : value === -Infinity ? '-Inf' : String(value)
}

/** Gathers families: the format wants all samples of one together. */
class Exposition {
  readonly #families = new Map<string, Family>()

  counter(name: string, help: string, labels: Labels, value: number): void {
    this.#sample(name, this.#family(name, 'counter', help), labels, value)
  }

  gauge(name: string, help: string, labels: Labels, value: number): void {
    this.#sample(name, this.#family(name, 'gauge', help), labels, value)
  }

  /** `scale` divides bounds and sum. Of four buckets to a power of two every fourth is shown: that is enough for a graph. */
  histogram(name: string, help: string, labels: Labels, { bounds, counts, count, sum }: Histogram, scale = 1): void {
    const family = this.#family(name, 'histogram', help)
    let below = 0
    for (const [index, bound] of bounds.entries()) {
      below += counts[index] ?? 0
      if (Number.isInteger(Math.log2(bound))) this.#sample(`${name}_bucket`, family, { ...labels, le: number(bound / scale) }, below)
    }
    this.#sample(`${name}_bucket`, family, { ...labels, le: '+Inf' }, count)
    this.#sample(`${name}_sum`, family, labels, sum / scale)
    this.#sample(`${name}_count`, family, labels, count)
  }

  toString(): string {
    let text = ''
    for (const [name, { kind, help, lines }] of this.#families) {
      text += `# HELP ${name} ${help.replace(/[\\\n]/g, (character) => (character === '\n' ? '\\n' : '\\\\'))}\n# TYPE ${name} ${kind}\n${lines.join('\n')}\n`
    }
    return text
  }

  #family(name: string, kind: Kind, help: string): Family {
    let family = this.#families.get(name)
    if (family === undefined) this.#families.set(name, (family = { kind, help, lines: [] }))
    return family
  }

  #sample(name: string, family: Family, labels: Labels, value: number): void {
    const pairs = Object.entries(labels).map(([label, text]) => `${label}="${escapeLabel(text)}"`)
    family.lines.push(`${name}{${pairs.join(',')}} ${number(value)}`)
  }
}

function endpointMetrics(to: Exposition, labels: Labels, stats: EndpointStats): void {
  const counter = (name: string, help: string, value: number, more: Labels = {}) => to.counter(`paceline_${name}_total`, help, { ...labels, ...more }, value)
  const gauge = (name: string, help: string, value: number) => to.gauge(`paceline_${name}`, help, labels, value)
  counter('transmissions', 'Data, retransmission and probe transmissions scheduled.', stats.transmissions)
  const completed = 'Transmissions that were handed to the network, refused by it, or taken back.'
  counter('completed_transmissions', completed, stats.sent, { outcome: 'sent' })
  counter('completed_transmissions', completed, stats.failed, { outcome: 'failed' })
  counter('completed_transmissions', completed, stats.cancelled, { outcome: 'cancelled' })
  counter('control_transmissions', 'Acknowledgements and handshake messages scheduled.', stats.controlTransmissions)
  counter('packets', 'Packets of transmissions scheduled.', stats.packets)
  counter('sent_bytes', 'UDP payload handed to the network.', stats.bytesSent)
  counter('received_bytes', 'UDP payload received.', stats.bytesReceived)
  counter('acknowledged_bytes', 'UDP payload of packets that were acknowledged.', stats.bytesAcknowledged)
  counter('stream_received_bytes', 'Stream data received for the first time.', stats.streamBytesReceived)
  counter('received_packets', 'Datagrams received.', stats.packetsReceived)
  for (const [reason, value] of Object.entries(stats.dropped)) counter('dropped_packets', 'Received datagrams without effect.', value, { reason: snake(reason) })
  counter('retransmitted_packets', 'Packets sent again after loss or timeout.', stats.packetsRetransmitted)
  counter('retransmitted_bytes', 'UDP payload of packets sent again.', stats.bytesRetransmitted)
  counter('lost_packets', 'Packets declared lost.', stats.packetsLost)
  counter('lost_bytes', 'UDP payload of packets declared lost.', stats.bytesLost)
  counter('spuriously_lost_packets', 'Packets declared lost that were only late.', stats.packetsSpuriouslyLost)
  counter('persistent_congestions', 'Times a path lost everything for so long that its controller started over.', stats.persistentCongestions)
  counter('probe_timeouts', 'Probe timeouts.', stats.probeTimeouts)
  counter('ecn_ce_reported', 'Congestion marks that peers reported.', stats.ecnCeReported)
  counter('ecn_ce_received_packets', 'Received datagrams with a congestion mark.', stats.ecnCeReceived)
  gauge('streams', 'Streams that exist.', stats.streams)
  gauge('paths', 'Paths that exist.', stats.paths)
  gauge('pool_lent_buffers', 'Packet buffers in use.', stats.poolLent)
  gauge('pool_lent_bytes', 'Packet memory in use.', stats.poolLentBytes)
  gauge('pool_peak_bytes', 'The most packet memory that was in use at once.', stats.poolPeakBytes)
  gauge('pool_capacity_bytes', 'Bound of packet memory.', stats.poolCapacityBytes)
  counter('pool_exhausted', 'Times there was no packet memory for data.', stats.poolExhausted)
  to.histogram('paceline_pacing_error_seconds', 'Actual minus scheduled departure of transmissions.', labels, stats.pacingErrorUs, MICROSECONDS)
  to.histogram('paceline_train_packets', 'Packets that left back to back.', labels, stats.trainPackets)
  to.histogram('paceline_transmission_packets', 'Packets of a transmission: segments of one offloaded send.', labels, stats.gsoSegments)
  for (const [event, value] of Object.entries(stats.handshake)) counter('handshake_events', 'What the handshake did.', value, { event: snake(event) })
  for (const [event, value] of Object.entries(stats.secretControl)) counter('secret_control_packets', 'Packets about keys that are not accepted.', value, { event: snake(event) })
  for (const [event, value] of Object.entries(stats.socket)) counter('socket_events', 'What the socket did.', value, { event: snake(event) })
}

function peerMetrics(to: Exposition, labels: Labels, stats: PeerStats): void {
  const counter = (name: string, help: string, value: number) => to.counter(`paceline_peer_${name}_total`, help, labels, value)
  const gauge = (name: string, help: string, value: number) => to.gauge(`paceline_peer_${name}`, help, labels, value)
  gauge('smoothed_rtt_seconds', 'Smoothed round trip; 0 before the first sample.', stats.smoothedRttUs / MICROSECONDS)
  gauge('min_rtt_seconds', 'Smallest round trip of the last five to ten seconds.', stats.minRttUs / MICROSECONDS)
  gauge('latest_rtt_seconds', 'Newest round trip.', stats.latestRttUs / MICROSECONDS)
  gauge('rtt_variation_seconds', 'Variation of the round trip.', stats.rttVariationUs / MICROSECONDS)
  gauge('congestion_window_bytes', 'Congestion window.', stats.congestionWindow)
  gauge('in_flight_bytes', 'Sent and neither acknowledged nor lost.', stats.bytesInFlight)
  gauge('scheduled_bytes', 'Scheduled and not yet sent.', stats.scheduledBytes)
  gauge('pacing_rate_bytes_per_second', 'Rate at which data is paced.', stats.pacingRateBps / BITS)
  gauge('mtu_bytes', 'Largest UDP payload.', stats.mtu)
  gauge('ecn_capable', 'Whether packets leave with ECN marks: 0 once the path lost or changed them.', stats.ecn === 'failed' ? 0 : 1)
  gauge('streams', 'Streams that use the path.', stats.streams)
  counter('transmissions', 'Transmissions handed to the network.', stats.sent)
  counter('sent_packets', 'Packets of them.', stats.packetsSent)
  counter('sent_bytes', 'UDP payload of them.', stats.bytesSent)
  counter('received_packets', 'Authentic packets of streams.', stats.packetsReceived)
  counter('received_bytes', 'UDP payload of them.', stats.bytesReceived)
  counter('acknowledged_bytes', 'UDP payload of packets that were acknowledged.', stats.bytesAcknowledged)
  counter('lost_packets', 'Packets declared lost.', stats.packetsLost)
  counter('lost_bytes', 'UDP payload of packets declared lost.', stats.bytesLost)
  counter('spuriously_lost_packets', 'Packets declared lost that were only late.', stats.packetsSpuriouslyLost)
  counter('retransmitted_packets', 'Packets sent again after loss or timeout.', stats.packetsRetransmitted)
  counter('retransmitted_bytes', 'UDP payload of packets sent again.', stats.bytesRetransmitted)
  counter('persistent_congestions', 'Times the path lost everything for so long that its controller started over.', stats.persistentCongestions)
  counter('probe_timeouts', 'Probe timeouts.', stats.probeTimeouts)
  counter('ecn_ce_reported', 'Congestion marks that the peer reported.', stats.ecnCeReported)
}

/** Names nobody has yet: a second `10.0.0.2:4433` becomes `10.0.0.2:4433#3`, with its id. */
function unique(taken: Set<string>, name: string, id: number): string {
  const chosen = taken.has(name) ? `${name}#${id}` : name
  taken.add(chosen)
  return chosen
}

/**
 * The stats of endpoints and their peers in the text format of Prometheus, version 0.0.4. Labels: `endpoint` (its address) and, on
 * `paceline_peer_*`, `peer` (the peer's address). Costs what `stats()` costs, when it is called. A path's counters begin anew with it.
 *
 * @example
 * import { createServer } from 'node:http'
 * import { metrics } from 'paceline'
 *
 * createServer((request, response) => {
 *   response.setHeader('content-type', metrics.contentType)
 *   response.end(metrics(endpoint))
 * }).listen(9100)
 *
 * @throws {OptionError} `ERR_PACELINE_OPTION`
 */
export function metrics(endpoints: Endpoint | readonly Endpoint[]): string {
  const list: readonly Endpoint[] = Array.isArray(endpoints) ? (endpoints as readonly Endpoint[]) : [endpoints as Endpoint]
  const to = new Exposition()
  const names = new Set<string>()
  for (const [index, each] of list.entries()) {
    if (typeof each !== 'object' || each === null || typeof each.stats !== 'function') throw wrongOption('endpoints', 'an Endpoint or an array of them', endpoints)
    const endpoint = unique(names, hostPort(each.address), index)
    endpointMetrics(to, { endpoint }, each.stats())
    const peers = new Set<string>()
    const paths = new Set<number>()
    for (const peer of each.peers) {
      const stats = peer.stats()
      const { remoteAddress } = peer
      // Peers that share a path share its counters, which must not be added up twice.
      if (remoteAddress === undefined || paths.has(stats.path)) continue
      if (stats.path >= 0) paths.add(stats.path)
      peerMetrics(to, { endpoint, peer: unique(peers, hostPort(remoteAddress), peer.id) }, stats)
    }
  }
  return to.toString()
}

/** For the header `content-type`. */
metrics.contentType = 'text/plain; version=0.0.4; charset=utf-8'

import { randomBytes } from 'node:crypto'
import { lookup } from 'node:dns/promises'
import { readFileSync } from 'node:fs'
import { availableParallelism, release, totalmem } from 'node:os'
import { Endpoint } from '../index.js'
import { loadAddon } from '../native.js'
import { meaning, oneLine, pacelineCode } from './faults.js'
import { packageVersion } from './version.js'

/** What the addon tries out; `crates/node/src/doctor.rs`. */
interface Addon {
  doctorBuild(): BuildFacts
  doctorFamily(family: 4 | 6): FamilyFacts
  doctorTiming(): TimingFacts
  doctorDatagram(address: string, port: number, bytes: number, id: Uint8Array, offload: boolean, timeoutMs: number): DatagramFacts
}

export interface BuildFacts {
  version: string
  sockets: string
  crypto: string
  aes: boolean | null
  clmul: boolean | null
}

export interface FamilyFacts {
  askedSendBytes: number
  askedReceiveBytes: number
  sendBytes: number
  receiveBytes: number
  maxSegments: number
  /** In one call, in a try on loopback. */
  segmentsSent: number
  sendErrno: number
  segmentsReceived: number
  ecn: boolean
  dontFragment: boolean | null
}

export interface TimingFacts {
  lateUsP50: number
  lateUsP99: number
  sharpTimers: boolean
  raisedPriority: boolean
  clockStepNs: number
  clockReadNs: number
}

interface DatagramFacts {
  fate: 'answered' | 'refused' | 'tooLarge' | 'silent' | 'failed'
  errno: number
  roundTripMs: number | null
  localAddress: string | null
  routeMtu: number | null
  offloadErrno: number | null
}

/** Everything that was found out; nothing is judged yet. `null`: not known here. */
export interface Facts {
  versions: { package: string; addon: string; node: string; platform: string; arch: string; kernel: string; libc: string | null }
  build: BuildFacts
  ipv4: FamilyFacts | { error: string }
  ipv6: FamilyFacts | { error: string }
  timing: TimingFacts
  /** By name; those that the system has. */
  sysctl: Record<string, string>
  clocksource: string | null
  cpus: number
  memoryBytes: number
  cgroup: CgroupFacts | null
  /** Name of what runs us, as far as it shows. */
  container: string | null
  openFiles: number | null
  capabilities: { netAdmin: boolean; sysNice: boolean } | null
  /** Since boot, of this network namespace. */
  udp: { received: number; receiveBufferErrors: number; sendBufferErrors: number } | null
  environment: { disableGso: boolean; disableGro: boolean }
  peer: PeerFacts | null
}

export interface CgroupFacts {
  memoryLimitBytes: number | null
  cpuLimit: number | null
  throttledPeriods: number | null
  periods: number | null
}

export interface PeerFacts {
  host: string
  port: number
  address: string | null
  family: 4 | 6 | null
  /** Why there is no more. */
  error: string | null
  /** `answered`: an endpoint of paceline is there. `refused`: its host says that the port is closed. */
  reached: 'answered' | 'refused' | 'silent' | 'failed'
  roundTripMs: number | null
  routeMtu: number | null
  /** UDP payload an endpoint would begin with. */
  defaultDatagram: number
  /** Largest UDP payload that came through unfragmented. */
  largestDatagram: number | null
  /** errno of a burst to it with segmentation offload; 0 if it left. */
  offloadErrno: number | null
  /** With `--secret-file`. */
  handshake: { ok: boolean; milliseconds: number; cipher: string | null; code: string | null; error: string | null } | null
}

const SYSCTLS = [
  'net.core.rmem_max',
  'net.core.wmem_max',
  'net.core.rmem_default',
  'net.core.wmem_default',
  'net.core.netdev_max_backlog',
  'net.core.default_qdisc',
  'net.ipv4.udp_mem',
  'net.ipv6.conf.all.disable_ipv6',
]

/** A small file of the system, trimmed; `undefined` where there is none. */
function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    return undefined
  }
}

function number(text: string | undefined): number | null {
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : null
}

function family(addon: Addon, version: 4 | 6): FamilyFacts | { error: string } {
  try {
    const found = addon.doctorFamily(version)
    return { ...found, dontFragment: found.dontFragment ?? null }
  } catch (error) {
    return { error: oneLine(error) }
  }
}

/** Version 2 in one folder, version 1 in a folder for each resource. A process in the root of its namespace sees `/`. */
function cgroup(): CgroupFacts | null {
  const lines = read('/proc/self/cgroup')?.split('\n')
  if (lines === undefined) return null
  const folder = (controller: string): string[] => {
    const line = lines.find((entry) => entry.split(':')[1]?.split(',').includes(controller) === true) ?? lines.find((entry) => entry.startsWith('0::'))
    const path = line?.split(':').slice(2).join(':') ?? '/'
    const bases = line?.startsWith('0::') === true ? ['/sys/fs/cgroup'] : [`/sys/fs/cgroup/${controller}`]
    return bases.flatMap((base) => [`${base}${path === '/' ? '' : path}`, base])
  }
  const first = (controller: string, ...names: string[]): string | undefined => {
    for (const at of folder(controller)) for (const name of names) {
      const text = read(`${at}/${name}`)
      if (text !== undefined) return text
    }
    return undefined
  }
  const memory = number(first('memory', 'memory.max', 'memory.limit_in_bytes'))
  const [quota, period] = first('cpu', 'cpu.max')?.split(' ') ?? [first('cpu', 'cpu.cfs_quota_us'), first('cpu', 'cpu.cfs_period_us')]
  const stat = new Map(first('cpu', 'cpu.stat')?.split('\n').map((line) => line.split(' ') as [string, string]))
  return {
    // Version 1 says "no limit" with a number larger than any memory.
    memoryLimitBytes: memory !== null && memory < totalmem() ? memory : null,
    cpuLimit: number(quota) !== null && number(period) !== null ? Number(quota) / Number(period) : null,
    throttledPeriods: number(stat.get('nr_throttled')),
    periods: number(stat.get('nr_periods')),
  }
}

function container(): string | null {
  if (process.env['KUBERNETES_SERVICE_HOST'] !== undefined) return 'Kubernetes'
  if (read('/.dockerenv') !== undefined) return 'Docker'
  if (read('/run/.containerenv') !== undefined) return 'Podman'
  if (/gvisor/i.test(read('/proc/version') ?? '')) return 'gVisor'
  if (/microsoft/i.test(release())) return 'WSL'
  return process.env['container'] ?? null
}

const CAP_NET_ADMIN = 12n
const CAP_SYS_NICE = 23n

function capabilities(): Facts['capabilities'] {
  const hex = /^CapEff:\s*([\da-f]+)$/m.exec(read('/proc/self/status') ?? '')?.[1]
  if (hex === undefined) return null
  const bits = BigInt(`0x${hex}`)
  const has = (bit: bigint) => ((bits >> bit) & 1n) === 1n
  return { netAdmin: has(CAP_NET_ADMIN), sysNice: has(CAP_SYS_NICE) }
}

/** `Udp: A B C` and `Udp: 1 2 3`. */
function udpCounters(): Facts['udp'] {
  const [names, values] = [...(read('/proc/net/snmp') ?? '').matchAll(/^Udp: (.*)$/gm)].map((match) => (match[1] ?? '').split(' '))
  const value = (name: string) => Number(values?.[names?.indexOf(name) ?? -1] ?? Number.NaN)
  const counters = { received: value('InDatagrams'), receiveBufferErrors: value('RcvbufErrors'), sendBufferErrors: value('SndbufErrors') }
  return Object.values(counters).every(Number.isFinite) ? counters : null
}

function libc(): string | null {
  if (process.platform !== 'linux') return null
  const report = process.report?.getReport() as { header?: { glibcVersionRuntime?: string } } | undefined
  return report?.header?.glibcVersionRuntime === undefined ? 'musl' : `glibc ${report.header.glibcVersionRuntime}`
}

/** Everything about this machine. Takes some 0.1 s. */
export async function collectFacts(): Promise<Facts> {
  const addon = await loadAddon<Addon>('doctorBuild', 'doctorFamily', 'doctorTiming', 'doctorDatagram')
  const found = addon.doctorBuild()
  // The addon leaves out what it does not know.
  const build = { ...found, aes: found.aes ?? null, clmul: found.clmul ?? null }
  const sysctl: Record<string, string> = {}
  for (const name of SYSCTLS) {
    const value = read(`/proc/sys/${name.replaceAll('.', '/')}`)
    if (value !== undefined) sysctl[name] = value.replace(/\s+/g, ' ')
  }
  return {
    versions: {
      package: packageVersion(),
      addon: build.version,
      node: process.version,
      platform: process.platform,
      arch: process.arch,
      kernel: release(),
      libc: libc(),
    },
    build,
    ipv4: family(addon, 4),
    ipv6: family(addon, 6),
    timing: addon.doctorTiming(),
    sysctl,
    clocksource: read('/sys/devices/system/clocksource/clocksource0/current_clocksource') ?? null,
    cpus: availableParallelism(),
    memoryBytes: totalmem(),
    cgroup: cgroup(),
    container: container(),
    openFiles: number(/^Max open files\s+(\d+)/m.exec(read('/proc/self/limits') ?? '')?.[1]),
    capabilities: capabilities(),
    udp: udpCounters(),
    environment: { disableGso: process.env['PACELINE_DISABLE_GSO'] === '1', disableGro: process.env['PACELINE_DISABLE_GRO'] === '1' },
    peer: null,
  }
}

/** IP and UDP headers. */
const HEADERS = { 4: 28, 6: 48 } as const
const ETHERNET_MTU = 1500
/** What every path of the protocol carries, and the sizes between that are common: tunnels, PPPoE, VPNs. */
const SMALLEST = 1200
const COMMON_MTUS = [1492, 1480, 1460, 1440, 1420, 1400, 1380, 1340, 1280]
/** Largest datagram that `maxDatagramSize` takes. */
const LARGEST = 32_768
const FIRST_TIMEOUT_MS = 1000
/** Also hosts answer "port closed" only so often a second. */
const ATTEMPTS = 2
/** The second one has so many times as long: a machine that is busy for a moment swallows nothing. */
const PATIENCE = 5

/** What can be told of the way to a peer without being let in. Takes milliseconds where it answers, seconds where not. */
export async function probePeer(host: string, port: number, secret: Uint8Array[] | undefined, signal: AbortSignal): Promise<PeerFacts> {
  const addon = await loadAddon<Addon>('doctorDatagram')
  const facts: PeerFacts = {
    host, port, address: null, family: null, error: null, reached: 'silent', roundTripMs: null, routeMtu: null,
    defaultDatagram: ETHERNET_MTU - HEADERS[4], largestDatagram: null, offloadErrno: null, handshake: null,
  }
  let family: 4 | 6
  try {
    const found = await lookup(host)
    facts.address = found.address
    facts.family = family = found.family === 6 ? 6 : 4
  } catch (error) {
    return { ...facts, reached: 'failed', error: `the name could not be looked up: ${meaning(error)}` }
  }
  const address = facts.address
  facts.defaultDatagram = ETHERNET_MTU - HEADERS[family]
  let timeoutMs = FIRST_TIMEOUT_MS
  const ask = async (bytes: number): Promise<DatagramFacts> => {
    for (let attempt = 1; ; attempt++) {
      // Each call blocks until its answer: Ctrl-C and the terminal get their turn between.
      await new Promise(setImmediate)
      signal.throwIfAborted()
      const waitMs = attempt === 1 ? timeoutMs : Math.min(FIRST_TIMEOUT_MS, PATIENCE * timeoutMs)
      const found = addon.doctorDatagram(address, port, bytes, randomBytes(16), attempt === 1 && bytes === SMALLEST, waitMs)
      if (found.fate !== 'silent' || attempt >= ATTEMPTS) return found
    }
  }
  const arrives = async (bytes: number): Promise<boolean> => {
    const { fate } = await ask(bytes)
    return fate === 'answered' || fate === 'refused'
  }
  try {
    const first = await ask(SMALLEST)
    facts.routeMtu = first.routeMtu ?? null
    facts.offloadErrno = first.offloadErrno ?? null
    facts.roundTripMs = first.roundTripMs ?? null
    facts.reached = first.fate === 'tooLarge' ? 'failed' : first.fate
    if (first.fate === 'failed') facts.error = `sending failed: ${meaning(new Error(errnoName(first.errno)))}`
    if (first.fate === 'tooLarge') facts.error = `not even ${SMALLEST} bytes go out unfragmented (EMSGSIZE)`
    if (facts.reached === 'answered' || facts.reached === 'refused') {
      if (facts.reached === 'answered') timeoutMs = Math.min(FIRST_TIMEOUT_MS, Math.max(100, 5 * (first.roundTripMs ?? 0)))
      facts.largestDatagram = await largest(arrives, facts, family)
    }
  } catch (error) {
    signal.throwIfAborted()
    return { ...facts, reached: 'failed', error: oneLine(error) }
  }
  // Where nobody listens the secret is not to blame.
  if (secret !== undefined && facts.reached !== 'refused') facts.handshake = await handshake(address, family, port, secret, signal)
  return facts
}

/** Larger than usual where the interface is; else the usual, else the largest common size below. */
async function largest(arrives: (bytes: number) => Promise<boolean>, { routeMtu }: PeerFacts, family: 4 | 6): Promise<number> {
  const most = Math.min(LARGEST, (routeMtu ?? ETHERNET_MTU) - HEADERS[family])
  const sizes = [most, ...[ETHERNET_MTU, ...COMMON_MTUS].map((mtu) => mtu - HEADERS[family]).filter((bytes) => bytes < most)]
  for (const bytes of sizes) if (bytes > SMALLEST && (await arrives(bytes))) return bytes
  return SMALLEST
}

/** Linux numbers of what sending to an address fails with. */
const ERRNO_NAMES: Readonly<Record<number, string>> = { 1: 'EPERM', 5: 'EIO', 13: 'EACCES', 22: 'EINVAL', 99: 'EADDRNOTAVAIL', 101: 'ENETUNREACH', 113: 'EHOSTUNREACH' }

/** `EIO` where the number is known, else `errno 5`. */
export function errnoName(errno: number): string {
  return (process.platform === 'linux' ? ERRNO_NAMES[errno] : undefined) ?? `errno ${errno}`
}

async function handshake(address: string, family: 4 | 6, port: number, secret: Uint8Array[], signal: AbortSignal): Promise<PeerFacts['handshake']> {
  const endpoint = await Endpoint.bind({ host: family === 6 ? '::' : '0.0.0.0' })
  const begin = performance.now()
  const took = () => Math.round((performance.now() - begin) * 1000) / 1000
  try {
    const peer = await endpoint.connect(address, port, { secret, handshakeTimeout: 3000, signal })
    return { ok: true, milliseconds: took(), cipher: peer.stats().cipher, code: null, error: null }
  } catch (error) {
    signal.throwIfAborted()
    return { ok: false, milliseconds: took(), cipher: null, code: pacelineCode(error) ?? null, error: oneLine(error) }
  } finally {
    await endpoint.close({ deadline: 100 })
  }
}

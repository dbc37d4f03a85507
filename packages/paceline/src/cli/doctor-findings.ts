import { errnoName, type Facts, type FamilyFacts, type PeerFacts } from './doctor-facts.js'
import { binarySize } from './output.js'

/**
 * `ok`; `notice`: works, and could work better; `problem`: costs throughput, reliability or everything, and can be mended;
 * `unknown`: cannot be known here, or does not apply.
 */
export type Status = 'ok' | 'notice' | 'problem' | 'unknown'

export interface Finding {
  /** Stable: `buffer.receive`. */
  id: string
  status: Status
  title: string
  /** What was found, in words. */
  value: string
  /** Commands to type, or lines to write, in order; empty where nothing can or need be done. */
  fix: string[]
}

const MIB = 1 << 20
/** RFC 9000 §14: what paceline cannot do without. */
const SMALLEST_DATAGRAM = 1200
/** The thread that sends aims at bursts 0.2 ms apart; from here on that is lost. */
const LATE_US = 500
/** Of all datagrams since boot. */
const DROPS_SHARE = 1e-4
const THROTTLED_SHARE = 0.05
/** Packet memory (32 MiB), send buffers (64 MiB), receive windows (48 MiB) and Node itself. */
const MEMORY_BYTES = 256 * MIB
const OPEN_FILES = 256
/** Clocks that are read without a system call. */
const FAST_CLOCKS = ['tsc', 'kvm-clock', 'hyperv_clocksource_tsc_page', 'arch_sys_counter', 'xen']
const SLOW_CLOCK_NS = 300

/** What the facts mean. */
export function judge(facts: Facts): Finding[] {
  const { ipv4, ipv6 } = facts
  const families = [ipv4, ipv6].filter((found): found is FamilyFacts => !('error' in found))
  const family = families.find(({ segmentsReceived }) => segmentsReceived > 0) ?? families[0]
  return [
    ...versions(facts),
    aes(facts),
    socket('ipv4', 'IPv4', ipv4),
    socket('ipv6', 'IPv6', ipv6),
    ...(family === undefined ? [] : [
      buffer('receive', family.receiveBytes, family.askedReceiveBytes, facts),
      buffer('send', family.sendBytes, family.askedSendBytes, facts),
      gso(family, facts),
      gro(family, facts),
      ecn(family, facts),
      dontFragment(family, facts),
    ]),
    timer(facts),
    clock(facts),
    openFiles(facts),
    memory(facts),
    cpu(facts),
    drops(facts),
    ...(facts.peer === null ? [] : peer(facts.peer)),
  ]
}

const finding = (id: string, status: Status, title: string, value: string, ...fix: string[]): Finding => ({ id, status, title, value, fix })

function versions({ versions: { package: own, addon, node, platform, arch, kernel, libc }, build, container }: Facts): Finding[] {
  const system = `${platform} ${arch}, kernel ${kernel}${libc === null ? '' : `, ${libc}`}${container === null ? '' : `, in ${container}`}`
  const major = Number(/^v(\d+)/.exec(node)?.[1])
  return [
    finding('system', 'ok', 'system', system),
    major >= 20 ? finding('node', 'ok', 'Node.js', node) : finding('node', 'problem', 'Node.js', `${node}; paceline needs 20 or newer`, 'nvm install 22'),
    own === addon
      ? finding('addon', 'ok', 'addon', `${addon}, ${build.sockets} sockets, ${build.crypto}`)
      : finding('addon', 'problem', 'addon', `${addon}, but the package is ${own}`, `npm install paceline@${own}`),
  ]
}

function aes({ build: { aes, clmul }, container }: Facts): Finding {
  if (aes === null || clmul === null) return finding('cpu.aes', 'unknown', 'AES in the CPU', 'not known for this processor')
  if (aes && clmul) return finding('cpu.aes', 'ok', 'AES in the CPU', 'yes, with carry-less multiplication')
  const missing = aes ? 'no carry-less multiplication (GCM is slow)' : 'no: encryption runs in software, some ten times slower'
  return finding('cpu.aes', 'notice', 'AES in the CPU', missing, container === null ? 'in a virtual machine: give it the host\'s CPU model (QEMU: -cpu host)' : 'run on a host with AES instructions')
}

function socket(id: 'ipv4' | 'ipv6', title: string, found: FamilyFacts | { error: string }): Finding {
  if (!('error' in found)) {
    return found.segmentsReceived > 0
      ? finding(id, 'ok', title, 'a socket can be bound; loopback delivers')
      : finding(id, 'problem', title, `a socket can be bound, but nothing arrives over loopback${found.sendErrno === 0 ? '' : ` (${errnoName(found.sendErrno)})`}`, 'sudo ip link set lo up', 'sudo nft list ruleset  # does a rule drop it?')
  }
  if (id === 'ipv4') return finding(id, 'problem', title, `no socket: ${found.error}`, 'sudo ip link set lo up')
  return finding(id, 'notice', title, `no socket: ${found.error}`, 'sudo sysctl -w net.ipv6.conf.all.disable_ipv6=0  # if you need IPv6', 'Docker: "ipv6": true in /etc/docker/daemon.json')
}

function buffer(which: 'receive' | 'send', got: number, asked: number, facts: Facts): Finding {
  const [id, title] = [`buffer.${which}`, `${which} buffer`]
  const value = `${binarySize(got)} of ${binarySize(asked)}`
  if (got >= asked) return finding(id, 'ok', title, `${value} asked for`)
  const name = which === 'receive' ? 'net.core.rmem_max' : 'net.core.wmem_max'
  const where = facts.container === null || facts.container === 'WSL' ? '' : '# on the host; a container cannot change it'
  const command = (text: string) => (where === '' ? text : `${text}  ${where}`)
  const limit = facts.sysctl[name]
  const fix = facts.versions.platform === 'linux'
    ? [command(`sudo sysctl -w ${name}=${asked}`), command(`echo ${name}=${asked} | sudo tee -a /etc/sysctl.d/90-paceline.conf`)]
    : facts.versions.platform === 'darwin' ? [`sudo sysctl -w kern.ipc.maxsockbuf=${2 * asked}`] : []
  const why = which === 'receive' ? 'bursts that come while the process is busy are lost' : 'sending waits more often'
  return finding(id, 'problem', title, `${value} asked for${limit === undefined ? '' : ` (${name} is ${limit})`}: ${why}`, ...fix)
}

const UNTRIED = 'cannot be tried: nothing arrives over loopback'

function gso({ maxSegments, segmentsSent, segmentsReceived, sendErrno }: FamilyFacts, { environment, versions: { platform } }: Facts): Finding {
  const [id, title] = ['offload.gso', 'send offload']
  if (environment.disableGso) return finding(id, 'problem', title, 'switched off by PACELINE_DISABLE_GSO=1: one system call per datagram', 'unset PACELINE_DISABLE_GSO')
  if (segmentsReceived === 0) return finding(id, 'unknown', title, UNTRIED)
  if (sendErrno !== 0) return finding(id, 'problem', title, `a burst was refused (${errnoName(sendErrno)}); paceline goes on without, at several times the CPU`, 'sudo ethtool -K DEVICE tx-udp-segmentation on', 'or use a kernel of 5.0 or newer; gVisor has none')
  if (maxSegments > 1) return finding(id, 'ok', title, `${segmentsSent} datagrams left in one call, up to ${maxSegments} (GSO)`)
  return platform === 'linux'
    ? finding(id, 'problem', title, 'the kernel has none (UDP_SEGMENT): one system call per datagram', 'use a kernel of 4.18 or newer; gVisor has none')
    : finding(id, 'unknown', title, `${platform} has none that paceline uses`)
}

function gro({ maxSegments, segmentsReceived }: FamilyFacts, { environment, versions: { platform } }: Facts): Finding {
  const [id, title] = ['offload.gro', 'receive offload']
  if (environment.disableGro) return finding(id, 'problem', title, 'switched off by PACELINE_DISABLE_GRO=1: one system call per datagram', 'unset PACELINE_DISABLE_GRO')
  if (segmentsReceived === 0) return finding(id, 'unknown', title, UNTRIED)
  if (segmentsReceived > 1) return finding(id, 'ok', title, `${segmentsReceived} datagrams came in one call (GRO)`)
  if (maxSegments <= 1) return finding(id, 'unknown', title, 'cannot be tried without send offload')
  return platform === 'linux'
    ? finding(id, 'notice', title, 'each datagram comes alone (no UDP_GRO): receiving costs several times the CPU', 'use a kernel of 5.0 or newer; gVisor has none')
    : finding(id, 'unknown', title, `${platform} has none that paceline uses`)
}

function ecn({ ecn: arrives, segmentsReceived }: FamilyFacts, { versions: { platform } }: Facts): Finding {
  if (segmentsReceived === 0) return finding('ecn', 'unknown', 'ECN', UNTRIED)
  if (arrives) return finding('ecn', 'ok', 'ECN', 'ECT(0) was sent and read back')
  return platform === 'linux'
    ? finding('ecn', 'notice', 'ECN', 'the mark that was sent did not come back: congestion shows only as loss', 'sudo nft list ruleset | grep -i -e ecn -e dscp  # does a rule clear it?')
    : finding('ecn', 'unknown', 'ECN', 'the mark that was sent was not read back')
}

function dontFragment({ dontFragment: set }: FamilyFacts, { versions: { platform } }: Facts): Finding {
  if (set === null) return finding('df', 'unknown', "don't fragment", `cannot be read back on ${platform}`)
  return set
    ? finding('df', 'ok', "don't fragment", 'set on every datagram')
    : finding('df', 'problem', "don't fragment", 'not set: fragments are lost together', 'report it, with the output of paceline doctor --json')
}

function timer({ timing: { lateUsP50, lateUsP99, sharpTimers, raisedPriority }, versions: { platform } }: Facts): Finding {
  const value = `waits of 200 µs end ${lateUsP50.toFixed(0)} µs late (p50), ${lateUsP99.toFixed(0)} µs (p99)`
  const [id, title] = ['timer', 'timers']
  if (platform !== 'linux') return finding(id, lateUsP99 <= LATE_US ? 'ok' : 'notice', title, value)
  const fixes: string[] = []
  if (!raisedPriority) {
    fixes.push('sudo setcap cap_sys_nice=ep "$(readlink -f "$(which node)")"', 'systemd: LimitNICE=-10; Docker: --cap-add SYS_NICE')
  }
  const why = [...(sharpTimers ? [] : ['no sharp timers']), ...(raisedPriority ? [] : ['the sending thread may not raise its priority'])]
  if (why.length === 0 && lateUsP99 <= LATE_US) return finding(id, 'ok', title, value)
  if (lateUsP99 > LATE_US) why.push('the machine is busy, or a virtual one without CPU time of its own')
  return finding(id, 'notice', title, `${value}: ${why.join('; ')}`, ...fixes)
}

function clock({ clocksource, timing: { clockReadNs, clockStepNs } }: Facts): Finding {
  const value = `${clocksource === null ? '' : `${clocksource}, `}read in ${clockReadNs} ns, steps of ${clockStepNs} ns`
  if (clockReadNs <= SLOW_CLOCK_NS && (clocksource === null || FAST_CLOCKS.includes(clocksource))) return finding('clock', 'ok', 'clock', value)
  const fix = clocksource === null || FAST_CLOCKS.includes(clocksource) ? [] : [
    'cat /sys/devices/system/clocksource/clocksource0/available_clocksource',
    'echo tsc | sudo tee /sys/devices/system/clocksource/clocksource0/current_clocksource',
  ]
  return finding('clock', 'notice', 'clock', `${value}: slow to read, and it is read for every burst`, ...fix)
}

function openFiles({ openFiles: most }: Facts): Finding {
  const [id, title] = ['limits.files', 'open files']
  if (most === null) return finding(id, 'unknown', title, 'the limit is not known; an endpoint needs two')
  if (most >= OPEN_FILES) return finding(id, 'ok', title, `${most} allowed; an endpoint needs two`)
  return finding(id, 'problem', title, `only ${most} allowed; an endpoint needs two, Node.js some 30`, 'ulimit -n 4096', 'systemd: LimitNOFILE=4096; Docker: --ulimit nofile=4096')
}

function memory({ cgroup, memoryBytes }: Facts): Finding {
  const limit = cgroup?.memoryLimitBytes ?? null
  const [id, title] = ['limits.memory', 'memory']
  const value = limit === null ? `${binarySize(memoryBytes)}, no container limit` : `${binarySize(limit)} allowed in this container`
  if ((limit ?? memoryBytes) >= MEMORY_BYTES) return finding(id, 'ok', title, value)
  return finding(id, 'notice', title, `${value}: an endpoint may use 150 MiB in the worst case`, 'Docker: --memory 512m; Kubernetes: resources.limits.memory: 512Mi', 'or smaller endpoints: poolBytes: 8 << 20, endpointSendBufferBytes: 16 << 20, maxWindow: 2 << 20')
}

function cpu({ cgroup, cpus }: Facts): Finding {
  const limit = cgroup?.cpuLimit ?? null
  const throttled = (cgroup?.throttledPeriods ?? 0) / Math.max(1, cgroup?.periods ?? 0)
  const value = limit === null ? `${cpus}, no container limit` : `${limit} of ${cpus} allowed in this container`
  const [id, title] = ['limits.cpu', 'CPUs']
  const few = Math.min(cpus, limit ?? cpus) < 2
  if (!few && throttled <= THROTTLED_SHARE) return finding(id, 'ok', title, value)
  const why = throttled > THROTTLED_SHARE ? `held back in ${(throttled * 100).toFixed(0)} % of all periods: bursts leave late` : 'the sending thread and JavaScript share one'
  return finding(id, 'notice', title, `${value}: ${why}`, ...(limit === null ? [] : ['Docker: --cpus 2; Kubernetes: resources.limits.cpu: "2", or none']))
}

function drops({ udp }: Facts): Finding {
  const [id, title] = ['udp.drops', 'UDP drops']
  if (udp === null) return finding(id, 'unknown', title, 'this system has no counters')
  const value = `since boot ${udp.receiveBufferErrors} for full receive buffers, of ${udp.received} received (all programs)`
  if (udp.receiveBufferErrors <= DROPS_SHARE * udp.received) return finding(id, 'ok', title, value)
  return finding(id, 'notice', title, `${value}: some program is too slow, or its buffer too small`, 'ss -u -a -m -p  # d of skmem: drops of each socket', 'nstat -az UdpRcvbufErrors  # again after a transfer')
}

function peer(facts: PeerFacts): Finding[] {
  const { host, port, address, reached, error, roundTripMs, routeMtu, defaultDatagram, largestDatagram, offloadErrno, family, handshake } = facts
  const where = `${host}${address === null || address === host ? '' : ` (${address})`} port ${port}`
  const rtt = roundTripMs === null ? '' : `, ${roundTripMs.toFixed(roundTripMs < 10 ? 2 : 0)} ms`
  const found: Finding[] = []
  const add = (...given: Parameters<typeof finding>) => found.push(finding(...given))
  if (reached === 'answered') add('peer', 'ok', 'peer', `an endpoint answers at ${where}${rtt}`)
  else if (reached === 'refused') {
    add('peer', 'problem', 'peer', `${where}: the host answers${rtt}, but nobody listens on that port`, `npx paceline recv --port ${port} --secret-file FILE --out DIR  # there`)
  } else if (reached === 'silent') {
    add('peer', 'problem', 'peer', `nothing comes back from ${where}: nobody listens and the host keeps quiet, or a firewall drops UDP`,
      `npx paceline recv --port ${port} --secret-file FILE --out DIR  # there`, `sudo ufw allow ${port}/udp  # there; in a cloud: the security group`)
  } else add('peer', 'problem', 'peer', `${where}: ${error ?? 'not reachable'}`, address === null ? `getent hosts ${host}` : `ip route get ${address}`)
  if (address === null) return found
  found.push(peerMtu(facts, defaultDatagram, largestDatagram, routeMtu))
  if (offloadErrno === null) add('peer.gso', 'unknown', 'send offload there', 'not tried')
  else if (offloadErrno === 0) add('peer.gso', 'ok', 'send offload there', 'a burst left through its device')
  else {
    add('peer.gso', 'notice', 'send offload there', `its device refused a burst (${errnoName(offloadErrno)}); paceline sends one by one there`,
      `sudo ethtool -K "$(ip -${family ?? 4} -o route get ${address} | sed 's/.* dev \\([^ ]*\\).*/\\1/')" tx-udp-segmentation on`)
  }
  add('peer.ecn', 'unknown', 'ECN on the way', 'cannot be known without a transfer; paceline finds out by itself')
  if (handshake !== null) {
    if (handshake.ok) add('peer.handshake', 'ok', 'handshake', `${handshake.milliseconds.toFixed(1)} ms, ${handshake.cipher ?? 'cipher not known'}`)
    else {
      const why = reached === 'answered' && handshake.code === 'ERR_PACELINE_HANDSHAKE_TIMEOUT' ? 'an endpoint is there, and does not answer to this secret: it has another one' : (handshake.error ?? 'failed')
      add('peer.handshake', 'problem', 'handshake', `${why}${handshake.code === null ? '' : ` [${handshake.code}]`}`, 'compare: sha256sum FILE  # of the secret, on both hosts')
    }
  }
  return found
}

function peerMtu({ address, port }: PeerFacts, usual: number, largest: number | null, routeMtu: number | null): Finding {
  const [id, title] = ['peer.mtu', 'datagrams there']
  const route = routeMtu === null ? '' : `, the route's MTU is ${routeMtu}`
  if (largest === null) return finding(id, 'unknown', title, `nothing came back to tell how large they may be${route}`)
  const value = `up to ${largest} bytes come through unfragmented${route}`
  const local = address !== null && (address.startsWith('127.') || address === '::1')
  if (largest > usual && !local) return finding(id, 'notice', title, `${value}; paceline uses ${usual} unless told`, `Endpoint.bind({ maxDatagramSize: ${largest} })  // and at the other end`)
  if (largest >= usual) return finding(id, 'ok', title, value)
  return finding(id, 'notice', title, `${value}; paceline begins with ${usual} and finds out at the price of ${largest < SMALLEST_DATAGRAM ? 'everything' : 'a few losses'}`,
    `Endpoint.bind({ maxDatagramSize: ${largest} })`, `tracepath -p ${port} ${address ?? ''}  # where it becomes smaller`)
}

/** How many of each. */
export function tally(findings: readonly Finding[]): Record<Status, number> {
  const counts: Record<Status, number> = { ok: 0, notice: 0, problem: 0, unknown: 0 }
  for (const { status } of findings) counts[status]++
  return counts
}


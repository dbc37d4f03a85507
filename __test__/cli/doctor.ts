import { spawnSync } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import test, { type ExecutionContext } from 'ava'
import { Endpoint, readSecretFile } from 'paceline'
import type { Facts, FamilyFacts } from '../../packages/paceline/src/cli/doctor-facts.ts'
import { judge, type Finding } from '../../packages/paceline/src/cli/doctor-findings.ts'
import { lastJson, paceline, run, temporaryFolder, writeSecret } from '../e2e/helpers/cli.ts'

interface Diagnosis {
  ok: boolean
  version: string
  counts: Record<string, number>
  findings: Finding[]
  facts: Facts
}

async function diagnose(t: ExecutionContext, args: readonly string[] = [], env?: NodeJS.ProcessEnv): Promise<Diagnosis & { code: number | null }> {
  const ended = await paceline(t, ['doctor', '--json', ...args], env).ended
  return { ...lastJson<Diagnosis>(ended), code: ended.code }
}

const find = ({ findings }: { findings: Finding[] }, id: string): Finding => {
  const found = findings.find((finding) => finding.id === id)
  if (found === undefined) throw new Error(`no finding ${id} among ${findings.map((finding) => finding.id).join(' ')}`)
  return found
}

const IDS = ['system', 'node', 'addon', 'cpu.aes', 'ipv4', 'ipv6', 'buffer.receive', 'buffer.send', 'offload.gso', 'offload.gro',
  'ecn', 'df', 'timer', 'clock', 'limits.files', 'limits.memory', 'limits.cpu', 'udp.drops']
const PEER_IDS = ['peer', 'peer.mtu', 'peer.gso', 'peer.ecn']

test.serial('doctor --json carries the documented fields, and its exit code says whether there are problems', async (t) => {
  const found = await diagnose(t)
  t.deepEqual(Object.keys(found).sort(), ['code', 'counts', 'facts', 'findings', 'ok', 'version'])
  t.deepEqual(found.findings.map(({ id }) => id), IDS)
  for (const finding of found.findings) {
    t.deepEqual(Object.keys(finding).sort(), ['fix', 'id', 'status', 'title', 'value'])
    t.true(['ok', 'notice', 'problem', 'unknown'].includes(finding.status))
    if (finding.status === 'problem') t.true(finding.fix.length > 0, `${finding.id} without a fix`)
  }
  t.is(found.ok, found.counts['problem'] === 0)
  t.is(found.code, found.ok ? 0 : 1)
  t.is(Object.values(found.counts).reduce((sum, count) => sum + count, 0), IDS.length)
})

test.serial('what is switched off is found, with the command that mends it', async (t) => {
  const found = await diagnose(t, [], { PACELINE_DISABLE_GSO: '1', PACELINE_DISABLE_GRO: '1' })
  t.false(found.ok)
  t.is(found.code, 1)
  t.like(find(found, 'offload.gso'), { status: 'problem', fix: ['unset PACELINE_DISABLE_GSO'] })
  t.like(find(found, 'offload.gro'), { status: 'problem', fix: ['unset PACELINE_DISABLE_GRO'] })
  t.like(found.facts.ipv4, { maxSegments: 1, segmentsSent: 1, segmentsReceived: 1 }, 'and it was tried so')
  const human = await paceline(t, ['doctor'], { PACELINE_DISABLE_GSO: '1' }).ended
  t.is(human.code, 1)
  t.regex(human.stdout, /^PROBLEM {2}send offload/m)
  t.regex(human.stdout, /^ +fix {2}unset PACELINE_DISABLE_GSO$/m)
  t.notRegex(human.stdout, /\x1b/, 'no colours in a pipe')
  for (const line of human.stdout.split('\n').filter((text) => !/^ +(fix)? {2}/.test(text))) t.true(line.length <= 80, line)
})

const isolated = process.platform === 'linux' && spawnSync('unshare', ['-n', 'true']).status === 0
const inNamespace = isolated ? test.serial : test.serial.skip

inNamespace('a network namespace without loopback, and a small ulimit', async (t) => {
  const line = `ulimit -n 64; exec "${process.execPath}" packages/paceline/bin/paceline.js doctor --json`
  const ended = await run(t, 'unshare', ['-n', 'sh', '-c', line]).ended
  t.is(ended.code, 1, ended.stderr)
  const found = lastJson<Diagnosis>(ended)
  t.like(find(found, 'ipv4'), { status: 'problem' })
  t.is(find(found, 'ipv4').fix[0], 'sudo ip link set lo up')
  t.like(find(found, 'offload.gso'), { status: 'unknown' })
  t.like(find(found, 'limits.files'), { status: 'problem' })
})

test.serial('small buffers, a slow clock, a tight container: judged from made-up facts, as no test may change this machine', async (t) => {
  const { facts, findings } = await diagnose(t)
  t.is(find({ findings }, 'buffer.receive').status, (facts.ipv4 as FamilyFacts).receiveBytes >= 4 << 20 ? 'ok' : 'problem')
  const family: FamilyFacts = { ...(facts.ipv4 as FamilyFacts), receiveBytes: 212_992, sendErrno: 5, segmentsSent: 0, segmentsReceived: 1 }
  const bad: Facts = {
    ...facts,
    ipv4: family,
    container: null,
    sysctl: { 'net.core.rmem_max': '212992' },
    versions: { ...facts.versions, platform: 'linux', addon: '0.0.9' },
    build: { ...facts.build, aes: false },
    clocksource: 'hpet',
    cgroup: { memoryLimitBytes: 128 << 20, cpuLimit: 0.5, throttledPeriods: 500, periods: 1000 },
    udp: { received: 1000, receiveBufferErrors: 10, sendBufferErrors: 0 },
    timing: { ...facts.timing, raisedPriority: false },
  }
  const judged = { findings: judge(bad) }
  t.deepEqual(find(judged, 'buffer.receive').fix, ['sudo sysctl -w net.core.rmem_max=4194304', 'echo net.core.rmem_max=4194304 | sudo tee -a /etc/sysctl.d/90-paceline.conf'])
  const statuses = (ids: readonly string[]) => ids.map((id) => `${id} ${find(judged, id).status}`)
  t.deepEqual(statuses(['buffer.receive', 'addon', 'offload.gso']), ['buffer.receive problem', 'addon problem', 'offload.gso problem'])
  for (const id of ['cpu.aes', 'clock', 'limits.memory', 'limits.cpu', 'udp.drops', 'timer', 'offload.gro']) t.is(find(judged, id).status, 'notice', id)
  const inside = judge({ ...bad, container: 'Docker' })
  t.regex(find({ findings: inside }, 'buffer.receive').fix[0] ?? '', /# on the host/)
})

test.serial('an endpoint, a closed port, a silent one, a wrong secret, a name that is none', async (t) => {
  const secretFile = writeSecret(temporaryFolder(t))
  const endpoint = await Endpoint.listen({ host: '127.0.0.1', port: 0, secret: await readSecretFile(secretFile) })
  t.teardown(() => endpoint.close({ deadline: 0 }))
  const there = await diagnose(t, ['--secret-file', secretFile, `127.0.0.1:${endpoint.address.port}`])
  t.deepEqual(there.findings.map(({ id }) => id), [...IDS, ...PEER_IDS, 'peer.handshake'])
  t.like(there.facts.peer, { reached: 'answered', family: 4, address: '127.0.0.1', error: null })
  t.true((there.facts.peer?.roundTripMs ?? 0) > 0 && (there.facts.peer?.largestDatagram ?? 0) >= 1472)
  t.true(there.facts.peer?.handshake?.ok)
  t.is(find(there, 'peer').status, 'ok')

  const other = writeSecret(temporaryFolder(t))
  const [closed, silent] = [createSocket('udp4'), createSocket('udp4')]
  for (const socket of [closed, silent]) await once(socket.bind(0, '127.0.0.1'), 'listening')
  t.teardown(() => [closed, silent].forEach((socket) => socket.close()))
  const closedPort = closed.address().port
  // A socket that is connected to somebody else keeps the port from being given away, and is closed to everybody here.
  closed.connect(silent.address().port, '127.0.0.1')
  await once(closed, 'connect')
  const [refused, nothing, wrong, nameless] = await Promise.all([
    diagnose(t, ['--secret-file', other, `127.0.0.1:${closedPort}`]),
    diagnose(t, [`127.0.0.1:${silent.address().port}`]),
    diagnose(t, ['--secret-file', other, `127.0.0.1:${endpoint.address.port}`]),
    diagnose(t, ['no-such-host.invalid']),
  ])
  for (const each of [refused, nothing, wrong, nameless]) t.is(each.code, 1)
  t.is(refused.facts.peer?.reached, 'refused')
  t.is(refused.facts.peer?.handshake, null, 'where nobody listens the secret is not to blame')
  t.is(nothing.facts.peer?.reached, 'silent')
  t.is(find(nothing, 'peer.mtu').status, 'unknown', 'what cannot be known is not claimed')
  t.is(wrong.facts.peer?.handshake?.code, 'ERR_PACELINE_HANDSHAKE_TIMEOUT')
  t.regex(find(wrong, 'peer.handshake').value, /^an endpoint is there, and does not answer to this secret/)
  t.is(find(nameless, 'peer').status, 'problem')
})

test.serial('a path that swallows large datagrams without a word: what comes through is found', async (t) => {
  const endpoint = await Endpoint.listen({ host: '127.0.0.1', port: 0, secret: await readSecretFile(writeSecret(temporaryFolder(t))) })
  t.teardown(() => endpoint.close({ deadline: 0 }))
  const [front, back] = [createSocket('udp4'), createSocket('udp4')]
  for (const socket of [front, back]) await once(socket.bind(0, '127.0.0.1'), 'listening')
  t.teardown(() => [front, back].forEach((socket) => socket.close()))
  let asker = 0
  let swallowed = 0
  front.on('message', (datagram, { port }) => {
    asker = port
    if (datagram.length > 1300) swallowed++
    else back.send(datagram, endpoint.address.port, '127.0.0.1')
  })
  back.on('message', (datagram) => front.send(datagram, asker, '127.0.0.1'))
  const found = await diagnose(t, [`127.0.0.1:${front.address().port}`])
  t.true(swallowed > 5, `${swallowed} were swallowed`)
  t.like(found.facts.peer, { reached: 'answered', largestDatagram: 1252 })
  t.like(find(found, 'peer.mtu'), { status: 'notice' })
  t.is(find(found, 'peer.mtu').fix[0], 'Endpoint.bind({ maxDatagramSize: 1252 })')
})

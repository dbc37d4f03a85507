import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { jsonLines, lastJson, paceline, startReceiver, temporaryFolder, writeRandomFile, writeSecret } from '../e2e/helpers/cli.ts'
import { RunFinder, isStreamPacket, parseStreamPacket, patchVarint } from '../e2e/helpers/packet.ts'
import { Proxy, type Forward } from '../e2e/helpers/proxy.ts'
import type { Report } from '../e2e/helpers/report.ts'

/** Slow enough that a proxy in JavaScript loses nothing, unless it is held back. */
const BITRATE = '40M'
/** A proxy that was held back has lost datagrams in its socket's buffer, and may not be asked how many there were. */
const ATTEMPTS = 6
const FILE_BYTES = 4 << 20
/** design.md section 6: 1408 bytes of payload and a 48-byte header and a tag, over IPv4. */
const MAX_DATAGRAM = 1472
/** Longer than any run that chance would make, shorter than any that a mistake would. */
const RUN_BYTES = 32

async function transfer(t: Parameters<typeof startReceiver>[0], forward?: Forward) {
  const folder = temporaryFolder(t)
  const out = join(folder, 'out')
  mkdirSync(out)
  const secretFile = writeSecret(folder)
  const path = writeRandomFile(folder, 'file', FILE_BYTES)
  const { receiver, port } = await startReceiver(t, { secretFile, out, options: ['--once'] })
  const proxy = await Proxy.start(t, port, forward)
  const sender = paceline(t, ['send', '--json', '--max-bitrate', BITRATE, '--secret-file', secretFile, `127.0.0.1:${proxy.port}`, path])
  const [sent, received] = await Promise.all([sender.ended, receiver.ended])
  t.is(sent.code, 0, sent.stderr)
  t.is(received.code, 0, received.stderr)
  t.deepEqual(readFileSync(join(out, 'file')), readFileSync(path), 'the file arrived whole')
  const closed = jsonLines(received).find((line) => line['event'] === 'closed')
  return { proxy, content: readFileSync(path), report: lastJson<Report>(sent), received: closed?.['stats'] as Record<string, number> }
}

test.serial('no datagram shows the file, none is too large, and their number is what the report says', async (t) => {
  for (let attempt = 1; ; attempt += 1) {
    const { proxy, content, report } = await transfer(t)
    const finder = new RunFinder(content)
    const datagrams = [...proxy.fromSender, ...proxy.fromReceiver]
    t.true(datagrams.length > FILE_BYTES / MAX_DATAGRAM, 'the proxy saw the transfer')
    t.true(Math.max(...datagrams.map((datagram) => finder.longestRun(datagram))) < RUN_BYTES)
    t.true(Math.max(...datagrams.map((datagram) => datagram.length)) <= MAX_DATAGRAM)
    const seen = proxy.fromSender.filter(isStreamPacket).length
    t.true(seen <= report.packets, `${seen} of ${report.packets}`)
    if (seen === report.packets) return
    if (attempt === ATTEMPTS) return t.is(seen, report.packets)
    t.log(`the proxy saw ${seen} packets of ${report.packets}: once more`)
  }
})

test('the search would have found a run of the file', (t) => {
  const content = randomBytes(100_000)
  const finder = new RunFinder(content)
  for (const from of [0, 1, 15, 4711, content.length - RUN_BYTES]) {
    const datagram = Buffer.concat([randomBytes(77), content.subarray(from, from + RUN_BYTES), randomBytes(333)])
    t.true(finder.longestRun(datagram) >= RUN_BYTES, `run from ${from}`)
  }
  t.true(finder.longestRun(randomBytes(1472)) < RUN_BYTES)
})

test.serial('forged packets over received, partly received and empty ranges change nothing', async (t) => {
  for (let attempt = 1; ; attempt += 1) {
    const { forged, dropped } = await forgery(t)
    for (const [kind, count] of Object.entries(forged)) t.true(count > 100, `${count} forged packets over ${kind} ranges`)
    const all = forged.empty + forged.received + forged.partly
    t.true(dropped > 100, 'forged packets came, and were dropped')
    if (dropped >= all) return
    if (attempt === ATTEMPTS) return t.true(dropped >= all, `${dropped} dropped of ${all}`)
    t.log(`a receiver that was held back dropped ${dropped} of ${all}: once more`)
  }
})

/** A transfer with forged packets before and behind genuine ones; how many of each kind there were, and how many packets were dropped. */
async function forgery(t: Parameters<typeof transfer>[0]) {
  const forged = { empty: 0, received: 0, partly: 0 }
  let seen = 0
  const { received } = await transfer(t, (datagram) => {
    if (!isStreamPacket(datagram)) return [datagram]
    const packet = parseStreamPacket(datagram)
    // A probe or a lone FIN has no range; every tenth of the others is enough.
    if (packet.payloadLength < 1000 || packet.retransmission || seen++ % 10 !== 0) return [datagram]
    // Numbers of their own, so that no duplicate filter answers for the check of the tag.
    const forge = (kind: keyof typeof forged, offset: number) => {
      const copy = Buffer.from(datagram)
      if (!patchVarint(copy, packet.number, packet.number.value + 1) || !patchVarint(copy, packet.offset, offset)) return []
      for (let at = packet.payloadAt; at < packet.payloadAt + packet.payloadLength; at += 16) copy[at] = (copy[at] ?? 0) ^ 0xff
      forged[kind]++
      return [copy]
    }
    const { value: offset } = packet.offset
    return [
      ...forge('empty', offset),
      // The same number, too: its genuine twin must still be welcome.
      Buffer.from(datagram.map((byte, at) => (at === datagram.length - 1 ? byte ^ 1 : byte))),
      datagram,
      ...forge('received', offset),
      ...forge('partly', offset + Math.floor(packet.payloadLength / 2 / 16) * 16),
    ]
  })
  return { forged, dropped: received['packetsDropped'] ?? 0 }
}

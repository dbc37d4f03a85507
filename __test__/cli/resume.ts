import { createHash, randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, readdirSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import type { Report } from '../../packages/paceline/src/cli/report.ts'
import { eventually, jsonLines, lastJson, paceline, startReceiver, temporaryFolder, writeSecret } from '../e2e/helpers/cli.ts'

const BYTES = 30_000_000
/** 30 MB would take 4 s. */
const BITRATE = '60M'
/** What has come when a transfer is interrupted: so much that sending it again would show. */
const MIDDLE_BYTES = 12_000_000

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')

function place(t: ExecutionContext) {
  const folder = temporaryFolder(t)
  const out = join(folder, 'out')
  mkdirSync(out)
  const file = join(folder, 'file')
  const content = randomBytes(BYTES)
  writeFileSync(file, content)
  return { folder, out, file, content, secretFile: writeSecret(folder) }
}

/** A transfer, and what became of it. */
async function ship(t: ExecutionContext, here: ReturnType<typeof place>, ...options: string[]) {
  const { receiver, port } = await startReceiver(t, { ...here, options: ['--once', '--quiet'] })
  const sent = await paceline(t, ['send', '--json', '--quiet', ...options, '--secret-file', here.secretFile, `127.0.0.1:${port}`, here.file]).ended
  return { sent, report: lastJson<Report>(sent), received: await receiver.ended }
}

/** Waits for so much of the file. */
const arrived = ({ out }: ReturnType<typeof place>, bytes: number) =>
  eventually(() => (statSync(join(out, 'file.part'), { throwIfNoEntry: false })?.size ?? 0) >= bytes, `${bytes} bytes have come`)

/** Interrupts one side in the middle; resolves when both have ended. */
async function breakOff(t: ExecutionContext, here: ReturnType<typeof place>, who: 'sender' | 'receiver', signal: NodeJS.Signals) {
  const { receiver, port } = await startReceiver(t, { ...here, options: ['--once', '--quiet'] })
  const sender = paceline(t, ['send', '--quiet', '--max-bitrate', BITRATE, '--secret-file', here.secretFile, `127.0.0.1:${port}`, here.file])
  await arrived(here, MIDDLE_BYTES)
  const sides = { sender, receiver }
  sides[who].signal(signal)
  // Who is killed says no goodbye.
  if (signal === 'SIGKILL') sides[who === 'sender' ? 'receiver' : 'sender'].signal('SIGINT')
  return { sent: await sender.ended, received: await receiver.ended }
}

for (const [who, signal] of [['sender', 'SIGINT'], ['receiver', 'SIGINT'], ['receiver', 'SIGKILL']] as const) {
  test.serial(`${signal} at the ${who} in the middle: the next attempt sends only the rest, and the whole is verified`, async (t) => {
    const here = place(t)
    const { received } = await breakOff(t, here, who, signal)
    t.deepEqual(readdirSync(here.out), ['file.part'], 'nothing under the final name')
    if (who === 'sender') t.regex(received.stderr, /file\.part is kept, to be continued/)
    const kept = statSync(join(here.out, 'file.part')).size
    t.true(kept >= MIDDLE_BYTES && kept < BYTES, `${kept} bytes`)
    t.true(readFileSync(join(here.out, 'file.part')).equals(here.content.subarray(0, kept)), 'what is kept is the beginning')
    // Who was killed could not say that nobody writes any more.
    if (signal === 'SIGKILL') await pause(2100)
    const { sent, report, received: second } = await ship(t, here)
    t.is(sent.code, 0, sent.stderr)
    t.is(second.code, 0, second.stderr)
    t.is(report.files[0]?.resumedAt, kept, 'it went on where it stood')
    t.is(report.files[0]?.sha256Received, sha256(here.content))
    const packets = report.packets - report.retransmittedPackets
    t.true(packets < (BYTES - kept) / 1200, `${packets} packets for ${BYTES - kept} bytes`)
    t.deepEqual(readdirSync(here.out), ['file'])
    t.true(readFileSync(join(here.out, 'file')).equals(here.content))
    t.is(jsonLines(second).find(({ event }) => event === 'file')?.['resumedAt'], kept)
  })
}

test.serial('a sender that vanishes without a word: the receiver notices, says so, and keeps what came', async (t) => {
  const here = place(t)
  const { receiver, port } = await startReceiver(t, { ...here, options: ['--once', '--quiet', '--idle-timeout', '1s'] })
  const sender = paceline(t, ['send', '--quiet', '--max-bitrate', BITRATE, '--secret-file', here.secretFile, `127.0.0.1:${port}`, here.file])
  await arrived(here, 2_000_000)
  const begin = performance.now()
  sender.signal('SIGKILL')
  const { code, stderr } = await receiver.ended
  // Not the 10 s that it would be without --idle-timeout.
  t.true(performance.now() - begin < 8000, `${performance.now() - begin} ms`)
  t.is(code, 1)
  t.regex(stderr, /^paceline: expected file to arrive whole, got: the sender fell silent; file\.part is kept, to be continued when it is sent again\n$/)
  t.deepEqual(readdirSync(here.out), ['file.part'])
})

test.serial('a part of something else, or one that is being written, is not continued', async (t) => {
  const here = place(t)
  const old = new Date(Date.now() - 60_000)
  const part = join(here.out, 'file.part')
  writeFileSync(part, randomBytes(2_000_000))
  utimesSync(part, old, old)
  const { sent, report } = await ship(t, here)
  t.is(sent.code, 0, sent.stderr)
  t.is(report.files[0]?.resumedAt, undefined, 'its hash is another')
  t.deepEqual(readdirSync(here.out), ['file'], 'and its place was used')
  t.true(readFileSync(join(here.out, 'file')).equals(here.content))

  const fresh = { ...here, out: join(here.folder, 'other') }
  mkdirSync(fresh.out)
  writeFileSync(join(fresh.out, 'file.part'), here.content.subarray(0, 2_000_000))
  // Somebody writes to it, and may be slow.
  const writer = setInterval(() => utimesSync(join(fresh.out, 'file.part'), new Date(), new Date()), 50)
  t.teardown(() => clearInterval(writer))
  const second = await ship(t, fresh)
  clearInterval(writer)
  t.is(second.report.files[0]?.resumedAt, undefined, 'it may have a writer')
  t.deepEqual(readdirSync(fresh.out).sort(), ['file', 'file.part'])

  utimesSync(join(fresh.out, 'file.part'), old, old)
  writeFileSync(join(fresh.out, 'file'), '')
  const third = await ship(t, { ...fresh, file: here.file }, '--no-resume')
  t.is(third.sent.code, 1, 'exists')
  t.true(readdirSync(fresh.out).includes('file.part'))
})

test.serial('a part whose bytes were changed is sent anew, as its hash tells', async (t) => {
  const here = place(t)
  const damaged = Buffer.from(here.content.subarray(0, 5_000_000))
  damaged[2_500_000] = (damaged[2_500_000] ?? 0) ^ 1
  const part = join(here.out, 'file.part')
  writeFileSync(part, damaged)
  const old = new Date(Date.now() - 60_000)
  utimesSync(part, old, old)
  const { report, received } = await ship(t, here)
  t.is(received.code, 0)
  t.is(report.files[0]?.resumedAt, undefined)
  t.true(readFileSync(join(here.out, 'file')).equals(here.content))
})

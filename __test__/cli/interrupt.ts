import { mkdirSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { ROOT, bestOf, eventually, paceline, processesNaming, run, startReceiver, temporaryFolder, writeRandomFile, writeSecret } from '../e2e/helpers/cli.ts'

const LIMIT_MS = 1000
const FILE_BYTES = 50_000_000
/** 50 MB would take 6.7 s: whatever happens after a few of them happens in the middle. */
const BITRATE = '60M'
const MIDDLE_BYTES = 4_000_000

async function partialFile(t: ExecutionContext, folder: string): Promise<void> {
  await eventually(() => (statSync(join(folder, 'file.part'), { throwIfNoEntry: false })?.size ?? 0) >= MIDDLE_BYTES, 'a part has arrived')
  t.deepEqual(readdirSync(folder), ['file.part'], 'it is on its way')
}

async function started(t: ExecutionContext) {
  const folder = temporaryFolder(t)
  const out = join(folder, 'out')
  mkdirSync(out)
  const secretFile = writeSecret(folder)
  const file = writeRandomFile(folder, 'file', FILE_BYTES)
  const { receiver, port } = await startReceiver(t, { secretFile, out, options: ['--once'] })
  const sender = paceline(t, ['send', '--max-bitrate', BITRATE, '--secret-file', secretFile, `127.0.0.1:${port}`, file])
  await partialFile(t, out)
  return { out, receiver, sender }
}

/** The second is of a machine that has time for us: one of three attempts keeps it. */
async function withinLimit(t: ExecutionContext, interrupt: () => Promise<number>): Promise<void> {
  const milliseconds = await bestOf(interrupt, (took) => took < LIMIT_MS)
  t.log(`${milliseconds.toFixed(0)} ms`)
  t.true(milliseconds < LIMIT_MS, `${milliseconds} ms`)
}

for (const who of ['sender', 'receiver'] as const) {
  test.serial(`Ctrl-C at the ${who} ends both sides within 1 s, and leaves nothing that looks whole`, (t) => withinLimit(t, async () => {
    const { out, ...sides } = await started(t)
    const begin = performance.now()
    sides[who].signal('SIGINT')
    const [sent, received] = await Promise.all([sides.sender.ended, sides.receiver.ended])
    const took = performance.now() - begin
    t.is(who === 'sender' ? sent.code : received.code, 130)
    t.not(who === 'sender' ? received.code : sent.code, 0)
    t.false(sides.sender.hasSurvivors || sides.receiver.hasSurvivors)
    t.false(readdirSync(out).includes('file'))
    if (who === 'sender') {
      t.is(sent.stderr, 'paceline: interrupted\n')
      t.regex(received.stderr, /^paceline: expected file to arrive whole, got: the sender broke off; file\.part is kept, to be continued when it is sent again\n$/)
    } else {
      t.is(sent.stderr, 'paceline: expected the receiver to store file, got the end of the stream: it was stopped; sent again, it goes on where it stood\n')
      t.regex(received.stderr, /^paceline: expected file to arrive whole, got: an interrupt here; file\.part is kept, .*\npaceline: interrupted\n$/)
    }
    return took
  }))
}

test.serial('a receiver that is killed leaves a partial file, which the next one does not mind', async (t) => {
  const { out, receiver, sender } = await started(t)
  receiver.signal('SIGKILL')
  sender.signal('SIGINT')
  await Promise.all([receiver.ended, sender.ended])
  t.deepEqual(readdirSync(out), ['file.part'])

  const folder = temporaryFolder(t)
  const secretFile = writeSecret(folder)
  const next = await startReceiver(t, { secretFile, out, options: ['--once'] })
  const file = writeRandomFile(folder, 'file', 1000)
  const ended = await paceline(t, ['send', '--secret-file', secretFile, `127.0.0.1:${next.port}`, file]).ended
  t.is(ended.code, 0, ended.stderr)
  t.is((await next.receiver.ended).code, 0)
  t.deepEqual(readdirSync(out).sort(), ['file', 'file.part'])
})

test.serial('Ctrl-C ends npm start with all its processes within 1 s', (t) => withinLimit(t, async () => {
  const temporary = temporaryFolder(t)
  const file = writeRandomFile(temporaryFolder(t), 'file', FILE_BYTES)
  const start = run(t, process.execPath, [join(ROOT, 'scripts', 'start.mjs'), '--max-bitrate', BITRATE, file], { TMPDIR: temporary })
  const folders = () => readdirSync(temporary).map((name) => join(temporary, name, 'out'))
  await eventually(() => folders().length > 0, 'it starts')
  const [out = ''] = folders()
  await partialFile(t, out)
  const begin = performance.now()
  start.signal('SIGINT')
  const ended = await start.ended
  const took = performance.now() - begin
  t.is(ended.code, 130)
  t.false(start.hasSurvivors)
  t.deepEqual(processesNaming(temporary), [])
  t.deepEqual(readdirSync(temporary), [], 'nothing is left in the temporary folder')
  t.notRegex(ended.stderr, /\n\s+at /, 'no stack trace')
  return took
}))

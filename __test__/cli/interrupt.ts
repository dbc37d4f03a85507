import { mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { ROOT, paceline, processesNaming, run, startReceiver, temporaryFolder, writeRandomFile, writeSecret } from '../e2e/helpers/cli.ts'

const LIMIT_MS = 1000
const FILE_BYTES = 50_000_000
/** 50 MB would take 4 s: whatever happens after half a second happens in the middle. */
const BITRATE = '100M'
const MIDDLE_MS = 500

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

async function partialFile(t: ExecutionContext, folder: string): Promise<void> {
  for (let waited = 0; readdirSync(folder).length === 0; waited += 10) {
    if (waited > 5000) throw new Error('nothing arrived')
    await pause(10)
  }
  await pause(MIDDLE_MS)
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

for (const who of ['sender', 'receiver'] as const) {
  test.serial(`Ctrl-C at the ${who} ends both sides within 1 s, and leaves nothing that looks whole`, async (t) => {
    const { out, ...sides } = await started(t)
    const begin = performance.now()
    sides[who].signal('SIGINT')
    const [sent, received] = await Promise.all([sides.sender.ended, sides.receiver.ended])
    t.true(performance.now() - begin < LIMIT_MS, `${performance.now() - begin} ms`)
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
  })
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

test.serial('Ctrl-C ends npm start with all its processes within 1 s', async (t) => {
  const temporary = temporaryFolder(t)
  const file = writeRandomFile(temporaryFolder(t), 'file', FILE_BYTES)
  const start = run(t, process.execPath, [join(ROOT, 'scripts', 'start.mjs'), '--max-bitrate', BITRATE, file], { TMPDIR: temporary })
  const folders = () => readdirSync(temporary).map((name) => join(temporary, name, 'out'))
  for (let waited = 0; folders().length === 0; waited += 10) {
    if (waited > 5000) throw new Error('it did not start')
    await pause(10)
  }
  const [out = ''] = folders()
  await partialFile(t, out)
  const begin = performance.now()
  start.signal('SIGINT')
  const ended = await start.ended
  t.true(performance.now() - begin < LIMIT_MS, `${performance.now() - begin} ms`)
  t.is(ended.code, 130)
  t.false(start.hasSurvivors)
  t.deepEqual(processesNaming(temporary), [])
  t.deepEqual(readdirSync(temporary), [], 'nothing is left in the temporary folder')
  t.notRegex(ended.stderr, /\n\s+at /, 'no stack trace')
})

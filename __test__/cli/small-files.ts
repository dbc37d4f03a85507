import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, readdirSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import type { Report } from '../../packages/paceline/src/cli/report.ts'
import { readWhole, WHOLE_BYTES } from '../../packages/paceline/src/cli/whole-file.js'
import { jsonLines, lastJson, paceline, startReceiver, temporaryFolder, writeRandomFile, writeSecret } from '../e2e/helpers/cli.ts'

/** Files that have arrived when it is interrupted. */
const ENOUGH = 100

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

/** A folder of files, each with a content of its own. */
function logs(t: ExecutionContext, count: number) {
  const folder = temporaryFolder(t)
  const [out, source] = [join(folder, 'out'), join(folder, 'logs')]
  mkdirSync(join(out, 'logs'), { recursive: true })
  mkdirSync(source)
  const names = Array.from({ length: count }, (_, nth) => `log${String(nth).padStart(5, '0')}`)
  for (const [nth, name] of names.entries()) writeFileSync(join(source, name), `${name}\n`.repeat(nth % 9))
  return { folder, out, source, names, secretFile: writeSecret(folder) }
}

const bytesOf = (...path: string[]) => readFileSync(join(...path))

test.serial('small files arrive whole beside larger ones; what is there already stays, and is the only thing refused', async (t) => {
  const { out, source, names, secretFile } = logs(t, 300)
  for (const bytes of [WHOLE_BYTES - 1, WHOLE_BYTES, WHOLE_BYTES + 1]) {
    writeRandomFile(source, `size${bytes}`, bytes)
    names.push(`size${bytes}`)
  }
  const there = ['log00007', 'log00100', `size${WHOLE_BYTES}`, `size${WHOLE_BYTES + 1}`]
  for (const name of there) writeFileSync(join(out, 'logs', name), 'was here before')
  // A name that leads nowhere is taken, too.
  symlinkSync('nowhere', join(out, 'logs', 'log00200'))
  const taken = [...there, 'log00200'].sort()

  const { receiver, port } = await startReceiver(t, { secretFile, out, options: ['--once', '--quiet'] })
  const sent = await paceline(t, ['send', '--quiet', '--json', '--secret-file', secretFile, `127.0.0.1:${port}`, source]).ended
  const received = await receiver.ended
  t.deepEqual([sent.code, received.code], [1, 1])
  t.is(sent.stderr.match(/got a refusal: expected a new name, got \S+, which exists already/g)?.length, taken.length, sent.stderr)
  const { files } = lastJson<Report>(sent)
  t.deepEqual(
    files.map(({ name }) => name),
    names.map((name) => `logs/${name}`),
    'in order',
  )
  const refused = files.filter(({ sha256Received }) => sha256Received === null).map(({ name }) => name.slice('logs/'.length))
  t.deepEqual(refused.sort(), taken)
  const told = jsonLines(received).filter(({ event }) => event === 'file')
  t.is(told.filter(({ ok }) => ok === true).length, names.length - taken.length)
  t.is(told.filter(({ ok }) => ok === false).length, taken.length)

  t.deepEqual(readdirSync(join(out, 'logs')).sort(), [...names].sort(), 'nothing else')
  for (const name of there) t.is(bytesOf(out, 'logs', name).toString(), 'was here before')
  const whole = names.filter((name) => !taken.includes(name))
  t.deepEqual(
    whole.filter((name) => !bytesOf(out, 'logs', name).equals(bytesOf(source, name))),
    [],
  )
})

test.serial('Ctrl-C between thousands of small files leaves whole ones and nothing else', async (t) => {
  const { out, source, secretFile } = logs(t, 5000)
  const { receiver, port } = await startReceiver(t, { secretFile, out, options: ['--quiet'] })
  const sender = paceline(t, ['send', '--quiet', '--secret-file', secretFile, `127.0.0.1:${port}`, source])
  while (readdirSync(join(out, 'logs')).filter((name) => !name.endsWith('.part')).length < ENOUGH) await pause(1)
  sender.signal('SIGINT')
  const sent = await sender.ended
  t.deepEqual([sent.code, sent.stderr], [130, 'paceline: interrupted\n'])
  receiver.signal('SIGINT')
  t.is((await receiver.ended).code, 130)
  const arrived = readdirSync(join(out, 'logs'))
  t.true(arrived.length >= ENOUGH && arrived.length < 5000, `${arrived.length} files`)
  t.deepEqual(
    arrived.filter((name) => name.endsWith('.part') || !bytesOf(out, 'logs', name).equals(bytesOf(source, name))),
    [],
  )
})

test.serial('a file is read in one piece only if it is a small file', (t) => {
  const folder = temporaryFolder(t)
  writeRandomFile(folder, 'small', WHOLE_BYTES)
  writeRandomFile(folder, 'large', WHOLE_BYTES + 1)
  writeRandomFile(folder, 'empty', 0)
  // A busy machine makes a disk look slow, for 64 files.
  const read = (name: string) => Array.from({ length: 200 }, () => readWhole(join(folder, name))).find((bytes) => bytes !== undefined)
  t.deepEqual(read('small'), bytesOf(folder, 'small'))
  t.deepEqual(read('empty'), Buffer.alloc(0))
  for (const name of ['large', 'missing', '.']) t.is(read(name), undefined, name)
  // What has become a pipe since it was listed would keep us waiting for its writer.
  if (process.platform !== 'win32') {
    execFileSync('mkfifo', [join(folder, 'pipe')])
    t.is(read('pipe'), undefined)
  }
  // Times that nobody can mean are still the same before and after.
  utimesSync(join(folder, 'small'), -1, -1)
  t.is(read('small')?.length, WHOLE_BYTES)
})

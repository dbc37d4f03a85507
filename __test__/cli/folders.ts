import { chmodSync, existsSync, lstatSync, mkdirSync, readFileSync, readdirSync, statSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import type { Report } from '../../packages/paceline/src/cli/report.ts'
import { ROOT, jsonLines, lastJson, paceline, startReceiver, temporaryFolder, writeSecret } from '../e2e/helpers/cli.ts'

const CLI = join(ROOT, 'packages', 'paceline', 'bin', 'paceline.js')
const THEN = new Date('2001-02-03T04:05:06Z')

function place(t: ExecutionContext) {
  const folder = temporaryFolder(t)
  const [out, tree] = [join(folder, 'out'), join(folder, 'tree')]
  mkdirSync(out)
  mkdirSync(join(tree, 'deep', 'deeper'), { recursive: true })
  mkdirSync(join(tree, 'empty'))
  writeFileSync(join(tree, 'run.sh'), '#!/bin/sh\n', { mode: 0o755 })
  writeFileSync(join(tree, 'deep', 'secret'), 'x', { mode: 0o600 })
  writeFileSync(join(tree, 'deep', 'deeper', 'ünïcode – name'), randomBytes(3_000_000))
  chmodSync(join(tree, 'run.sh'), 0o755)
  for (let nth = 0; nth < 40; nth++) writeFileSync(join(tree, 'deep', `small${nth}`), randomBytes(nth * 100))
  for (const name of ['run.sh', 'deep', 'empty', '.']) utimesSync(join(tree, name), THEN, THEN)
  return { folder, out, tree, secretFile: writeSecret(folder) }
}

const send = (t: ExecutionContext, secretFile: string, port: number, ...args: string[]) =>
  paceline(t, ['send', '--quiet', '--secret-file', secretFile, `127.0.0.1:${port}`, ...args]).ended

/** Every name below a folder, with its content. */
function contents(folder: string): [string, string][] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .sort()
    .map((name) => [name, statSync(join(folder, name)).isDirectory() ? 'folder' : createHash('sha256').update(readFileSync(join(folder, name))).digest('hex')])
}

test.serial('a folder arrives with everything below it: names, bytes, permissions, times; --once is the whole folder', async (t) => {
  const { out, tree, secretFile } = place(t)
  const { receiver, port } = await startReceiver(t, { secretFile, out, options: ['--once', '--quiet'] })
  const sent = await send(t, secretFile, port, '--json', tree)
  t.is(sent.code, 0, sent.stderr)
  const received = await receiver.ended
  t.is(received.code, 0, received.stderr)
  const there = join(out, 'tree')
  t.deepEqual(contents(there), contents(tree))
  const mode = (name: string) => statSync(join(there, name)).mode & 0o777
  t.deepEqual(['run.sh', 'deep/secret'].map(mode), [0o755 & ~process.umask(), 0o600])
  for (const name of ['run.sh', 'deep', 'empty', '.']) t.is(statSync(join(there, name)).mtimeMs, THEN.getTime(), name)
  t.is(lastJson<Report>(sent).files.length, 43)
  const events = jsonLines(received).map(({ event }) => event)
  t.is(events.filter((event) => event === 'file').length, 43)
  t.is(events.filter((event) => event === 'folder').length, 4)
  t.is(events.at(-1), 'closed')
})

test.serial('links are left out and named; a link in the way is not followed', async (t) => {
  const { folder, out, tree, secretFile } = place(t)
  symlinkSync('/etc/passwd', join(tree, 'link'))
  const { receiver, port } = await startReceiver(t, { secretFile, out, options: ['--once', '--quiet'] })
  const sent = await send(t, secretFile, port, '--json', tree)
  t.is(sent.code, 0, sent.stderr)
  t.regex(sent.stderr, /link is not sent: a symbolic link/)
  t.is(lastJson<Report>(sent).skipped, 1)
  t.is((await receiver.ended).code, 0)
  t.false(existsSync(join(out, 'tree', 'link')))

  // Somebody put a link where a folder is to be: what is behind it stays as it is.
  const other = join(folder, 'other')
  const outside = join(folder, 'outside')
  mkdirSync(other)
  mkdirSync(outside)
  symlinkSync(outside, join(other, 'tree'))
  const second = await startReceiver(t, { secretFile, out: other, options: ['--once', '--quiet'] })
  const refused = await send(t, secretFile, second.port, tree)
  t.is(refused.code, 1)
  t.regex(refused.stderr, /expected a folder, got .*tree, which is a link/)
  t.is((await second.receiver.ended).code, 1)
  t.deepEqual(readdirSync(outside), [])
  t.true(lstatSync(join(other, 'tree')).isSymbolicLink())
})

test.serial('a folder that is there already: files that exist are refused, the others come; --overwrite replaces', async (t) => {
  const { out, tree, secretFile } = place(t)
  mkdirSync(join(out, 'tree'))
  writeFileSync(join(out, 'tree', 'run.sh'), 'old')
  writeFileSync(join(out, 'tree', 'mine'), 'mine')
  const first = await startReceiver(t, { secretFile, out, options: ['--once', '--quiet'] })
  const sent = await send(t, secretFile, first.port, tree)
  t.is(sent.code, 1)
  t.regex(sent.stderr, /^paceline: expected the receiver to store tree\/run\.sh, got a refusal: .*exists already.*\n$/)
  t.is((await first.receiver.ended).code, 1)
  t.is(readFileSync(join(out, 'tree', 'run.sh'), 'utf8'), 'old')
  t.true(existsSync(join(out, 'tree', 'deep', 'small7')))
  const second = await startReceiver(t, { secretFile, out, options: ['--once', '--quiet', '--overwrite'] })
  t.is((await send(t, secretFile, second.port, tree)).code, 0)
  t.is((await second.receiver.ended).code, 0)
  t.deepEqual(contents(join(out, 'tree')).filter(([name]) => name !== 'mine'), contents(tree))
  t.is(readFileSync(join(out, 'tree', 'mine'), 'utf8'), 'mine')
})

test.serial('stdin to a file, a file to stdout, a pipe through both', async (t) => {
  const { out, secretFile } = place(t)
  const content = randomBytes(2_345_678)
  const pipeIn = async (port: number, ...args: string[]) => {
    const sender = spawn(process.execPath, [CLI, 'send', '--json', '--secret-file', secretFile, ...args, `127.0.0.1:${port}`, '-'], { stdio: ['pipe', 'pipe', 'inherit'] })
    t.teardown(() => sender.kill('SIGKILL'))
    sender.stdin.end(content)
    let text = ''
    sender.stdout.setEncoding('utf8').on('data', (more: string) => (text += more))
    const [code] = (await once(sender, 'close')) as [number]
    return { code, report: JSON.parse(text) as Report }
  }
  const first = await startReceiver(t, { secretFile, out, options: ['--once', '--quiet'] })
  const named = await pipeIn(first.port, '--name', 'backup.tar')
  t.is(named.code, 0)
  t.is((await first.receiver.ended).code, 0)
  t.true(readFileSync(join(out, 'backup.tar')).equals(content))
  t.is(named.report.files[0]?.bytes, content.length)

  const receiver = spawn(process.execPath, [CLI, 'recv', '--host', '127.0.0.1', '--port', '0', '--secret-file', secretFile, '--out', '-'], { stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => receiver.kill('SIGKILL'))
  const closed = once(receiver, 'close')
  const chunks: Buffer[] = []
  receiver.stdout.on('data', (chunk: Buffer) => chunks.push(chunk))
  let said = ''
  const port = await new Promise<number>((resolve) => {
    receiver.stderr.setEncoding('utf8').on('data', (text: string) => {
      const match = /:(\d+), receiving for stdout/.exec((said += text))
      if (match !== null) resolve(Number(match[1]))
    })
  })
  t.is((await pipeIn(port)).code, 0)
  const [code] = (await closed) as [number]
  t.is(code, 0)
  t.true(Buffer.concat(chunks).equals(content), 'nothing else is on stdout')
})

test.serial('what cannot be read, or written, is one line and an exit code; the rest arrives', async (t) => {
  const { out, tree, secretFile } = place(t)
  if (process.getuid?.() === 0) {
    // Root reads everything: a file that is gone when its turn comes is the same to the sender.
    t.pass()
  } else {
    chmodSync(join(tree, 'deep', 'small3'), 0)
    const { receiver, port } = await startReceiver(t, { secretFile, out, options: ['--once', '--quiet'] })
    const sent = await send(t, secretFile, port, tree)
    t.is(sent.code, 1)
    t.regex(sent.stderr, /^paceline: expected a readable file, got .*small3: EACCES .*\n$/)
    t.is((await receiver.ended).code, 1)
    t.true(existsSync(join(out, 'tree', 'deep', 'small4')))
  }
  const { receiver, port } = await startReceiver(t, { secretFile, out, options: ['--once', '--quiet'] })
  const [one, two] = await Promise.all([send(t, secretFile, port, join(tree, 'deep', 'deeper')), receiver.ended])
  t.is(one.code, 0, one.stderr)
  t.is(two.code, 0, two.stderr)
  t.regex((await paceline(t, ['send', '--name', 'x', '--secret-file', secretFile, '127.0.0.1:9', tree]).ended).stderr, /expected "-" \(stdin\) beside --name/)
})

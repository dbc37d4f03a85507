import { createHash, randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { Endpoint, readSecretFile } from 'paceline'
import { jsonLines, paceline, startReceiver, temporaryFolder, writeRandomFile, writeSecret } from '../e2e/helpers/cli.ts'

const VERDICT = { stored: 0, exists: 1, name: 2, digest: 4, protocol: 5 } as const

/** What a sender that keeps to no rule can send: the bytes of one stream, as packages/paceline/src/cli/protocol.ts describes them. */
function stream(name: string | Buffer, content: Buffer, { size = content.length, digest = createHash('sha256').update(content).digest() } = {}): Buffer {
  const bytes = Buffer.from(name as string)
  const head = Buffer.alloc(38)
  head.write('plf2', 'latin1')
  head.writeUInt16BE(0o644, 6)
  head.writeBigUInt64BE(BigInt(size), 16)
  head.writeBigUInt64BE(randomBytes(8).readBigUInt64BE(), 24)
  head.writeUInt32BE(1, 32)
  head.writeUInt16BE(bytes.length, 36)
  return Buffer.concat([head, bytes, content, digest])
}

/** A receiver, and a way to send it anything; resolves with the verdict it answers, or undefined where it answers nothing. */
async function prepare(t: ExecutionContext, ...options: string[]) {
  const folder = temporaryFolder(t)
  const out = join(folder, 'out')
  mkdirSync(out)
  const secretFile = writeSecret(folder)
  const { receiver, port } = await startReceiver(t, { secretFile, out, options: ['--quiet', ...options] })
  const endpoint = await Endpoint.bind({ host: '127.0.0.1' })
  t.teardown(() => endpoint.destroy())
  const peer = await endpoint.connect('127.0.0.1', port, { secret: await readSecretFile(secretFile) })
  const send = async (bytes: Buffer): Promise<number | undefined> => {
    const outgoing = peer.openStream()
    await outgoing.writer.write(bytes)
    await outgoing.writer.end()
    const answer: Buffer[] = []
    for await (const chunk of outgoing) answer.push(chunk)
    await outgoing.close({ deadline: 1000 })
    return Buffer.concat(answer)[4]
  }
  return { folder, out, secretFile, receiver, port, send }
}

const CONTENT = Buffer.from('content')

test.serial('names that could leave the folder, or look partial, are refused', async (t) => {
  const { folder, out, send, receiver } = await prepare(t)
  const names = ['../evil', '..', '.', '/etc/evil', 'a/../b', 'a/..', 'a//b', 'a/', '/a', './a', 'a/./b', 'a/b.part', 'a\\b', 'nul\0', 'line\nbreak', '\x1b[31mred', 'file.part', 'FILE.PART', '\u202Etxt.exe', Buffer.of(0xff, 0xfe)]
  for (const name of names) t.is(await send(stream(name, CONTENT)), Buffer.isBuffer(name) ? VERDICT.protocol : VERDICT.name, JSON.stringify(name))
  t.is(await send(stream('', CONTENT)), VERDICT.name)
  t.is(await send(stream('x'.repeat(251), CONTENT)), VERDICT.name)
  t.deepEqual(readdirSync(out), [])
  t.deepEqual(readdirSync(folder).sort(), ['out', 'secret'])
  t.notRegex(receiver.stderr, /\x1b/, 'what the sender chose does not reach the terminal')
  t.is(await send(stream('fine … name', CONTENT)), VERDICT.stored)
  t.deepEqual(readFileSync(join(out, 'fine … name')), CONTENT)
})

test.serial('too few bytes, too many, another digest, another protocol: nothing is left', async (t) => {
  const { out, send } = await prepare(t)
  t.is(await send(stream('short', CONTENT, { size: 1000 })), VERDICT.protocol)
  t.is(await send(Buffer.concat([stream('long', CONTENT), Buffer.of(0)])), VERDICT.protocol)
  t.is(await send(stream('wrong', CONTENT, { digest: randomBytes(32) })), VERDICT.digest)
  t.is(await send(Buffer.from('GET / HTTP/1.1\r\n\r\n')), VERDICT.protocol)
  t.deepEqual(readdirSync(out), [])
})

test.serial('what exists is neither replaced nor followed, unless --overwrite says so', async (t) => {
  const { folder, out, send } = await prepare(t)
  writeFileSync(join(folder, 'outside'), 'old')
  symlinkSync(join(folder, 'outside'), join(out, 'link'))
  symlinkSync(join(folder, 'nowhere'), join(out, 'dangling'))
  t.is(await send(stream('link', CONTENT)), VERDICT.exists)
  t.is(await send(stream('dangling', CONTENT)), VERDICT.exists)
  t.deepEqual(readdirSync(folder).sort(), ['out', 'outside', 'secret'])

  const replacing = await prepare(t, '--overwrite')
  writeFileSync(join(folder, 'outside'), 'old')
  symlinkSync(join(folder, 'outside'), join(replacing.out, 'link'))
  t.is(await replacing.send(stream('link', CONTENT)), VERDICT.stored)
  t.deepEqual(readFileSync(join(replacing.out, 'link')), CONTENT)
  t.is(readFileSync(join(folder, 'outside'), 'utf8'), 'old', 'the name was replaced, not what it pointed to')
})

test.serial('two files of one name at once: one of them wins, whole', async (t) => {
  const { out, send } = await prepare(t)
  const contents = [randomBytes(3_000_000), randomBytes(3_000_000)] as const
  const verdicts = await Promise.all(contents.map((content) => send(stream('same', content))))
  t.deepEqual([...verdicts].sort(), [VERDICT.stored, VERDICT.exists])
  t.deepEqual(readFileSync(join(out, 'same')), contents[verdicts.indexOf(VERDICT.stored)])
  t.deepEqual(readdirSync(out), ['same'])
})

test.serial('over IPv6, several files, with a secret from the environment', async (t) => {
  const folder = temporaryFolder(t)
  const out = join(folder, 'out')
  mkdirSync(out)
  const PACELINE_SECRET = readFileSync(writeSecret(folder), 'utf8')
  const files = ['a', 'b', 'c'].map((name) => writeRandomFile(folder, name, 200_000))
  const receiver = paceline(t, ['recv', '--json', '--host', '::1', '--port', '0', '--out', out, '--count', '3'], { PACELINE_SECRET })
  const [, port] = await receiver.prints(/"event":"listening".*"port":(\d+)/)
  const sent = await paceline(t, ['send', `[::1]:${port}`, ...files], { PACELINE_SECRET }).ended
  t.is(sent.code, 0, sent.stderr)
  const received = await receiver.ended
  t.is(received.code, 0, received.stderr)
  t.deepEqual(jsonLines(received).map((line) => line['event']), ['listening', 'file', 'file', 'file', 'closed'])
  for (const file of files) t.deepEqual(readFileSync(join(out, file.slice(-1))), readFileSync(file))
})

// Ships files, each whole or not at all: the receiver answers only when the hash is right and the file has its name.
import { createHash, randomBytes } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import { mkdtemp, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { Endpoint, generateSecret } from 'paceline'

/** A stream is a file: one line of JSON, the bytes, the end; the answer is a line of JSON. */
async function ship(peer, path) {
  const stream = peer.openStream()
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path)) hash.update(chunk)
  const { size } = await stat(path)
  await stream.writer.write(`${JSON.stringify({ name: basename(path), size, sha256: hash.digest('hex') })}\n`)
  await pipeline(createReadStream(path), stream, { end: true })
  let answer = ''
  for await (const chunk of stream) answer += chunk
  await stream.close()
  return JSON.parse(answer)
}

async function receive(stream, folder) {
  let line = Buffer.alloc(0)
  let head
  const hash = createHash('sha256')
  let file
  let bytes = 0
  for await (const chunk of stream) {
    let rest = chunk
    if (head === undefined) {
      line = Buffer.concat([line, chunk])
      const end = line.indexOf(10)
      if (end === -1 && line.length < 4096) continue
      head = JSON.parse(line.subarray(0, end).toString())
      // A name from outside is a name, never a path.
      if (head.name !== basename(head.name) || head.name.startsWith('.')) throw new Error(`expected a file name, got ${head.name}`)
      file = createWriteStream(join(folder, `${head.name}.part`))
      rest = line.subarray(end + 1)
    }
    hash.update(rest)
    bytes += rest.length
    // Reading waits for the disk; the sender waits for the reading.
    if (!file.write(rest)) await new Promise((drained) => file.once('drain', drained))
  }
  await new Promise((done) => file.end(done))
  const ok = bytes === head.size && hash.digest('hex') === head.sha256
  if (ok) await rename(join(folder, `${head.name}.part`), join(folder, head.name))
  await stream.writer.write(JSON.stringify({ ok, bytes }))
  await stream.close()
}

const from = await mkdtemp(join(tmpdir(), 'ship-from-'))
const to = await mkdtemp(join(tmpdir(), 'ship-to-'))
const secret = generateSecret()
const receiver = await Endpoint.listen({ host: '127.0.0.1', port: 0, secret })
const sender = await Endpoint.bind({ host: '127.0.0.1' })
try {
  const files = ['a.bin', 'b.bin', 'empty']
  for (const [at, name] of files.entries()) await writeFile(join(from, name), randomBytes([3_000_000, 12_345, 0][at]))

  const receiving = (async () => {
    const all = []
    for await (const stream of receiver) if (all.push(receive(stream, to)) === files.length) break
    await Promise.all(all)
  })()
  const peer = await sender.connect('127.0.0.1', receiver.address.port, { secret })
  const answers = await Promise.all(files.map((name) => ship(peer, join(from, name))))
  await receiving

  for (const name of files) {
    const [sent, got] = await Promise.all([readFile(join(from, name)), readFile(join(to, name))])
    if (!sent.equals(got)) throw new Error(`expected ${name} to arrive as it was`)
  }
  if (!answers.every(({ ok }) => ok)) throw new Error(`expected good answers, got ${JSON.stringify(answers)}`)
  console.log(`ok: ${files.length} files, ${answers.reduce((sum, { bytes }) => sum + bytes, 0)} bytes, hashes equal`)
} finally {
  await Promise.all([sender.close(), receiver.close()])
  await Promise.all([from, to].map((folder) => rm(folder, { recursive: true })))
}

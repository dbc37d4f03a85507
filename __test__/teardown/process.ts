// What a process sees: promises nobody looks at, ref and unref, threads, permissions, cluster, both module systems.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { ROOT, run, temporaryFolder, type Ended } from '../e2e/helpers/cli.ts'

/** Every script has both ends on 127.0.0.1 in it. */
const PRELUDE = `
  const { Endpoint, generateSecret } = require('paceline')
  const host = '127.0.0.1'
  const secret = generateSecret()
  const settle = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds))
  async function pair(options = {}) {
    const receiver = await Endpoint.listen({ host, port: 0, secret, ...options })
    const sender = await Endpoint.bind({ host, ...options })
    const streams = receiver.streams()
    const accepted = streams.next()
    const peer = await sender.connect(host, receiver.address.port, { secret })
    const stream = peer.openStream()
    await stream.writer.write('!')
    const { value: remote } = await accepted
    return { receiver, sender, peer, stream, remote, streams }
  }
`

async function script(t: ExecutionContext, body: string, flags: readonly string[] = []): Promise<Ended> {
  return run(t, process.execPath, [...flags, '-e', `${PRELUDE}\n(async () => {${body}})()`]).ended
}

async function succeeds(t: ExecutionContext, body: string, flags: readonly string[] = []): Promise<Ended> {
  const ended = await script(t, body, flags)
  t.is(ended.code, 0, ended.stderr)
  t.is(ended.signal, null)
  return ended
}

const STRICT = ['--unhandled-rejections=strict']

test('promises nobody looks at end no process: a peer that restarts', async (t) => {
  const { stdout } = await succeeds(t, `
    const { receiver, sender, peer, stream } = await pair()
    // Somebody has asked for them and does not wait.
    const { opened, closed } = peer
    const { port } = receiver.address
    receiver.destroy()
    const again = await Endpoint.listen({ host, port, secret })
    stream.write('anybody there?')
    while (!stream.destroyed) await settle(5)
    await settle(20)
    console.log(stream.errored.code, await peer.closed.then(() => 'closed', ({ code }) => code))
    sender.destroy()
    again.destroy()`, STRICT)
  t.is(stdout.trim(), 'ERR_PACELINE_PEER_RESTARTED ERR_PACELINE_PEER_RESTARTED')
})

test('promises nobody looks at end no process: resets, destroyed endpoints, loops that wait', async (t) => {
  const { stdout } = await succeeds(t, `
    const { receiver, sender, peer, stream, remote, streams } = await pair()
    const loop = (async () => { for await (const _ of streams); return 'loop over' })()
    // Waits of the library itself, with nobody behind them.
    stream.closed, receiver.closed, peer.closed, peer.opened
    stream.completions()
    stream.toWeb()
    remote.toWeb()
    remote.reset(300)
    const other = peer.openStream()
    other.pipe(other)
    await settle(30)
    receiver.destroy()
    sender.destroy(new Error('on purpose'))
    console.log(await loop)
    await settle(30)`, STRICT)
  t.is(stdout.trim(), 'loop over')
})

test('a wait that somebody started and left is theirs to look at', async (t) => {
  const { code, stderr } = await script(t, `
    const { sender, receiver, stream } = await pair()
    void stream.writer.write(Buffer.alloc(64 << 20))
    await settle(5)
    sender.destroy()
    receiver.destroy()`, STRICT)
  t.is(code, 1)
  t.regex(stderr, /ERR_PACELINE_ENDPOINT_CLOSED/)
})

/** Ends a process that is still alive after so many ms, with exit code 5. */
const exitLate = (milliseconds: number) => `setTimeout(() => process.exit(5), ${milliseconds}).unref();`
/** For one that is to end by itself: however long that takes here, it is not alive for ever. */
const LATE = exitLate(20_000)

test('an open endpoint keeps the process alive until unref(), close() or destroy()', async (t) => {
  const code = async (late: string, body: string): Promise<number | null> => (await script(t, `${late} ${body}`)).code
  const stays = (body: string) => code(exitLate(600), body)
  const ends = (body: string) => code(LATE, body)
  t.is(await stays(`await Endpoint.bind({ host })`), 5)
  t.is(await ends(`(await Endpoint.bind({ host })).unref()`), 0)
  t.is(await stays(`(await Endpoint.bind({ host })).unref().ref()`), 5)
  t.is(await ends(`await (await Endpoint.bind({ host })).close()`), 0)
  t.is(await ends(`(await Endpoint.bind({ host })).destroy()`), 0)
})

test('unref() also lets go of peers, streams and loops', async (t) => {
  await succeeds(t, `${LATE}
    const { receiver, sender, peer, stream, remote, streams } = await pair()
    void streams.next()
    void stream.chunks().next()
    remote.on('data', () => undefined)
    stream.write(Buffer.alloc(1 << 20))
    receiver.unref()
    sender.unref()`)
})

test('after close() nothing is left: no handle, no timer', async (t) => {
  const { stdout } = await succeeds(t, `${LATE}
    const { receiver, sender, stream, remote } = await pair()
    remote.resume().end()
    stream.resume()
    await stream.close()
    await sender.close()
    await receiver.close()
    const left = () => process.getActiveResourcesInfo().filter((name) => !/^(TTY|Pipe|FS|File)/.test(name))
    for (let time = 0; left().length > 0 && time < 1000; time += 1) await settle(5)
    console.log(JSON.stringify(left()))`)
  t.deepEqual(JSON.parse(stdout), [])
})

test('an endpoint in every worker thread; they talk to each other', async (t) => {
  const { stdout } = await succeeds(t, `
    const { Worker } = require('node:worker_threads')
    const source = \`
      const { Endpoint } = require('paceline')
      const { workerData, parentPort } = require('node:worker_threads')
      ;(async () => {
        const endpoint = await Endpoint.bind({ host: '127.0.0.1' })
        const peer = await endpoint.connect('127.0.0.1', workerData.port, { secret: workerData.secret })
        const stream = peer.openStream()
        stream.end(Buffer.alloc(1 << 20, workerData.index))
        let bytes = 0
        for await (const chunk of stream) bytes += chunk.every((byte) => byte === workerData.index) ? chunk.length : NaN
        parentPort.postMessage(bytes)
        await endpoint.close()
      })()\`
    const receiver = await Endpoint.listen({ host, port: 0, secret })
    ;(async () => { for await (const stream of receiver) stream.pipe(stream) })()
    await settle(10)
    const workers = Array.from({ length: 4 }, (_, index) => new Worker(source, { eval: true, workerData: { index, port: receiver.address.port, secret } }))
    const exits = workers.map((worker) => new Promise((resolve) => worker.once('exit', resolve)))
    const results = await Promise.all(workers.map((worker) => new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))))
    await Promise.all(exits)
    console.log(results.join())
    await receiver.close()`)
  t.is(stdout.trim(), Array.from({ length: 4 }, () => 1 << 20).join())
})

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
const PERMISSION = major > 23 || (major === 23 && minor >= 5) || (major === 22 && minor >= 13) ? '--permission' : '--experimental-permission'
/** From Node 25 on the model knows networks, too. What an addon does is not its business, but names are looked up by Node. */
const NETWORK = major >= 25 ? ['--allow-net'] : []

test(`under the permission model: --allow-addons is what it needs`, async (t) => {
  const body = `
    const { receiver, sender, stream, remote } = await pair()
    remote.pipe(remote)
    stream.end('allowed')
    let got = ''
    for await (const chunk of stream) got += chunk
    console.log(got)
    await sender.close()
    await receiver.close()`
  const flags = [PERMISSION, '--allow-fs-read=*', ...NETWORK]
  const { stdout } = await succeeds(t, body, [...flags, '--allow-addons'])
  t.is(stdout.trim(), '!allowed')
  const refused = await script(t, `await pair().catch(({ code, cause }) => console.log(code, [cause, ...(cause.errors ?? [])].map((error) => error.code).join()))`, flags)
  t.regex(refused.stdout, /^ERR_PACELINE_NATIVE_MISSING .*ERR_DLOPEN_DISABLED/)
})

test('cluster: a port belongs to one process; every worker has one of its own', async (t) => {
  const worker = `
    const { Endpoint } = require('paceline')
    const secret = Buffer.from(process.env.SECRET, 'hex')
    ;(async () => {
      const first = await Endpoint.listen({ host: '127.0.0.1', port: 0, secret })
      const taken = await Endpoint.listen({ host: '127.0.0.1', port: Number(process.env.TAKEN), secret }).catch(({ code }) => code)
      ;(async () => { for await (const stream of first) stream.pipe(stream) })()
      setTimeout(() => process.send({ port: first.address.port, taken }), 10)
    })()`
  const folder = temporaryFolder(t)
  const path = join(folder, 'worker.cjs')
  writeFileSync(path, worker.replace("require('paceline')", `require(${JSON.stringify(join(ROOT, 'packages', 'paceline'))})`))
  const { stdout } = await succeeds(t, `
    const cluster = require('node:cluster')
    cluster.setupPrimary({ exec: ${JSON.stringify(path)}, execArgv: [] })
    const own = await Endpoint.listen({ host, port: 0, secret })
    const env = { SECRET: secret.toString('hex'), TAKEN: String(own.address.port) }
    const workers = [cluster.fork(env), cluster.fork(env)]
    const told = await Promise.all(workers.map((worker) => new Promise((resolve) => worker.once('message', resolve))))
    const replies = []
    for (const { port } of told) {
      const peer = await own.connect(host, port, { secret })
      const stream = peer.openStream()
      stream.end(String(port))
      let got = ''
      for await (const chunk of stream) got += chunk
      replies.push(got === String(port))
    }
    console.log(JSON.stringify({ ports: new Set(told.map(({ port }) => port)).size, taken: told.map(({ taken }) => taken), replies }))
    for (const worker of workers) worker.kill('SIGKILL')
    await own.close()`)
  t.deepEqual(JSON.parse(stdout), { ports: 2, taken: ['ERR_PACELINE_BIND', 'ERR_PACELINE_BIND'], replies: [true, true] })
})

test('import and require give the same classes', async (t) => {
  const { stdout } = await succeeds(t, `
    const imported = await import('paceline')
    console.log(imported.Endpoint === Endpoint, imported.Endpoint === require('paceline').Endpoint)`)
  t.is(stdout.trim(), 'true true')
})

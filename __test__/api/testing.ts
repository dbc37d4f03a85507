import { execFile } from 'node:child_process'
import { createCipheriv, randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import test, { type ExecutionContext } from 'ava'
import { EndpointError, OptionError, PacelineError, PeerError, StreamError, type PathSecret } from '../../packages/paceline/src/index.js'
import { Network, type LinkOptions, type NetworkStats } from '../../packages/paceline/src/testing.js'
import { pattern } from '../support/endpoints.ts'
import { bulk, collect, fingerprint, pair, type Pair } from '../support/network-transfer.ts'

const CHILD = fileURLToPath(new URL('../support/network-transfer.ts', import.meta.url))
const MEGABIT = 1e6 / 8

async function closing<T>(t: ExecutionContext, made: Promise<T & { network: Network }>): Promise<T> {
  const value = await made
  t.teardown(() => value.network.close())
  return value
}

/** A transfer of so many bytes to its end; checks every byte. Returns its virtual ms. */
async function whole(t: ExecutionContext, { network, receiver, peer }: Pair, bytes: number): Promise<number> {
  const collected = collect(receiver)
  const start = network.now
  const stream = peer.openStream()
  const content = pattern(bytes)
  stream.end(content)
  await network.runUntil(collected.done)
  t.true(Buffer.concat(collected.chunks).equals(content))
  return network.now - start
}

/** Every datagram is accounted for. */
function adds(t: ExecutionContext, { sent, duplicated, delivered, inFlight, lost, tooLarge, overflowed, cutOff, unreachable }: NetworkStats): void {
  t.is(sent + duplicated, delivered + inFlight + lost + tooLarge + overflowed + cutOff + unreachable)
}

/** Milliseconds that other work of the same kind takes: JavaScript that calls what encrypts packets, and moves their bytes. */
function yardstick(): number {
  const cpu = process.cpuUsage()
  const [key, nonce, packet] = [Buffer.alloc(16, 1), Buffer.alloc(12, 2), pattern(1_408)]
  let sum = 0
  for (let count = 0; count < 40_000; count += 1) {
    const cipher = createCipheriv('aes-128-gcm', key, nonce)
    sum += Buffer.concat([cipher.update(packet), cipher.final()]).length
  }
  const { user, system } = process.cpuUsage(cpu)
  return sum === 0 ? Infinity : (user + system) / 1_000
}

/** Where it takes longer, everything does, and the transfer may. On the machine where it was 300 to 350, the transfer took 580 to 810 (2026-11-23). */
const YARD_MS = 250

test.serial('60 s at 10 Mbit/s over a lossy 20 ms path, read and written by JavaScript, take less than 1 s', async (t) => {
  const figures: string[] = []
  // A processor that others use, too, is a slower one, and not always the same. A fault of ours is there every time.
  for (let round = 0; round < 10; round += 1) {
    const real = performance.now()
    const cpu = process.cpuUsage()
    const joined = await pair({ seed: 1, delay: 20, loss: 0.01, rate: 10e6 })
    const read = await bulk(joined, 60_000)
    const used = process.cpuUsage(cpu)
    // Where somebody else has the processor, CPU time says what it takes.
    const took = Math.min(performance.now() - real, (used.user + used.system) / 1000)
    const { lost, sent } = joined.network.stats()
    await joined.network.close()
    t.true(read > 60 * 8 * MEGABIT && read < 60 * 10 * MEGABIT, `${read} bytes`)
    t.true(lost > 300, `${lost} of ${sent} lost`)
    const yard = yardstick()
    figures.push(`${took.toFixed(0)} ms where the yardstick is ${yard.toFixed(0)}`)
    if (took < 1_000 * Math.max(1, yard / YARD_MS)) return void t.log(figures.join('; '))
  }
  t.fail(figures.join('; '))
})

test.serial('the same seed is the same run, in another process, too; another seed is another', async (t) => {
  const run = async (seed: number): Promise<string> => {
    const { stdout } = await promisify(execFile)(process.execPath, ['--import', '@oxc-node/core/register', CHILD, String(seed)])
    return stdout
  }
  const first = await fingerprint(7)
  const { hash, lost, duplicated, reordered } = JSON.parse(first) as NetworkStats & { hash: string }
  t.regex(hash, /^[\da-f]{16}$/)
  t.true(lost > 0 && duplicated > 0 && reordered > 0, first)
  t.is(await fingerprint(7), first)
  t.is(await run(7), first)
  const other = JSON.parse(await fingerprint(8)) as { hash: string }
  t.not(other.hash, hash)
  t.is((JSON.parse(await run(8)) as { hash: string }).hash, other.hash)
})

test('the hash is of bytes and times: another delay or another byte changes it', async (t) => {
  const hash = async (delay: number, byte: number): Promise<string> => {
    const { network, receiver, peer } = await pair({ delay })
    const collected = collect(receiver)
    peer.openStream().end(Buffer.alloc(100, byte))
    await network.runUntil(collected.done)
    await network.close()
    return network.hash()
  }
  const same = await hash(5, 1)
  t.is(await hash(5, 1), same)
  t.not(await hash(5.000_001, 1), same)
  t.not(await hash(5, 2), same)
})

test('faults happen, are counted, and harm no byte', async (t) => {
  const joined = await closing(t, pair({ seed: 3, delay: 10, jitter: 2, loss: 0.03, duplicate: 0.02, reorder: 0.03, corrupt: 0.01, mark: 0.01, burstLoss: 0.002, burstLength: 5 }))
  await whole(t, joined, 3_000_000)
  adds(t, joined.network.stats())
  await joined.network.runUntil(Promise.all([joined.sender.close(), joined.receiver.close()]))
  await joined.network.run(1_000)
  const stats = joined.network.stats()
  for (const name of ['lost', 'burstLost', 'duplicated', 'reordered', 'corrupted', 'marked'] as const) t.true(stats[name] > 0, `${name}: ${JSON.stringify(stats)}`)
  t.true(stats.lost > stats.burstLost && stats.delivered > 2_000 && stats.deliveredBytes < stats.sentBytes + stats.duplicated * 1_472)
  t.is(stats.inFlight, 0)
  adds(t, stats)
})

test('a clean link loses nothing, and is as fast as its rate', async (t) => {
  const joined = await closing(t, pair({ delay: 10, rate: 20e6 }))
  const bytes = await bulk(joined, 10_000)
  const rate = (bytes * 8) / 10
  t.log(`${(rate / 1e6).toFixed(2)} of 20 Mbit/s`)
  t.true(rate <= 20e6 && rate >= 0.8 * 20e6, `${rate} bit/s`)
  const { lost, duplicated, reordered, corrupted, marked, cutOff, unreachable, tooLarge } = joined.network.stats()
  t.deepEqual({ lost, duplicated, reordered, corrupted, marked, cutOff, unreachable, tooLarge }, { lost: 0, duplicated: 0, reordered: 0, corrupted: 0, marked: 0, cutOff: 0, unreachable: 0, tooLarge: 0 })
})

for (const mtuSignal of [false, true]) {
  test(`a path of 1,300 bytes is found, ${mtuSignal ? 'and says so' : 'by what vanishes'}`, async (t) => {
    const joined = await closing(t, pair({ delay: 5, mtu: 1_300, mtuSignal }))
    await whole(t, joined, 500_000)
    const { tooLarge, delivered, deliveredBytes } = joined.network.stats()
    t.true(tooLarge > 0)
    const { mtu } = joined.peer.stats() ?? {}
    t.true(mtu !== undefined && mtu <= 1_300 && mtu >= 1_200, `mtu ${mtu}`)
    t.true(deliveredBytes <= delivered * 1_300)
  })
}

test.serial('partition: the stream fails after idleTimeout of virtual time; healed before, it goes on', async (t) => {
  const real = performance.now()
  const joined = await closing(t, pair({ delay: 10 }, { idleTimeout: 8_000 }))
  const { network, sender, receiver, peer } = joined
  const collected = collect(receiver)
  collected.done.catch(() => undefined)
  const stream = peer.openStream()
  await network.runUntil(stream.writer.write(Buffer.alloc(1_000)))
  await network.run(100)
  t.is(collected.bytes, 1_000)
  network.partition(sender, receiver)
  const healed = network.now
  const flushed = stream.writer.write(Buffer.alloc(2_000)).then(() => stream.flush())
  await network.run(5_000)
  t.is(collected.bytes, 1_000)
  t.true(network.stats().cutOff > 0)
  network.heal(sender, receiver)
  await network.runUntil(flushed)
  t.is(collected.bytes, 3_000)
  t.true(network.now - healed < 8_000)
  network.partition(receiver, sender)
  const start = network.now
  const error = await t.throwsAsync(network.runUntil(stream.writer.write(Buffer.alloc(1_000)).then(() => stream.flush())), { instanceOf: PeerError })
  t.is((error as PeerError).code, 'ERR_PACELINE_IDLE_TIMEOUT')
  const took = network.now - start
  t.true(took >= 7_900 && took < 8_500, `${took} ms`)
  // More than a hundred times what it takes.
  t.true(performance.now() - real < network.now && network.now > 13_000)
})

test('one way is one way, a link has properties of its own, and both can change', async (t) => {
  const joined = await closing(t, pair({ delay: 10 }))
  const { network, sender, receiver } = joined
  network.link(sender, receiver, { delay: 200 }, { oneWay: true })
  t.true((await whole(t, joined, 1_000)) >= 200)
  network.configure({ delay: 50, loss: 0.5 })
  network.link(sender, receiver, { delay: 300, loss: 0 }, { oneWay: true })
  const before = network.stats().lost
  const other = await network.bind()
  const start = network.now
  await network.runUntil(other.connect(receiver.address.address, 4433, { secret: network.secret }))
  t.true(network.now - start >= 100, 'the new default is for everybody else')
  t.true(network.stats().lost > before || network.now - start < 300)
  network.configure({ loss: 0 })
  network.partition(receiver, sender, { oneWay: true })
  const cutOff = network.stats().cutOff
  const stream = joined.peer.openStream()
  stream.on('error', () => undefined)
  stream.write('x')
  await network.run(1_000)
  const delivered = network.stats().delivered
  t.true(network.stats().cutOff > cutOff, 'answers are cut off')
  await network.run(2_000)
  t.true(network.stats().delivered > delivered, 'questions are not')
})

test('completions are on the virtual line', async (t) => {
  const joined = await closing(t, pair({ delay: 30, rate: 8e6 }))
  const { network, receiver, peer } = joined
  await network.run(5_000)
  const collected = collect(receiver)
  const start = network.now
  const stream = peer.openStream()
  const records = stream.completions()
  const all: { scheduledAt: number; sentAt: number | undefined }[] = []
  const listening = (async () => {
    for await (const record of records) all.push({ scheduledAt: record.scheduledAt, sentAt: record.sentAt })
  })()
  stream.end(pattern(100_000))
  await network.runUntil(Promise.all([collected.done, listening]))
  t.true(all.length > 1)
  for (const { scheduledAt, sentAt } of all) {
    t.true(sentAt !== undefined && scheduledAt >= start && sentAt >= scheduledAt && sentAt - scheduledAt < 1e-3 && sentAt <= network.now, `${scheduledAt} ${sentAt}`)
  }
  const last = all.at(-1)?.sentAt ?? 0
  t.true(network.now - last >= 30, 'the last one had a way of 30 ms to go')
})

test('time goes on only while somebody runs the network', async (t) => {
  const network = new Network({ delay: 10 })
  t.teardown(() => network.close())
  const { secret } = network
  const receiver = await network.listen({ port: 4433, secret })
  const sender = await network.bind()
  let open = false
  const connected = sender.connect(receiver.address.address, 4433, { secret }).then(() => (open = true))
  await new Promise((resolve) => setTimeout(resolve, 50))
  t.false(open)
  t.is(network.now, 0)
  t.is(network.stats().sent, 0)
  await network.run(10)
  t.false(open, 'there, but not back')
  t.is(network.now, 10)
  await network.run(30)
  t.true(open)
  await connected
  t.is(network.now, 40)
})

test('timers, sleeps and runs share one line', async (t) => {
  const network = new Network()
  t.teardown(() => network.close())
  const seen: string[] = []
  const note = (what: string): void => {
    seen.push(`${what} ${network.now}`)
  }
  network.setTimeout(note, 20, 'b')
  network.setTimeout(note, 10, 'a')
  network.setTimeout(note, 20, 'c')
  network.clearTimeout(network.setTimeout(note, 15, 'never'))
  network.clearTimeout(undefined)
  const signal = network.timeout(25)
  signal.addEventListener('abort', () => note((signal.reason as Error).name))
  const aborted = t.throwsAsync(network.sleep(1_000, { signal }), { name: 'AbortError' })
  void network.sleep(22).then(async () => {
    note('slept')
    await network.run(8)
    note('ran on')
  })
  await Promise.all([network.run(20).then(() => note('run 20')), network.run(40).then(() => note('run 40'))])
  await aborted
  t.deepEqual(seen, ['a 10', 'b 20', 'c 20', 'run 20 20', 'slept 22', 'TimeoutError 25', 'ran on 30', 'run 40 40'])
  await network.run(0)
  t.is(network.now, 40)
  await network.run(86_400_000)
  t.is(network.now, 86_400_040, 'a day without anybody costs nothing')
})

test('runUntil: values, rejections, functions and the limit', async (t) => {
  const network = new Network()
  t.teardown(() => network.close())
  t.is(await network.runUntil(network.sleep(50).then(() => 'x')), 'x')
  t.is(network.now, 50)
  t.is(await network.runUntil(async () => { await network.sleep(5); return 7 }), 7) // prettier-ignore
  t.is(network.now, 55)
  await t.throwsAsync(network.runUntil(Promise.reject(new Error('mine'))), { message: 'mine' })
  await t.throwsAsync(network.runUntil(() => { throw new Error('thrown') }), { message: 'thrown' }) // prettier-ignore
  const error = await t.throwsAsync(network.runUntil(new Promise(() => undefined), { limit: 1_000 }), { instanceOf: PacelineError })
  t.is((error as PacelineError).code, 'ERR_PACELINE_TEST_LIMIT')
  t.is(network.now, 1_055)
})

test.serial('time stands still while a file is read, and for what it is held for', async (t) => {
  const joined = await closing(t, pair({ delay: 10 }))
  const { network, receiver, peer } = joined
  const collected = collect(receiver)
  const stream = peer.openStream()
  const real = performance.now()
  const start = network.now
  const send = (async () => {
    await network.sleep(5)
    const file = await readFile(fileURLToPath(import.meta.url))
    const at = network.now
    const waited = await network.hold(new Promise<string>((resolve) => setTimeout(resolve, 60, 'waited')))
    t.is(network.now, at)
    stream.end(file)
    return { at, waited, length: file.length }
  })()
  await network.runUntil(collected.done)
  const { at, waited, length } = await send
  t.is(at, start + 5)
  t.is(waited, 'waited')
  t.is(collected.bytes, length)
  t.true(performance.now() - real >= 55)
  t.true(network.now - start < 100)
  await t.throwsAsync(network.hold(Promise.reject(new Error('lost'))), { message: 'lost' })
})

test.serial("the library's own waits are virtual: a close at its deadline, a handshake that nobody answers", async (t) => {
  const real = performance.now()
  const joined = await closing(t, pair({ delay: 10 }))
  const { network, sender, receiver, peer } = joined
  const stream = peer.openStream()
  stream.on('error', () => undefined)
  network.partition(sender, receiver)
  stream.write(Buffer.alloc(5_000))
  const start = network.now
  t.deepEqual(await network.runUntil(stream.close({ deadline: 5_432 })), { acknowledged: 0, undelivered: 5_000 })
  t.true(network.now - start >= 5_432 && network.now - start < 5_600, String(network.now - start))
  const again = network.now
  const error = await t.throwsAsync(network.runUntil(sender.connect('10.9.9.9', 1, { secret: network.secret, handshakeTimeout: 7_000 })), { instanceOf: PeerError })
  t.is((error as PeerError).code, 'ERR_PACELINE_HANDSHAKE_TIMEOUT')
  t.true(network.now - again >= 7_000 && network.now - again < 7_100)
  t.true(network.stats().unreachable > 0)
  const { undelivered } = await network.runUntil(sender.close())
  t.is(undelivered, 0)
  t.true(performance.now() - real < network.now && network.now > 12_000)
})

test('addresses: of their own, chosen, taken, free again', async (t) => {
  const network = new Network()
  t.teardown(() => network.close())
  const { secret } = network
  const a = await network.listen({ port: 4433, secret })
  const b = await network.listen({ port: 4433, secret })
  t.deepEqual([a.address, b.address], [
    { address: '10.0.0.1', port: 4433, family: 'IPv4' },
    { address: '10.0.0.2', port: 4433, family: 'IPv4' },
  ])
  t.is((await network.bind()).address.port, 49_152)
  const six = await network.listen({ host: '::', port: 4433, secret })
  t.is(six.address.family, 'IPv6')
  const local = await network.listen({ host: '127.0.0.1', port: 80, secret })
  const error = (await t.throwsAsync(network.listen({ host: '127.0.0.1', port: 80, secret }), { instanceOf: EndpointError })) as EndpointError
  t.like(error, { code: 'ERR_PACELINE_BIND', syscall: 'bind', address: '127.0.0.1', port: 80 })
  t.is(typeof error.errno, 'number')
  await network.runUntil(local.close())
  const again = await network.listen({ host: '127.0.0.1', port: 80, secret })
  const from = await network.bind({ host: '127.0.0.1' })
  const peer = await network.runUntil(from.connect('127.0.0.1', 80, { secret }))
  t.like(peer.remoteAddress, { address: '127.0.0.1', port: 80 })
  again.destroy()
  const overSix = await network.bind({ host: '::' })
  await network.runUntil(overSix.connect(six.address.address, 4433, { secret }))
  await t.throwsAsync(network.runUntil(overSix.connect('10.0.0.1', 4433, { secret })), { instanceOf: OptionError })
})

test('wrong options are refused, unknown ones too, in one form', async (t) => {
  const refused = (options: unknown, message: string): void => {
    t.throws(() => new Network(options as LinkOptions), { instanceOf: OptionError, message })
  }
  refused(5, 'options: expected an object, got 5')
  refused({ loss: 1.1 }, 'options.loss: expected a number from 0 to 1, got 1.1')
  refused({ los: 0.1 }, 'options.los: expected a known option, got los; did you mean loss?')
  refused({ lag: 5 }, 'options.lag: expected one of seed, trace, delay, jitter, loss, burstLoss, burstLength, duplicate, reorder, reorderDelay, corrupt, mark, rate, queue, mtu, mtuSignal, got lag')
  refused({ delay: 0 }, 'options.delay: expected a number from 0.01 to 600000 ms, got 0')
  refused({ jitter: -1 }, 'options.jitter: expected a number from 0 to 600000 ms, got -1')
  refused({ rate: 7_999 }, 'options.rate: expected a number from 8000 to 9007199254740991 bits per second, or 0 for no cap, got 7999')
  refused({ mtu: 1.5 }, 'options.mtu: expected an integer from 0 to 65507 (bytes), got 1.5')
  refused({ queue: -1 }, 'options.queue: expected an integer from 0 to 4294967295 (bytes), got -1')
  refused({ seed: -1 }, 'options.seed: expected an integer from 0 to 2^64 - 1, got -1')
  refused({ seed: 2n ** 64n }, 'options.seed: expected an integer from 0 to 2^64 - 1, got 18446744073709551616n')
  refused({ seed: 'x' }, 'options.seed: expected an integer from 0 to 2^64 - 1, got "x"')
  refused({ trace: 1 }, 'options.trace: expected true or false, got 1')
  refused({ mtuSignal: 'yes' }, 'options.mtuSignal: expected true or false, got "yes"')
  const network = new Network()
  t.teardown(() => network.close())
  t.throws(() => network.configure({ seed: 1 } as LinkOptions), { instanceOf: OptionError })
  t.throws(() => network.configure({ reorder: 2 }), { message: 'options.reorder: expected a number from 0 to 1, got 2' })
  t.throws(() => network.trace(), { message: 'options.trace: expected true, for trace(), got false' })
  t.throws(() => network.setTimeout(() => undefined, -1), { message: 'milliseconds: expected a number from 0 to 4320000000 (virtual ms), got -1' })
  await t.throwsAsync(network.run(Number.NaN), { message: 'milliseconds: expected a number from 0 to 4320000000 (virtual ms), got NaN' })
  await t.throwsAsync(network.run(undefined as unknown as number), { message: 'milliseconds: expected a number, got undefined' })
  await t.throwsAsync(network.runUntil(5 as unknown as Promise<void>), { message: 'what: expected a promise or a function, got 5' })
  await t.throwsAsync(network.runUntil(Promise.resolve(), { limit: -1 }), { message: 'options.limit: expected a number from 0 to 4320000000 ms, got -1' })
  await t.throwsAsync(network.listen({ port: 70_000, secret: network.secret }), { message: 'options.port: expected an integer from 0 to 65535, got 70000' })
  const endpoint = await network.bind()
  const foreign = new Network()
  t.teardown(() => foreign.close())
  const other = await foreign.bind()
  t.throws(() => network.partition(endpoint, other), { message: 'to: expected an open endpoint of this network, got an object' })
  endpoint.destroy()
  t.throws(() => network.heal(endpoint, endpoint), { instanceOf: OptionError })
})

test('path secrets are for one life of one endpoint, here too, but for each network', async (t) => {
  const exportSecret = randomBytes(32)
  const secretOf = (role: 'client' | 'server'): PathSecret => ({ exportSecret, role, cipherSuite: 'aes-128-gcm' })
  for (let round = 0; round < 2; round += 1) {
    const network = new Network({ delay: 5 })
    const receiver = await network.listen({
      host: '10.1.0.1', port: 1, pathSecret: { ...secretOf('server'), peerAddress: { address: '10.1.0.2', port: 2 } },
    }) // prettier-ignore
    const sender = await network.bind({ host: '10.1.0.2', port: 2 })
    const collected = collect(receiver)
    await network.run(0)
    t.is(network.now, 0)
    const peer = await network.runUntil(sender.connect('10.1.0.1', 1, { pathSecret: secretOf('client') }))
    peer.openStream().end('hello')
    await network.runUntil(collected.done)
    t.is(collected.bytes, 5)
    await t.throwsAsync(sender.connect('10.1.0.1', 1, { pathSecret: secretOf('client') }), { code: 'ERR_PACELINE_PATH_SECRET_USED' })
    await network.close()
  }
})

test('trace: a line for every datagram, with its fate', async (t) => {
  const joined = await closing(t, pair({ seed: 5, delay: 10, loss: 0.05, trace: true }))
  await whole(t, joined, 200_000)
  const lines = joined.network.trace().trimEnd().split('\n')
  const { sent, lost, delivered } = joined.network.stats()
  t.is(lines.filter((line) => line.includes(' → ')).length, sent)
  t.is(lines.filter((line) => line.includes('✗') && line.includes(' loss ')).length, lost)
  t.is(lines.filter((line) => line.includes(' ← ')).length, delivered)
  t.regex(lines[0] ?? '', /^ +0\.000 µs 10\.0\.0\.2:49152 → 10\.0\.0\.1:4433 /)
})

test('close: ends runs, endpoints and timers, and remembers what happened', async (t) => {
  const joined = await pair({ delay: 10 })
  const { network, sender, receiver, peer } = joined
  await whole(t, joined, 10_000)
  const stream = peer.openStream()
  const failed = new Promise<Error>((resolve) => stream.once('error', resolve))
  stream.write('x')
  const run = t.throwsAsync(network.run(10_000), { instanceOf: EndpointError, message: 'the network was closed' })
  const until = t.throwsAsync(network.runUntil(new Promise(() => undefined)), { instanceOf: EndpointError })
  network.setTimeout(() => t.fail('a timer of a closed network'), 1)
  const { sent } = network.stats()
  await Promise.all([network.close(), network.close()])
  await Promise.all([run, until, sender.closed, receiver.closed])
  t.true((await failed) instanceof EndpointError)
  t.is(network.stats().sent, sent)
  t.not(network.hash(), '0'.repeat(16))
  await t.throwsAsync(network.run(1), { code: 'ERR_PACELINE_ENDPOINT_CLOSED' })
  await t.throwsAsync(network.bind(), { code: 'ERR_PACELINE_ENDPOINT_CLOSED' })
  await network.close()
  const unused = new Network()
  await unused[Symbol.asyncDispose]()
  t.is(unused.stats().sent, 0)
})

test('what a program does at an instant takes no virtual time, over whatever turns of the event loop', async (t) => {
  const { network, receiver, peer } = await closing(t, pair({ delay: 20 }))
  const serving = (async () => {
    for await (const stream of receiver) {
      for await (const chunk of stream) {
        for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve))
        await stream.writer.write(chunk)
      }
      stream.end()
      return
    }
  })()
  const stream = peer.openStream()
  const chunks = stream.chunks()
  const times: number[] = []
  for (let round = 0; round < 5; round += 1) {
    const start = network.now
    await network.runUntil(async () => {
      await new Promise((resolve) => setImmediate(resolve))
      await stream.writer.write('ping')
      await chunks.next()
    })
    times.push(Math.round((network.now - start) * 1e6) / 1e6)
  }
  t.deepEqual(times, [40, 40, 40, 40, 40])
  stream.end()
  await network.runUntil(serving)
})

test.serial('somebody who polls does not stop the clock', async (t) => {
  const network = new Network()
  t.teardown(() => network.close())
  let polls = 0
  let over = false
  const poll = (): void => {
    polls += 1
    if (!over) setImmediate(poll)
  }
  poll()
  await network.run(1_000)
  over = true
  t.is(network.now, 1_000)
  t.true(polls > 1 && polls < 100_000)
})

test('a stream that the other side resets fails with its code', async (t) => {
  const { network, receiver, peer } = await closing(t, pair({ delay: 20 }))
  const serving = (async () => {
    for await (const stream of receiver) {
      stream.on('error', () => undefined)
      stream.reset(300)
      return
    }
  })()
  const stream = peer.openStream()
  await network.runUntil(stream.writer.write('x'))
  const error = await t.throwsAsync(network.runUntil(stream.flush().then(() => stream.chunks().next())), { instanceOf: StreamError })
  t.like(error, { code: 'ERR_PACELINE_STREAM_RESET', errorCode: 300 })
  await serving
})

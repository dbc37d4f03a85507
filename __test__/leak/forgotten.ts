import { once } from 'node:events'
import { PassThrough } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import type { Endpoint, Peer, Stream } from '../../packages/paceline/src/index.js'
import { joinSockets, listenerCount, readAll } from '../support/endpoints.js'
import { collectUntil } from '../support/gc.js'

/** Longer than a stream is held for good. */
const YOUTH = 1_300

interface Pair {
  receiver: Endpoint
  sender: Endpoint
  peer: Peer
  /** What `receiver` accepted. */
  accepted: Stream[]
}

async function pair(t: ExecutionContext): Promise<Pair> {
  const accepted: Stream[] = []
  const joined = await joinSockets(t, (stream) => accepted.push(stream), { listen: { maxIncomingStreams: 2_000 } })
  return { ...joined, accepted }
}

test.serial('R14: 1,000 streams that are forgotten without an end are collected and reset', async (t) => {
  const { sender, receiver, peer, accepted } = await pair(t)
  const COUNT = 1_000
  await (async () => {
    for (let count = 0; count < COUNT; count += 1) await peer.openStream().writer.write('x')
  })()
  t.true(await collectUntil(() => accepted.length === COUNT))
  t.is(receiver.stats().streams, COUNT)
  const codes: unknown[] = []
  for (const stream of accepted) stream.once('error', (error: Error & { errorCode?: number }) => codes.push(error.errorCode))
  t.true(await collectUntil(() => codes.length === COUNT), `${codes.length} were reset`)
  t.deepEqual(new Set(codes), new Set([256]))
  t.true(await collectUntil(() => sender.stats().streams === 0 && receiver.stats().streams === 0))
  t.is(peer.streams.length, 0)
  t.is(sender.stats().poolLent, 0)
})

test.serial('R14: accepted and forgotten, with bytes unread', async (t) => {
  const { peer } = await joinSockets(t, () => undefined)
  const streams = Array.from({ length: 50 }, () => peer.openStream())
  for (const stream of streams) await stream.writer.write('unread')
  // The loop itself holds the last one.
  t.true(await collectUntil(() => streams.filter((stream) => stream.destroyed).length >= streams.length - 1))
  for (const stream of streams.slice(0, -1)) t.like(stream.errored, { code: 'ERR_PACELINE_STREAM_RESET', errorCode: 256 })
})

test.serial('what somebody can still observe stays', async (t) => {
  const { peer, accepted } = await pair(t)
  const seen: string[] = []
  const waits: Promise<unknown>[] = []
  // In a function of its own: no variable here holds a stream.
  await (async () => {
    const listening = peer.openStream()
    listening.on('data', (chunk: Buffer) => seen.push(`listener ${chunk.toString()}`))
    await listening.writer.write('listener')

    const reading = peer.openStream()
    void reading.chunks().next().then(({ value }) => seen.push(`iterator ${value?.toString()}`))
    await reading.writer.write('iterator')

    const piped = peer.openStream()
    piped.pipe(new PassThrough()).on('data', (chunk: Buffer) => seen.push(`pipe ${chunk.toString()}`))
    await piped.writer.write('pipe')

    const stuck = peer.openStream()
    await stuck.writer.write('stuck')
    waits.push(stuck.writer.write(Buffer.alloc(8 << 20)).then(() => seen.push('write')))

    const ended = peer.openStream()
    ended.end('ended')

    const held = peer.openStream()
    held.write('recorded')
    const completions = held.completions()
    waits.push(
      (async () => {
        let sent = 0
        for await (const completion of completions) if (completion.outcome === 'sent') sent += 1
        seen.push(`completions ${sent > 0}`)
      })(),
    )
  })()
  t.true(await collectUntil(() => accepted.length === 6))
  t.false(await collectUntil(() => accepted.some((stream) => stream.destroyed), YOUTH + 1_000))
  const texts: string[] = []
  for (const stream of accepted) {
    const { value } = await stream.chunks().next()
    const text = value?.toString().replace(/\0.*/s, '') ?? ''
    texts.push(text)
    await stream.writer.write('reply').catch(() => undefined)
    if (text === 'stuck') waits.push(once(stream.resume(), 'error').then(([error]) => seen.push(`reset ${(error as { errorCode: number }).errorCode}`)))
    if (text === 'recorded') stream.reset()
    if (text === 'ended') t.is((await readAll(stream)).length, 0)
  }
  t.deepEqual(texts.sort(), ['ended', 'iterator', 'listener', 'pipe', 'recorded', 'stuck'])
  t.true(await collectUntil(() => seen.length === 6), seen.join(', '))
  await Promise.all(waits)
  t.deepEqual(seen.sort(), ['completions true', 'iterator reply', 'listener reply', 'pipe reply', 'reset 256', 'write'])
})

test.serial('a stream whose completions somebody took, and left, is forgotten like any other', async (t) => {
  const { peer, accepted } = await pair(t)
  await (async () => {
    const stream = peer.openStream()
    const completions = stream.completions()
    await stream.writer.write('x')
    for await (const completion of completions) if (completion.outcome === 'sent') break
  })()
  t.true(await collectUntil(() => accepted.length === 1))
  t.true(await collectUntil(() => accepted[0]?.destroyed === true))
  t.like(accepted[0]?.errored, { code: 'ERR_PACELINE_STREAM_RESET', errorCode: 256 })
})

test.serial('a stream that was ended and forgotten gets there whole', async (t) => {
  const { sender, peer, accepted } = await pair(t)
  const bytes = 600_000
  await (async () => {
    for (let count = 0; count < 20; count += 1) peer.openStream().end(Buffer.alloc(bytes, count))
  })()
  t.true(await collectUntil(() => accepted.length === 20))
  await sleep(YOUTH)
  await collectUntil(() => false, 200)
  for (const stream of accepted) t.is((await readAll(stream)).length, bytes)
  // Nobody is left there to read a reply: the stream closes as after close().
  t.true(await collectUntil(() => accepted.every((stream) => stream.destroyed)))
  for (const stream of accepted) t.is(stream.errored, null)
  t.true(await collectUntil(() => sender.stats().streams === 0))
})

test.serial('a signal that lives on does not keep the streams it was given to', async (t) => {
  const { sender, peer } = await pair(t)
  const controller = new AbortController()
  const { signal } = controller
  const listeners = listenerCount(signal)
  await (async () => {
    for (let count = 0; count < 10; count += 1) await peer.openStream({ signal }).writer.write('x')
  })()
  t.is(listeners(), 1)
  t.true(await collectUntil(() => listeners() === 0))
  t.is(sender.stats().streams, 0)
})

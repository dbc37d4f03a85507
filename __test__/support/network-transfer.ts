import { fileURLToPath } from 'node:url'
import type { Endpoint, Peer } from '../../packages/paceline/src/index.js'
import { Network, type NetworkOptions } from '../../packages/paceline/src/testing.js'
import { pattern } from './endpoints.ts'

export interface Pair {
  network: Network
  receiver: Endpoint
  sender: Endpoint
  /** Of the sender. */
  peer: Peer
}

/** Two endpoints of a network, the handshake made. */
export async function pair(options: NetworkOptions = {}, endpointOptions: { idleTimeout?: number; keepAlive?: boolean } = {}): Promise<Pair> {
  const network = new Network(options)
  const { secret } = network
  const receiver = await network.listen({ ...endpointOptions, port: 4433, secret })
  const sender = await network.bind(endpointOptions)
  const peer = await network.runUntil(sender.connect(receiver.address.address, 4433, { secret }))
  return { network, receiver, sender, peer }
}

/** Reads the first stream that comes to its end; what came so far is in `bytes`. */
export function collect(receiver: Endpoint): { bytes: number; chunks: Buffer[]; done: Promise<void> } {
  const collected: { bytes: number; chunks: Buffer[]; done: Promise<void> } = { bytes: 0, chunks: [], done: Promise.resolve() }
  collected.done = (async () => {
    for await (const stream of receiver) {
      for await (const chunk of stream) {
        collected.bytes += chunk.length
        collected.chunks.push(Buffer.from(chunk))
      }
      stream.end()
      return
    }
  })()
  return collected
}

/** Writes for so many virtual ms through a Writable, and reads through an iterator. Returns the bytes that were read. */
export async function bulk({ network, receiver, peer }: Pair, milliseconds: number): Promise<number> {
  let read = 0
  const reading = (async () => {
    for await (const stream of receiver) for await (const chunk of stream) read += chunk.length
  })()
  reading.catch(() => undefined)
  const stream = peer.openStream()
  const chunk = pattern(64 * 1024)
  const write = (): void => {
    while (stream.write(chunk));
  }
  stream.on('drain', write)
  write()
  await network.run(milliseconds)
  stream.off('drain', write)
  stream.destroy()
  return read
}

/** What two processes must agree on. */
export async function fingerprint(seed: number): Promise<string> {
  const pairOf = await pair({ seed, delay: 20, jitter: 5, loss: 0.02, duplicate: 0.01, reorder: 0.02, rate: 20e6 })
  const { network, receiver, peer } = pairOf
  const collected = collect(receiver)
  const stream = peer.openStream()
  stream.end(pattern(2_000_000))
  await network.runUntil(collected.done)
  await network.run(1_000)
  const text = JSON.stringify({ hash: network.hash(), now: network.now, ...network.stats() })
  await network.close()
  return text
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.stdout.write(await fingerprint(Number(process.argv[2])))

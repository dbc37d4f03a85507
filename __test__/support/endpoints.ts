import type { ExecutionContext } from 'ava'
import { Endpoint, generateSecret, type BindOptions, type ConnectOptions, type OpenStreamOptions, type Peer, type Stream } from '../../packages/paceline/src/index.js'
import { MemoryNetwork, type MemoryDriver, type MemoryNetworkOptions } from './memory-driver.js'

export interface Joined {
  network: MemoryNetwork
  sender: Endpoint
  receiver: Endpoint
  peer: Peer
  senderDriver: MemoryDriver
  receiverDriver: MemoryDriver
}

export interface JoinedStreams extends Joined {
  /** Opened by the sender. */
  local: Stream
  /** The other end; accepted by the receiver. */
  remote: Stream
}

/** Two endpoints over a memory network, the handshake made. Closed after the test. */
export async function join(t: ExecutionContext, options: MemoryNetworkOptions = {}, endpointOptions: BindOptions = {}): Promise<Joined> {
  const network = new MemoryNetwork(options)
  const secret = generateSecret()
  const receiver = await Endpoint.create(network.factory, { ...endpointOptions, port: 4433, secret }, true)
  const sender = await Endpoint.create(network.factory, endpointOptions, false)
  t.teardown(() => {
    sender.destroy()
    receiver.destroy()
  })
  const peer = await sender.connect('127.0.0.1', 4433, { secret })
  const senderDriver = network.drivers.get(sender.address.port)
  const receiverDriver = network.drivers.get(4433)
  if (senderDriver === undefined || receiverDriver === undefined) throw new Error('the network knows no such port')
  return { network, sender, receiver, peer, senderDriver, receiverDriver }
}

/** As `join`, with one stream; `first` is what the sender wrote to make itself known. */
export async function joinStreams(
  t: ExecutionContext,
  options: MemoryNetworkOptions = {},
  endpointOptions: BindOptions = {},
  streamOptions: OpenStreamOptions = {},
): Promise<JoinedStreams> {
  const joined = await join(t, options, endpointOptions)
  const streams = joined.receiver[Symbol.asyncIterator]()
  const accepted = streams.next()
  await turns(2)
  const local = joined.peer.openStream(streamOptions)
  await local.writer.write(HELLO)
  const remote = (await accepted).value
  if (remote === undefined) throw new Error('no stream came')
  const chunks = remote.chunks()
  await chunks.next()
  // An end that the test does not look at is not forgotten: after a second it would be reset as soon as it is collected.
  t.teardown(() => void [local, remote])
  return { ...joined, local, remote }
}

/** Two endpoints over real sockets, the handshake made; `take` gets what the receiver accepts. Closed after the test. */
export async function joinSockets(
  t: ExecutionContext,
  take: (stream: Stream) => unknown,
  options: { listen?: Omit<BindOptions, 'port' | 'secret'>; bind?: BindOptions; connect?: ConnectOptions } = {},
): Promise<{ sender: Endpoint; receiver: Endpoint; peer: Peer }> {
  const host = '127.0.0.1'
  const secret = generateSecret()
  const receiver = await Endpoint.listen({ host, port: 0, secret, ...options.listen })
  const sender = await Endpoint.bind({ host, ...options.bind })
  t.teardown(() => {
    sender.destroy()
    receiver.destroy()
  })
  // Before anybody can open one: streams are refused until somebody waits for them.
  void (async () => {
    for await (const stream of receiver) take(stream)
  })()
  const peer = await sender.connect(host, receiver.address.port, { secret, ...options.connect })
  return { sender, receiver, peer }
}

/** How many listeners a signal has, from now on. */
export function listenerCount(signal: AbortSignal): () => number {
  let listeners = 0
  const [add, remove] = [signal.addEventListener.bind(signal), signal.removeEventListener.bind(signal)]
  signal.addEventListener = (...args: Parameters<typeof add>) => ((listeners += 1), add(...args))
  signal.removeEventListener = (...args: Parameters<typeof remove>) => ((listeners -= 1), remove(...args))
  return () => listeners
}

/** The byte that makes a stream of `joinStreams` known; already read there. */
export const HELLO = Buffer.from('!')

/** So many turns of the event loop. */
export async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn += 1) await new Promise((resolve) => setImmediate(resolve))
}

/** Waits until `condition` holds; fails after a minute, which no machine needs. */
export async function until(t: ExecutionContext, condition: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + 60_000
  for (let polls = 0; !condition(); polls += 1) {
    if (performance.now() > deadline) {
      t.fail(`waited a minute in vain until ${what}`)
      return
    }
    // What takes longer than turns of this loop takes others, who need the processor.
    if (polls < 1_000) await turns(1)
    else await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/** Everything a stream carries, as one Buffer. */
export async function readAll(stream: Stream): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(Buffer.from(chunk))
  return Buffer.concat(chunks)
}

/** Bytes with a pattern that shows a shift. */
export function pattern(bytes: number): Buffer {
  const buffer = Buffer.allocUnsafe(bytes)
  for (let at = 0; at < bytes; at += 1) buffer[at] = (at * 31 + (at >> 8)) & 0xff
  return buffer
}

/** Resolves with 'pending' if the promise has not settled after some turns. */
export async function state<T>(promise: Promise<T>): Promise<'pending' | 'settled'> {
  let settled = false
  promise.then(
    () => (settled = true),
    () => (settled = true),
  )
  await turns(5)
  return settled ? 'settled' : 'pending'
}

/** Resolves when the stream has emitted 'close'. */
export async function closed(stream: Stream): Promise<void> {
  // Not events.once(), which listens for 'error', too.
  if (!stream.closed) await new Promise<void>((resolve) => stream.once('close', resolve))
}

// Requests and answers: a stream a call. Opening one costs no round trip, calls do not wait for each other, and a caller
// who gives up resets the stream, so that the other side hears of it.
import { setTimeout as sleep } from 'node:timers/promises'
import { Endpoint, generateSecret, StreamError } from 'paceline'

const MAX_MESSAGE = 1 << 20

async function readAll(stream, signal) {
  const chunks = []
  let bytes = 0
  for await (const chunk of stream.chunks({ signal })) {
    bytes += chunk.length
    if (bytes > MAX_MESSAGE) throw new RangeError(`expected a message of at most ${MAX_MESSAGE} bytes`)
    chunks.push(chunk)
  }
  return JSON.parse(Buffer.concat(chunks).toString())
}

class Client {
  #peer

  constructor(peer) {
    this.#peer = peer
  }

  async call(method, params, { signal } = {}) {
    // The signal resets the stream for as long as it lives: also in the middle of the answer.
    const stream = this.#peer.openStream({ signal })
    await stream.writer.write(JSON.stringify({ method, params }))
    await stream.writer.end()
    const { result, error } = await readAll(stream, signal)
    await stream.close()
    if (error !== undefined) throw new Error(error)
    return result
  }
}

async function serve(endpoint, methods) {
  for await (const stream of endpoint) {
    // Not awaited: the next call does not wait for this one.
    void answer(stream, methods).catch((error) => stream.destroy(error))
  }
}

async function answer(stream, methods) {
  const gone = new AbortController()
  stream.on('error', (error) => gone.abort(error))
  const { method, params } = await readAll(stream)
  let reply
  try {
    if (!Object.hasOwn(methods, method)) throw new Error(`no method ${method}`)
    reply = { result: await methods[method](params, gone.signal) }
  } catch (error) {
    if (gone.signal.aborted) return
    reply = { error: error.message }
  }
  await stream.writer.write(JSON.stringify(reply))
  await stream.close()
}

let cancelled = 0
const methods = {
  add: ({ a, b }) => a + b,
  fail: () => {
    throw new Error('it was to be expected')
  },
  slow: async (_, signal) => {
    signal.addEventListener('abort', () => cancelled++)
    await sleep(60_000, undefined, { signal, ref: false })
  },
}

const secret = generateSecret()
const server = await Endpoint.listen({ host: '127.0.0.1', port: 0, secret })
const endpoint = await Endpoint.bind({ host: '127.0.0.1' })
try {
  const serving = serve(server, methods)
  const client = new Client(await endpoint.connect('127.0.0.1', server.address.port, { secret }))

  const sums = await Promise.all(Array.from({ length: 1_000 }, (_, a) => client.call('add', { a, b: 1 })))
  if (sums.some((sum, a) => sum !== a + 1)) throw new Error('expected right sums')

  const refused = await client.call('fail', {}).catch((error) => error.message)
  if (refused !== 'it was to be expected') throw new Error(`expected the error of the other side, got ${refused}`)

  const late = await client.call('slow', {}, { signal: AbortSignal.timeout(1_000) }).catch((error) => error)
  if (!(late instanceof Error)) throw new Error('expected a time limit')
  for (let tries = 0; cancelled === 0 && tries < 100; tries++) await sleep(20)
  if (cancelled !== 1) throw new Error('expected the other side to hear of it')

  console.log(`ok: ${sums.length} calls, an error (${refused}), a time limit (${late.name}, StreamError: ${late instanceof StreamError}) that cancelled the work`)
  await server.close()
  await serving
} finally {
  await Promise.all([endpoint.close(), server.close()])
}

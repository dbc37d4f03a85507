// HTTP between two hosts, over paceline: a stream a request. What knows a Duplex takes a stream, so node:http stays as it is;
// opening a stream costs no round trip, so nobody needs a pool of connections, and no request waits for another one's loss.
import { once } from 'node:events'
import http from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { Endpoint, generateSecret } from 'paceline'

const BYTES = 64 << 20
let unfinished = 0

const server = http.createServer((request, response) => {
  if (request.url === '/large') {
    // A body that a slow reader holds up, and that ends when nobody wants it any more.
    const chunk = Buffer.alloc(64 << 10)
    let left = BYTES
    const write = () => {
      while (left > 0) {
        left -= chunk.length
        if (!response.write(chunk)) return
      }
      if (!response.writableEnded) response.end()
    }
    response.on('drain', write).on('close', () => (unfinished += Number(!response.writableFinished)))
    write()
    return
  }
  let bytes = 0
  request.on('data', (chunk) => (bytes += chunk.length)).on('end', () => response.end(`${request.method} ${request.url}: ${bytes}`))
})

/** Instead of `server.listen()`. */
async function serve(endpoint) {
  for await (const stream of endpoint) server.emit('connection', stream)
}

const secret = generateSecret()
const listening = await Endpoint.listen({ host: '127.0.0.1', port: 0, secret })
const endpoint = await Endpoint.bind({ host: '127.0.0.1' })
try {
  const serving = serve(listening)
  const peer = await endpoint.connect('127.0.0.1', listening.address.port, { secret })
  // With `createConnection` node:http keeps no connection: there is nothing to keep.
  const open = (path, options) => http.request({ host: 'files.example', path, createConnection: () => peer.openStream(), ...options })

  async function post(path, body) {
    const request = open(path, { method: 'POST' }).end(body)
    const [response] = await once(request, 'response')
    let text = ''
    for await (const chunk of response.setEncoding('utf8')) text += chunk
    return text
  }

  const answers = await Promise.all(Array.from({ length: 200 }, (_, index) => post(`/${index}`, Buffer.alloc(10_000))))
  if (answers.some((answer, index) => answer !== `POST /${index}: 10000`)) throw new Error(`expected every body to arrive, got ${answers}`)

  const [download] = await once(open('/large').end(), 'response')
  await once(download, 'data')
  download.destroy()
  // Whoever gives up resets the stream, and the server stops.
  for (let tries = 0; unfinished === 0 && tries < 100; tries++) await sleep(20)
  if (unfinished !== 1) throw new Error('expected the server to hear of it')

  console.log(`ok: ${answers.length} requests at once, and a download of ${BYTES >> 20} MiB that stopped when nobody wanted it`)
  await listening.close()
  await serving
} finally {
  await Promise.all([endpoint.close(), listening.close()])
}

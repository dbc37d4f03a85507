// node:http and node:http2 on our streams: what everybody builds on a Duplex.
import { once } from 'node:events'
import http from 'node:http'
import http2 from 'node:http2'
import { text } from 'node:stream/consumers'
import test, { type ExecutionContext } from 'ava'
import { joinSockets, until } from '../support/endpoints.js'

async function served(t: ExecutionContext, server: http.Server | http2.Http2Server) {
  const { sender, receiver, peer } = await joinSockets(t, (stream) => server.emit('connection', stream))
  // As with a socket of node:net, an error after the response has begun is the request's, too.
  const open = (path: string, options: http.RequestOptions = {}) =>
    http.request({ path, host: 'a.example', createConnection: () => peer.openStream(), ...options }).on('error', () => {})
  const idle = () => until(t, () => sender.stats().streams + receiver.stats().streams === 0, 'no stream is left')
  return { open, peer, idle }
}

const bytesOf = async (request: http.IncomingMessage) => {
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) bytes += chunk.length
  return bytes
}

test('http: bodies both ways, at once, chunked and counted; no stream is left', async (t) => {
  const server = http.createServer((request, response) => {
    void bytesOf(request).then((bytes) => {
      if (request.url === '/chunked') response.write(String(bytes))
      response.end(request.url === '/chunked' ? '!' : String(bytes))
    })
  })
  const { open, idle } = await served(t, server)
  const post = async (path: string, bytes: number) => {
    const request = open(path, { method: 'POST' }).end(Buffer.alloc(bytes))
    const [response] = (await once(request, 'response')) as [http.IncomingMessage]
    return text(response)
  }
  const sizes = [0, 1, 5_000, 3_000_000]
  t.deepEqual(await Promise.all(sizes.map((size) => post('/', size))), sizes.map(String))
  t.deepEqual(await Promise.all(sizes.map((size) => post('/chunked', size))), sizes.map((size) => `${size}!`))
  await idle()
  t.pass('every stream ended by itself')
})

test('http: who gives up is heard, by a client and by a server', async (t) => {
  const events: string[] = []
  const server = http.createServer((request, response) => {
    response.on('close', () => events.push(`${request.url} ${response.writableFinished ? 'whole' : 'cut'}`))
    if (request.url === '/broken') response.write('x', () => response.destroy())
    else response.write(Buffer.alloc(100_000))
  })
  const { open, idle } = await served(t, server)
  const [endless] = (await once(open('/endless').end(), 'response')) as [http.IncomingMessage]
  await once(endless, 'data')
  endless.destroy()
  await until(t, () => events.length === 1, 'the server hears of it')
  // A reset may overtake what was written before it.
  await t.throwsAsync(async () => {
    const [broken] = (await once(open('/broken').end(), 'response')) as [http.IncomingMessage]
    await text(broken)
  })
  await until(t, () => events.length === 2, 'the server closes')
  t.deepEqual(events, ['/endless cut', '/broken cut'])
  await idle()
})

test('http2: sessions of many requests in one stream', async (t) => {
  const server = http2.createServer((request, response) => void bytesOf(request as unknown as http.IncomingMessage).then((bytes) => response.end(`${request.url} ${bytes}`)))
  const { peer, idle } = await served(t, server)
  const session = http2.connect('http://a.example', { createConnection: () => peer.openStream() })
  const answers = Array.from({ length: 20 }, (_, index) => {
    const request = session.request({ ':path': `/${index}`, ':method': 'POST' })
    request.end(Buffer.alloc(index * 10_000))
    return text(request)
  })
  t.deepEqual(await Promise.all(answers), answers.map((_, index) => `/${index} ${index * 10_000}`))
  session.close()
  await once(session, 'close')
  await idle()
})

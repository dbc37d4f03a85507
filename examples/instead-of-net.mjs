// A protocol that was written for node:net, unchanged over paceline: its handler takes a Duplex and does not ask which.
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { createInterface } from 'node:readline'
import { Endpoint, generateSecret } from 'paceline'

/** The protocol: lines in, lines out; `quit` ends it. */
function serveLines(socket) {
  const lines = createInterface({ input: socket })
  lines.on('line', (line) => {
    if (line === 'quit') socket.end('bye\n')
    else socket.write(`${line.toUpperCase()}\n`)
  })
  socket.on('error', () => lines.close())
}

/** A client of it, with the same events for both. */
async function talk(socket, words) {
  const answers = []
  createInterface({ input: socket }).on('line', (line) => answers.push(line))
  for (const word of words) socket.write(`${word}\n`)
  socket.end('quit\n')
  await once(socket, 'close')
  return answers
}

const words = Array.from({ length: 500 }, (_, number) => `word ${number}`)

async function overTcp() {
  const server = createServer({ allowHalfOpen: true }, serveLines).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const socket = connect({ port: server.address().port, host: '127.0.0.1', allowHalfOpen: true })
  const answers = await talk(socket, words)
  server.close()
  return answers
}

async function overPaceline() {
  const secret = generateSecret()
  const server = await Endpoint.listen({ host: '127.0.0.1', port: 0, secret })
  const endpoint = await Endpoint.bind({ host: '127.0.0.1' })
  try {
    // createServer's callback is this loop; connect() is connect() and openStream().
    const serving = (async () => {
      for await (const stream of server) serveLines(stream)
    })()
    const peer = await endpoint.connect('127.0.0.1', server.address.port, { secret })
    const answers = await talk(peer.openStream(), words)
    await server.close()
    await serving
    return answers
  } finally {
    await Promise.all([endpoint.close(), server.close()])
  }
}

const [tcp, paceline] = [await overTcp(), await overPaceline()]
if (tcp.length !== words.length + 1 || tcp.at(-1) !== 'bye') throw new Error(`expected ${words.length + 1} answers over TCP, got ${tcp.length}`)
if (JSON.stringify(tcp) !== JSON.stringify(paceline)) throw new Error(`expected the same answers over paceline, got ${paceline.length}`)
console.log(`ok: ${paceline.length} answers, the same over node:net and over paceline`)

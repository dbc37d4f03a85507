import { once } from 'node:events'
import { connect as connectTcp, createServer as createTcpServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { connect as connectTls, createServer as createTlsServer } from 'node:tls'
import { selfSigned } from '../certificate.ts'
import type { Connection, Contender, Listening } from './contender.ts'

const HOST = '127.0.0.1'
/** What paceline uses: comparing ciphers is not the point. */
const TLS = { minVersion: 'TLSv1.3', ciphers: 'TLS_AES_128_GCM_SHA256' } as const

type Received = Parameters<Contender['listen']>[0]

function serve(socket: Socket, received: Received): void {
  const reply = () => new Promise<void>((done) => socket.end('!', done))
  socket.on('data', (chunk: Buffer) => received(chunk, reply))
  // The sender hangs up when it has its answer.
  socket.on('error', () => {})
}

async function listening(server: Server, token: string): Promise<Listening> {
  server.listen(0, HOST)
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    token,
    async close() {
      server.close()
      await once(server, 'close')
    },
  }
}

function connection(socket: Socket): Connection {
  let drained = () => {}
  socket.on('drain', () => drained())
  const answer = once(socket, 'data')
  answer.catch(() => {})
  return {
    write(chunk) {
      if (!socket.write(chunk)) return new Promise<void>((resolve) => (drained = resolve))
    },
    async answered() {
      await answer
    },
    async close() {
      if (socket.destroyed) return
      socket.end()
      await once(socket, 'close')
    },
  }
}

export const net: Contender = {
  name: 'node:net',
  async listen(received) {
    return listening(
      createTcpServer((socket) => serve(socket, received)),
      '',
    )
  },
  async connect({ port }) {
    const socket = connectTcp({ host: HOST, port })
    await once(socket, 'connect')
    return connection(socket)
  },
}

export const tls: Contender = {
  name: 'node:tls',
  async listen(received) {
    const { key, cert } = selfSigned('localhost')
    return listening(
      createTlsServer({ key, cert, ...TLS }, (socket) => serve(socket, received)),
      cert,
    )
  },
  async connect({ port, token }) {
    const socket = connectTls({ host: HOST, port, ca: token, servername: 'localhost', ...TLS })
    await once(socket, 'secureConnect')
    const cipher = socket.getCipher()
    if (cipher.name !== TLS.ciphers) throw new Error(`expected ${TLS.ciphers}, got ${cipher.name}`)
    return connection(socket)
  },
}

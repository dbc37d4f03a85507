import { once } from 'node:events'
import { createRequire } from 'node:module'
import { resolve } from 'node:path'
import type { Contender } from './contender.ts'

const HOST = '127.0.0.1'

/** The little of udx-native that is used here; it has no types of its own. */
interface UdxStream extends NodeJS.EventEmitter {
  connect(socket: UdxSocket, id: number, port: number, host: string): UdxStream
  write(chunk: Uint8Array): boolean
  end(chunk?: Uint8Array): void
  destroy(): void
  readonly destroyed: boolean
}
interface UdxSocket {
  bind(port: number, host: string): void
  address(): { port: number }
  close(): Promise<void>
}
interface Udx {
  createSocket(): UdxSocket
  createStream(id: number, options?: { firewall(socket: UdxSocket, port: number, host: string): boolean }): UdxStream
}

/** From `tools/`, where `scripts/bench.mjs` has installed it. It does not encrypt. */
function udx(): Udx {
  const require = createRequire(resolve('tools', 'package.json'))
  const Class = require('udx-native') as new () => Udx
  return new Class()
}

const IDS = { receiver: 1, sender: 2 }

export const udxNative: Contender = {
  name: 'udx-native',

  async listen(received) {
    const all = udx()
    const socket = all.createSocket()
    socket.bind(0, HOST)
    // Its streams know their other side beforehand; this one learns it from the first packet.
    const stream: UdxStream = all.createStream(IDS.receiver, {
      firewall: (_socket, port, host) => {
        stream.connect(socket, IDS.sender, port, host)
        return false
      },
    })
    const reply = async () => {
      stream.end(Buffer.from('!'))
    }
    stream.on('data', (chunk: Buffer) => received(chunk, reply))
    stream.on('error', () => {})
    return {
      port: socket.address().port,
      token: '',
      async close() {
        stream.destroy()
        await socket.close()
      },
    }
  },

  async connect({ port }) {
    const all = udx()
    const socket = all.createSocket()
    socket.bind(0, HOST)
    const stream = all.createStream(IDS.sender)
    stream.connect(socket, IDS.receiver, port, HOST)
    stream.on('error', () => {})
    const answer = once(stream, 'data')
    answer.catch(() => {})
    return {
      write(chunk) {
        if (!stream.write(chunk)) return once(stream, 'drain').then(() => undefined)
      },
      async answered() {
        await answer
      },
      async close() {
        stream.destroy()
        await socket.close()
      },
    }
  },
}

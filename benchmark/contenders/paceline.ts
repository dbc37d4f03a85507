import { Endpoint, generateSecret } from 'paceline'
import type { Contender } from './contender.ts'

const HOST = '127.0.0.1'
const CLOSE = { deadline: 1000 }

export const paceline: Contender = {
  name: 'paceline',

  async listen(received) {
    const secret = generateSecret()
    const endpoint = await Endpoint.listen({ host: HOST, port: 0, secret })
    const accepting = (async () => {
      for await (const stream of endpoint) {
        const reply = async () => {
          await stream.writer.write('!')
          await stream.writer.end()
        }
        for await (const chunk of stream) received(chunk, reply)
        await stream.close(CLOSE)
        return
      }
    })()
    return {
      port: endpoint.address.port,
      token: secret.toString('hex'),
      async close() {
        await accepting
        await endpoint.close(CLOSE)
      },
    }
  },

  async connect({ port, token }) {
    const endpoint = await Endpoint.bind({ host: HOST })
    const peer = await endpoint.connect(HOST, port, { secret: Buffer.from(token, 'hex') })
    const stream = peer.openStream()
    const chunks = stream[Symbol.asyncIterator]()
    return {
      write: (chunk) => stream.writer.write(chunk),
      async answered() {
        await chunks.next()
      },
      async close() {
        await stream.writer.end()
        await stream.close(CLOSE)
        await endpoint.close(CLOSE)
      },
    }
  },
}

// A receiver in a process of its own, to be killed; prints its port and when it was bound. usage: node receiver.mjs PORT SECRET-HEX
import { Endpoint } from 'paceline'

const [port, secret] = process.argv.slice(2)
const endpoint = await Endpoint.listen({ host: '127.0.0.1', port: Number(port), secret: Buffer.from(secret, 'hex') })
const bound = performance.timeOrigin + performance.now()
const streams = endpoint.streams()
let next = streams.next()
// Streams are let in when this tick's commands have been carried out.
setTimeout(() => process.stdout.write(`${endpoint.address.port} ${bound}\n`), 10)
for (;;) {
  const { value } = await next
  value.resume()
  next = streams.next()
}

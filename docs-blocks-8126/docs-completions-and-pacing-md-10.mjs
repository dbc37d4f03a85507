import { Endpoint, generateSecret } from 'paceline'

const secret = generateSecret()
const receiver = await Endpoint.listen({ host: '127.0.0.1', port: 0, secret })
const sender = await Endpoint.bind({ host: '127.0.0.1' })
const serving = (async () => {
  for await (const stream of receiver) {
    for await (const _ of stream);
    await stream.close()
  }
})()
const peer = await sender.connect('127.0.0.1', receiver.address.port, { secret, maxBitrate: 100e6 })
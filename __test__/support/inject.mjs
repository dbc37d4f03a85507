// A peer with an injected path secret, in a process of its own: opens a stream, closes it, and ends. usage: node inject.mjs PORT SECRET-HEX
import { Endpoint } from 'paceline'

const [port, secret] = process.argv.slice(2)
const endpoint = await Endpoint.bind({ host: '127.0.0.1' })
const pathSecret = { exportSecret: Buffer.from(secret, 'hex'), role: 'client', cipherSuite: 'aes-128-gcm' }
const peer = await endpoint.connect('127.0.0.1', Number(port), { pathSecret })
const stream = peer.openStream()
stream.on('error', () => undefined)
await stream.writer.write('first')
await stream.close({ deadline: 5_000 })
endpoint.destroy()

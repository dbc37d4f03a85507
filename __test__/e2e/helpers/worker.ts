// One side of a transfer, in a process of its own. usage: worker.ts receive|send|stall JSON
import { setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Endpoint } from 'paceline'
import type { Message, ReceiveTask, SendTask, StallTask } from './sides.ts'

const tell = (message: Message) => process.send?.(message)

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as (options?: { type: 'minor' }) => void

/**
 * Resident memory above what it was, sampled on a timer of its own. What is garbage goes first: a process that does nothing
 * but make a Buffer of 64 KiB per turn grows by 40 MiB with Node 20, and by 66 with Node 24 (2026-11-23).
 */
class Memory {
  readonly #base = process.memoryUsage.rss()
  #peak = this.#base
  #samples = 0
  readonly #timer = setInterval(() => this.#sample(), 20)

  #sample(): void {
    // Most is young; what is not, as a slow reader's, is looked for every 200 ms.
    if (++this.#samples % 10 === 0) collect()
    else collect({ type: 'minor' })
    this.#peak = Math.max(this.#peak, process.memoryUsage.rss())
  }

  stop(): number {
    clearInterval(this.#timer)
    this.#sample()
    return this.#peak - this.#base
  }
}

async function receive({ secret, bytesPerSecond }: ReceiveTask): Promise<void> {
  const endpoint = await Endpoint.listen({ host: '127.0.0.1', port: 0, secret: Buffer.from(secret, 'hex') })
  tell({ event: 'listening', port: endpoint.address.port })
  for await (const stream of endpoint) {
    const memory = new Memory()
    const begin = performance.now()
    let bytes = 0
    let wrong = 0
    for await (const chunk of stream) {
      // What the generator wrote: every byte is the low byte of its offset divided by 64 KiB.
      if (chunk[0] !== ((bytes >> 16) & 0xff)) wrong++
      bytes += chunk.length
      if (bytesPerSecond > 0) {
        const ahead = (bytes / bytesPerSecond) * 1000 - (performance.now() - begin)
        if (ahead > 1) await sleep(ahead)
      }
    }
    tell({ event: 'done', bytes, wrong, memoryGrowth: memory.stop(), milliseconds: performance.now() - begin })
    await stream.close({ deadline: 10_000 })
    break
  }
  await endpoint.close({ deadline: 10_000 })
}

function* generator(bytes: number): Generator<Buffer> {
  for (let offset = 0; offset < bytes; offset += 65_536) yield Buffer.alloc(Math.min(65_536, bytes - offset), Math.floor(offset / 65_536) & 0xff)
}

async function send({ secret, port, bytes }: SendTask): Promise<void> {
  const endpoint = await Endpoint.bind({ host: '127.0.0.1' })
  const peer = await endpoint.connect('127.0.0.1', port, { secret: Buffer.from(secret, 'hex') })
  const stream = peer.openStream()
  const memory = new Memory()
  const begin = performance.now()
  for (const chunk of generator(bytes)) await stream.writer.write(chunk)
  const milliseconds = performance.now() - begin
  await stream.writer.end()
  await stream.flush()
  tell({ event: 'done', bytes, wrong: 0, memoryGrowth: memory.stop(), milliseconds })
  await stream.close({ deadline: 10_000 })
  await endpoint.close({ deadline: 10_000 })
}

/** Fills the send buffer, lets the transfer settle, blocks JavaScript, and says when. */
async function stall({ secret, port, maxBitrate, queued, settleMs, stallMs, afterwards }: StallTask): Promise<void> {
  const endpoint = await Endpoint.bind({ host: '127.0.0.1', sendBufferBytes: 2 * queued })
  const peer = await endpoint.connect('127.0.0.1', port, { secret: Buffer.from(secret, 'hex'), maxBitrate })
  const stream = peer.openStream()
  const settle = Buffer.alloc((maxBitrate / 8_000) * settleMs)
  await stream.writer.write(settle)
  await sleep(settleMs)
  // Resolves when it lies in the send buffer: so much is queued below JavaScript when the stall begins.
  await stream.writer.write(Buffer.alloc(queued))
  const begin = Date.now()
  const until = performance.now() + stallMs
  while (performance.now() < until);
  tell({ event: 'stalled', begin, end: Date.now() })
  await stream.writer.write(Buffer.alloc(afterwards))
  await stream.writer.end()
  await stream.flush()
  await stream.close({ deadline: 10_000 })
  await endpoint.close({ deadline: 10_000 })
}

const [role, json = ''] = process.argv.slice(2)
if (role === 'receive') await receive(JSON.parse(json) as ReceiveTask)
else if (role === 'send') await send(JSON.parse(json) as SendTask)
else if (role === 'stall') await stall(JSON.parse(json) as StallTask)
else throw new Error(`unknown role ${role}`)
process.disconnect?.()

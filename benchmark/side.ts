// One process of a whole-transfer benchmark. usage: side.ts receive|send CONTENDER BYTES; the rest comes by messages.
import { once } from 'node:events'
import { contenders } from './contenders/all.ts'
import type { Address, Contender, Measured } from './contenders/contender.ts'

/** A write of an application that has bytes in plenty; TLS and TCP gain nothing from larger ones. */
const CHUNK_BYTES = 64 * 1024
/** Congestion control, receive windows and the JIT compiler are past their beginnings after this. */
const WARM_UP_BYTES = 64 << 20

/** CPU of all threads of this process, native ones included. */
function cpuSeconds(since?: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(since)
  return (user + system) / 1e6
}

async function receive(contender: Contender, bytes: number): Promise<void> {
  const all = WARM_UP_BYTES + bytes
  let count = 0
  let begin: NodeJS.CpuUsage | undefined
  let beginTime = 0
  const listening = await contender.listen((chunk, reply) => {
    count += chunk.length
    if (begin === undefined && count >= WARM_UP_BYTES) [begin, beginTime] = [process.cpuUsage(), performance.now()]
    if (count < all) return
    const measured: Measured = { seconds: (performance.now() - beginTime) / 1000, cpuSeconds: cpuSeconds(begin) }
    void reply().then(() => process.send?.(measured))
  })
  process.send?.({ port: listening.port, token: listening.token })
  await once(process, 'message')
  await listening.close()
}

async function send(contender: Contender, bytes: number): Promise<void> {
  const [address] = (await once(process, 'message')) as [Address]
  const connection = await contender.connect(address)
  const chunk = Buffer.alloc(CHUNK_BYTES, 'paceline')
  const write = async (count: number) => {
    for (let rest = count; rest > 0; rest -= CHUNK_BYTES) {
      const room = connection.write(rest < CHUNK_BYTES ? chunk.subarray(0, rest) : chunk)
      if (room !== undefined) await room
    }
  }
  await write(WARM_UP_BYTES)
  const begin = process.cpuUsage()
  const beginTime = performance.now()
  await write(bytes)
  await connection.answered()
  const measured: Measured = { seconds: (performance.now() - beginTime) / 1000, cpuSeconds: cpuSeconds(begin) }
  process.send?.(measured)
  await once(process, 'message')
  await connection.close()
}

const [role, name, bytes] = process.argv.slice(2)
const contender = contenders.find((each) => each.name === name)
if (contender === undefined) throw new Error(`unknown contender ${name}`)
await (role === 'receive' ? receive : send)(contender, Number(bytes))
process.disconnect()

import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { contenders as all } from './contenders/all.ts'
import type { Address, Measured } from './contenders/contender.ts'
import { median, summarize, type Options, type Printer } from './results.ts'

const GIGABYTE = 1e9
const RUN_TIMEOUT_MS = 120_000

interface Run {
  readonly gbitPerSecond: number
  readonly senderCpu: number
  readonly receiverCpu: number
}

/** A process that has ended, or is silent for too long, is an error of the run and not a wait for ever. */
async function message<T>(child: ChildProcess): Promise<T> {
  const stop = new AbortController()
  const { signal } = stop
  const timer = setTimeout(() => stop.abort(), RUN_TIMEOUT_MS)
  try {
    const ended = once(child, 'exit', { signal }).then(([code]) => {
      throw new Error(`a side ended with ${String(code)} in the middle of a run`)
    })
    ended.catch(() => {})
    const [news] = await Promise.race([once(child, 'message', { signal }), ended])
    return news as T
  } finally {
    clearTimeout(timer)
    stop.abort()
  }
}

async function transfer(contender: string, bytes: number): Promise<Run> {
  const side = (role: string) => fork(fileURLToPath(new URL('side.ts', import.meta.url)), [role, contender, String(bytes)])
  const receiver = side('receive')
  const sender = side('send')
  const ended = [once(receiver, 'exit'), once(sender, 'exit')]
  try {
    const address = await message<Address>(receiver)
    sender.send(address)
    const [sent, received] = await Promise.all([message<Measured>(sender), message<Measured>(receiver)])
    sender.send('close')
    receiver.send('close')
    await Promise.all(ended)
    const gigabytes = bytes / GIGABYTE
    return {
      // The sender's clock: from its first write until it has the receiver's answer.
      gbitPerSecond: (8 * gigabytes) / sent.seconds,
      senderCpu: sent.cpuSeconds / gigabytes,
      receiverCpu: received.cpuSeconds / gigabytes,
    }
  } finally {
    receiver.kill('SIGKILL')
    sender.kill('SIGKILL')
  }
}

/**
 * Interleaved, each round beginning with another contender: what the machine does besides hits all alike. Ratios are made
 * within a round; absolute values of different machines or hours say nothing.
 */
export async function bulk({ runs, bytes, only }: Options, print: Printer): Promise<void> {
  const contenders = all.filter(({ name }) => only === undefined || name === only)
  if (contenders.length === 0) throw new Error(`expected --only to be one of ${all.map(({ name }) => name).join(', ')}, got ${only}`)
  const results = new Map<string, Run[]>(contenders.map(({ name }) => [name, []]))
  for (let round = 0; round < runs; round++) {
    for (let turn = 0; turn < contenders.length; turn++) {
      const contender = contenders[(round + turn) % contenders.length]
      if (contender === undefined) continue
      const run = await transfer(contender.name, bytes)
      results.get(contender.name)?.push(run)
      print.remark(`round ${round + 1} of ${runs}: ${contender.name} ${run.gbitPerSecond.toFixed(2)} Gbit/s`)
    }
  }
  for (const [name, each] of results) {
    const of = (key: keyof Run) => each.map((run) => run[key])
    print.result(summarize(name, 'Gbit/s', of('gbitPerSecond')))
    print.result(summarize(`${name} sender cpu`, 's/GB', of('senderCpu')))
    print.result(summarize(`${name} receiver cpu`, 's/GB', of('receiverCpu')))
  }
  const ours = results.get('paceline') ?? []
  for (const [name, theirs] of results) {
    if (name === 'paceline' || ours.length === 0) continue
    const ratios = ours.map((run, round) => run.gbitPerSecond / (theirs[round]?.gbitPerSecond ?? Number.NaN))
    print.result(summarize(`paceline / ${name}`, 'x', ratios))
    if (median(ratios) < 1) print.remark(`paceline is slower than ${name} here`)
  }
}

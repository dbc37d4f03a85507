import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'

/** One send: on `lo` a capture shows whole GSO bursts, each with the kernel's time. */
export interface Burst {
  /** Milliseconds since the epoch. */
  readonly at: number
  /** UDP payload. */
  readonly bytes: number
  readonly firstByte: number
}

const ETHERNET = 14
const UDP_HEADER = 8

/** Captures what goes to a UDP port of the loopback interface. */
export class Capture {
  readonly #file: string
  readonly #child

  private constructor(file: string, port: number) {
    this.#file = file
    // prettier-ignore
    this.#child = spawn('tcpdump', ['-i', 'lo', '-n', '-U', '--immediate-mode', '-s', '64', '-B', '16384', '--time-stamp-precision=nano', '-Z', 'root',
      '-w', file, `udp dst port ${port}`], { stdio: ['ignore', 'ignore', 'pipe'] })
  }

  static async start(t: ExecutionContext, folder: string, port: number): Promise<Capture> {
    const capture = new Capture(join(folder, 'capture.pcap'), port)
    t.teardown(() => capture.#child.kill('SIGKILL'))
    await new Promise<void>((resolve, reject) => {
      let text = ''
      capture.#child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk
        if (text.includes('listening on')) resolve()
      })
      capture.#child.once('exit', () => reject(new Error(`tcpdump: ${text}`)))
    })
    return capture
  }

  async stop(): Promise<Burst[]> {
    const ended = once(this.#child, 'exit')
    this.#child.kill('SIGINT')
    await ended
    return parse(readFileSync(this.#file))
  }
}

/** The classic pcap format, little endian, nanoseconds. */
function parse(file: Buffer): Burst[] {
  if (file.readUInt32LE(0) !== 0xa1b23c4d) throw new Error('expected a pcap file with nanoseconds')
  const bursts: Burst[] = []
  for (let at = 24; at + 16 <= file.length; ) {
    const seconds = file.readUInt32LE(at)
    const nanoseconds = file.readUInt32LE(at + 4)
    const captured = file.readUInt32LE(at + 8)
    const original = file.readUInt32LE(at + 12)
    const packet = file.subarray(at + 16, at + 16 + captured)
    const headers = ETHERNET + 4 * ((packet[ETHERNET] ?? 0) & 0x0f) + UDP_HEADER
    bursts.push({ at: seconds * 1000 + nanoseconds / 1e6, bytes: original - headers, firstByte: packet[headers] ?? 0xff })
    at += 16 + captured
  }
  return bursts
}

/** Where the parts of a stream packet lie that are in the clear (dcQUIC version 0, section 2.1). */
export interface StreamPacket {
  readonly retransmission: boolean
  readonly number: Varint
  readonly offset: Varint
  readonly payloadLength: number
  /** Where the sealed payload begins. */
  readonly payloadAt: number
}

export interface Varint {
  readonly at: number
  readonly bytes: number
  readonly value: number
}

const TAG_BYTES = 16

/** Stream packets have the two top bits of their first byte clear; control packets, handshakes and others have not. */
export const isStreamPacket = (datagram: Buffer): boolean => datagram.length > 0 && (datagram[0] ?? 0xff) < 0x40

/** Reads what an observer can read; throws on anything that is not a whole stream packet. */
export function parseStreamPacket(datagram: Buffer): StreamPacket {
  if (!isStreamPacket(datagram)) throw new Error(`not a stream packet: first byte ${datagram[0]}`)
  const tag = datagram.readUInt8(0)
  let at = 1
  const varint = (): Varint => {
    const bytes = 1 << (datagram.readUInt8(at) >> 6)
    let value = BigInt(datagram.readUInt8(at) & 0x3f)
    for (let i = 1; i < bytes; i++) value = (value << 8n) | BigInt(datagram.readUInt8(at + i))
    const found = { at, bytes, value: Number(value) }
    at += bytes
    return found
  }
  at += 16 // credential id
  varint() // key id
  at += 1 + 2 // wire version, unused
  const streamId = varint()
  if ((tag & 0x20) !== 0) varint() // source queue id
  const number = varint()
  if ((streamId.value & 2) !== 0) at += 4 // retransmission offset
  varint() // next expected control packet
  const offset = varint()
  if ((tag & 0x04) !== 0) varint() // final offset
  const controlLength = (tag & 0x08) !== 0 ? varint().value : 0
  const payloadLength = varint().value
  const headerLength = (tag & 0x02) !== 0 ? varint().value : 0
  const payloadAt = at + headerLength + controlLength
  if (payloadAt + payloadLength + TAG_BYTES !== datagram.length) throw new Error(`lengths do not add up: ${datagram.toString('hex', 0, at)}`)
  return { retransmission: (tag & 0x10) !== 0, number, offset, payloadLength, payloadAt }
}

/** Writes another value in the same number of bytes; false if it does not fit. */
export function patchVarint(datagram: Buffer, { at, bytes }: Varint, value: number): boolean {
  if (value < 0 || BigInt(value) >= 1n << BigInt(8 * bytes - 2)) return false
  let rest = BigInt(value)
  for (let i = bytes - 1; i >= 0; i--) {
    datagram[at + i] = Number(rest & 0xffn)
    rest >>= 8n
  }
  datagram[at] = (datagram[at] ?? 0) | (Math.log2(bytes) << 6)
  return true
}

/** Finds runs of a file in datagrams, at any offset of either. */
export class RunFinder {
  readonly #content: Buffer
  readonly #blocks = new Map<string, number>()
  /** First bytes of blocks, as a bitmap: nearly every offset is answered without building a string. */
  readonly #first = new Uint8Array(1 << 21)

  /** Any run of 31 bytes contains a whole aligned block of 16. */
  static readonly BLOCK = 16

  constructor(content: Buffer) {
    this.#content = content
    for (let at = 0; at + RunFinder.BLOCK <= content.length; at += RunFinder.BLOCK) {
      this.#blocks.set(content.toString('latin1', at, at + RunFinder.BLOCK), at)
      const key = content.readUIntBE(at, 3)
      this.#first[key >> 3] = (this.#first[key >> 3] ?? 0) | (1 << (key & 7))
    }
  }

  /** The longest run of the file that the datagram shows around any aligned block, in bytes. */
  longestRun(datagram: Buffer): number {
    let longest = 0
    for (let at = 0; at + RunFinder.BLOCK <= datagram.length; at++) {
      const key = datagram.readUIntBE(at, 3)
      if (((this.#first[key >> 3] ?? 0) & (1 << (key & 7))) === 0) continue
      const from = this.#blocks.get(datagram.toString('latin1', at, at + RunFinder.BLOCK))
      if (from !== undefined) longest = Math.max(longest, this.#extend(datagram, at, from))
    }
    return longest
  }

  #extend(datagram: Buffer, at: number, from: number): number {
    let before = 0
    let after = RunFinder.BLOCK
    while (before < Math.min(at, from) && datagram[at - before - 1] === this.#content[from - before - 1]) before++
    while (at + after < datagram.length && from + after < this.#content.length && datagram[at + after] === this.#content[from + after]) after++
    return before + after
  }
}

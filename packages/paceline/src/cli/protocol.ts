/**
 * Files over streams, one file a stream. Numbers are big endian.
 *
 * ```
 * sender → receiver                                     receiver → sender
 *  0  4  "plf1"                                          0  4  "pla1"
 *  4  8  size of the file, bytes                         4  1  verdict
 * 12  2  length n of the name                            5  32 SHA-256 of what was received; zeros without one
 * 14  n  the file's base name, UTF-8                    37  2  length m of the explanation
 *  …  size bytes of the file                            39  m  explanation for people, UTF-8
 *  …  32 SHA-256 of them
 * ```
 * The receiver may answer before everything was sent; then it refuses, and the sender stops.
 */

export const MAX_NAME_BYTES = 250
export const DIGEST_BYTES = 32
export const MAX_EXPLANATION_BYTES = 1024

const FILE_MAGIC = 'plf1'
const ANSWER_MAGIC = 'pla1'
const FILE_HEAD_BYTES = 14
const ANSWER_HEAD_BYTES = 39

/** Verdicts as they are on the wire; an unknown number is a refusal without a name. */
export const Verdict = { Stored: 0, Exists: 1, Name: 2, Disk: 3, Digest: 4, Protocol: 5, Closing: 6 } as const

export interface FileHead {
  readonly name: string
  readonly size: number
}

export interface Answer {
  readonly verdict: number
  readonly sha256: Buffer
  readonly explanation: string
}

/** What came is not this protocol, or breaks its rules. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError'
  constructor(
    message: string,
    readonly verdict: number = Verdict.Protocol,
  ) {
    super(message)
  }
}

export function encodeHead({ name, size }: FileHead): Buffer {
  const bytes = Buffer.from(name, 'utf8')
  const head = Buffer.alloc(FILE_HEAD_BYTES)
  head.write(FILE_MAGIC, 'latin1')
  head.writeBigUInt64BE(BigInt(size), 4)
  head.writeUInt16BE(bytes.length, 12)
  return Buffer.concat([head, bytes])
}

export async function readHead(reader: ByteReader): Promise<FileHead> {
  const head = await reader.exactly(FILE_HEAD_BYTES)
  if (head.toString('latin1', 0, 4) !== FILE_MAGIC) throw new ProtocolError('expected a file, got a stream of something else')
  const size = head.readBigUInt64BE(4)
  if (size > BigInt(Number.MAX_SAFE_INTEGER)) throw new ProtocolError(`expected a file of at most 2^53 bytes, got ${size}`)
  const length = head.readUInt16BE(12)
  if (length === 0 || length > MAX_NAME_BYTES) throw new ProtocolError(`expected a name of 1 to ${MAX_NAME_BYTES} bytes, got ${length}`, Verdict.Name)
  return { name: checkName(decodeText(await reader.exactly(length))), size: Number(size) }
}

export function encodeAnswer({ verdict, sha256, explanation }: Answer): Buffer {
  let text = Buffer.from(explanation, 'utf8')
  // Cut between characters: an ASCII byte or the first byte of a sequence begins one.
  if (text.length > MAX_EXPLANATION_BYTES) {
    let end = MAX_EXPLANATION_BYTES
    while (end > 0 && ((text[end] ?? 0) & 0xc0) === 0x80) end--
    text = text.subarray(0, end)
  }
  const head = Buffer.alloc(ANSWER_HEAD_BYTES)
  head.write(ANSWER_MAGIC, 'latin1')
  head.writeUInt8(verdict, 4)
  sha256.copy(head, 5, 0, DIGEST_BYTES)
  head.writeUInt16BE(text.length, 37)
  return Buffer.concat([head, text])
}

export async function readAnswer(reader: ByteReader): Promise<Answer> {
  const head = await reader.exactly(ANSWER_HEAD_BYTES)
  if (head.toString('latin1', 0, 4) !== ANSWER_MAGIC) throw new ProtocolError("expected a receiver's answer, got something else")
  const length = head.readUInt16BE(37)
  if (length > MAX_EXPLANATION_BYTES) throw new ProtocolError(`expected at most ${MAX_EXPLANATION_BYTES} bytes of explanation, got ${length}`)
  return { verdict: head.readUInt8(4), sha256: Buffer.from(head.subarray(5, 37)), explanation: decodeText(await reader.exactly(length)) }
}

/** Names that Windows keeps for devices, with or without an extension. */
const WINDOWS_DEVICES = /^(con|prn|aux|nul|com\d|lpt\d)(\.|$)/i

/** A name that cannot leave the output folder, nor be taken for a partial file, on any system. */
export function checkName(name: string): string {
  const refuse = (why: string) => new ProtocolError(`expected a plain file name, got one ${why}: ${JSON.stringify(name)}`, Verdict.Name)
  if (name === '' || Buffer.byteLength(name) > MAX_NAME_BYTES) throw refuse(`of ${Buffer.byteLength(name)} bytes`)
  if (name === '.' || name === '..') throw refuse('that is a folder')
  if (/[/\\]/.test(name)) throw refuse('with a path')
  if (/[\p{Cc}\p{Zl}\p{Zp}\u202A-\u202E\u2066-\u2069]/u.test(name)) throw refuse('with control characters')
  if (/\.part$/i.test(name)) throw refuse('that ends like a partial file')
  if (process.platform === 'win32' && (/[<>:"|?*]|[. ]$/.test(name) || WINDOWS_DEVICES.test(name))) throw refuse('that Windows does not allow')
  return name
}

function decodeText(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    throw new ProtocolError('expected UTF-8, got other bytes')
  }
}

/** Takes bytes from chunks as a parser wants them, and hands out the rest uncopied. */
export class ByteReader {
  readonly #chunks: AsyncIterator<Uint8Array>
  #rest: Buffer = Buffer.alloc(0)

  /** The iterator is never told to `return`: that would end a stream whose other half is still needed. */
  constructor(source: AsyncIterable<Uint8Array>) {
    this.#chunks = source[Symbol.asyncIterator]()
  }

  /** Exactly so many bytes (a few: heads and digests). */
  async exactly(length: number): Promise<Buffer> {
    const parts: Buffer[] = []
    for (let missing = length; missing > 0; ) {
      const part = await this.some(missing)
      if (part === undefined) throw new ProtocolError(`expected ${missing} more bytes, got the end of the stream`)
      parts.push(part)
      missing -= part.length
    }
    return parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts)
  }

  /** The next bytes, at least one and at most `limit`; `undefined` at the end. */
  async some(limit: number): Promise<Buffer | undefined> {
    while (this.#rest.length === 0) {
      const { value, done } = await this.#chunks.next()
      if (done === true) return undefined
      this.#rest = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
    }
    const part = this.#rest.subarray(0, limit)
    this.#rest = this.#rest.subarray(part.length)
    return part
  }
}

/**
 * Files over streams, one file or folder a stream. Numbers are big endian.
 *
 * ```
 * sender → receiver                                     receiver → sender, if asked to
 *  0  4  "plf2"                                          0  4  "plo2"
 *  4  1  kind: file, folder, stdin, missing              4  8  bytes it has of an earlier attempt
 *  5  1  1: an offer is awaited                         12  32 SHA-256 of them; zeros without any
 *  6  2  permissions, the lower nine bits
 *  8  8  time of the last change, ms since 1970; 0: none  receiver → sender, last
 * 16  8  size of the file, bytes                         0  4  "pla2"
 * 24  8  which of the things that are sent (random)      4  1  verdict
 * 32  4  how many files and folders that thing has       5  32 SHA-256 of the whole file; zeros without one
 * 36  2  length n of the name                           37  2  length m of the explanation
 * 38  n  the name, parts separated by "/", UTF-8        39  m  explanation for people, UTF-8
 *  …  8  if an offer was awaited: where it begins
 *  …     the bytes from there; of stdin: pieces of four bytes of length and as many bytes, an empty one last
 *  …  32 SHA-256 of the whole file (of folders and missing files nothing follows the name)
 * ```
 * The receiver may answer before everything was sent; then it refuses, and the sender stops.
 */

/** Of each part of a name. */
export const MAX_NAME_BYTES = 250
export const MAX_PATH_BYTES = 2048
export const DIGEST_BYTES = 32
export const MAX_EXPLANATION_BYTES = 1024
export const MAX_PIECE_BYTES = 1 << 20

const FILE_MAGIC = 'plf2'
const OFFER_MAGIC = 'plo2'
const ANSWER_MAGIC = 'pla2'
const FILE_HEAD_BYTES = 38
const OFFER_BYTES = 44
const ANSWER_HEAD_BYTES = 39
const MAGIC_BYTES = 4

/** Verdicts as they are on the wire; an unknown number is a refusal without a name. */
export const Verdict = { Stored: 0, Exists: 1, Name: 2, Disk: 3, Digest: 4, Protocol: 5, Closing: 6 } as const

/** Missing: the sender found it, and cannot read it. */
export const Kind = { File: 0, Folder: 1, Stdin: 2, Missing: 3 } as const

export interface FileHead {
  readonly kind: number
  /** The sender waits for an {@link Offer}. */
  readonly awaitsOffer: boolean
  /** Permissions: nine bits. */
  readonly mode: number
  /** Milliseconds since 1970; 0 for none. */
  readonly changedAt: number
  readonly size: number
  /** What was named on the sender's command line: a file, or a folder with all its files. */
  readonly thing: bigint
  readonly entries: number
  readonly name: string
}

/** What a receiver has of an earlier attempt. */
export interface Offer {
  readonly offset: number
  readonly sha256: Buffer
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

export function encodeHead({ kind, awaitsOffer, mode, changedAt, size, thing, entries, name }: FileHead): Buffer {
  const bytes = Buffer.from(name, 'utf8')
  const head = Buffer.alloc(FILE_HEAD_BYTES)
  head.write(FILE_MAGIC, 'latin1')
  head.writeUInt8(kind, 4)
  head.writeUInt8(Number(awaitsOffer), 5)
  head.writeUInt16BE(mode & 0o777, 6)
  head.writeBigUInt64BE(BigInt(Math.max(0, Math.round(changedAt))), 8)
  head.writeBigUInt64BE(BigInt(size), 16)
  head.writeBigUInt64BE(thing, 24)
  head.writeUInt32BE(entries, 32)
  head.writeUInt16BE(bytes.length, 36)
  return Buffer.concat([head, bytes])
}

export async function readHead(reader: ByteReader): Promise<FileHead> {
  const head = await reader.exactly(FILE_HEAD_BYTES)
  const magic = head.toString('latin1', 0, MAGIC_BYTES)
  if (magic !== FILE_MAGIC) throw new ProtocolError(`expected a file, got a stream of ${/^plf\d$/.test(magic) ? 'another version of paceline' : 'something else'}`)
  const safe = (value: bigint, what: string): number => {
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new ProtocolError(`expected ${what} of at most 2^53, got ${value}`)
    return Number(value)
  }
  const size = safe(head.readBigUInt64BE(16), 'a file size')
  const kind = head.readUInt8(4)
  if (kind > Kind.Missing || (kind !== Kind.File && size !== 0)) throw new ProtocolError(`expected a kind of file that is known, got ${kind} of ${size} bytes`)
  const length = head.readUInt16BE(36)
  if (length === 0 || length > MAX_PATH_BYTES) throw new ProtocolError(`expected a name of 1 to ${MAX_PATH_BYTES} bytes, got ${length}`, Verdict.Name)
  return {
    kind,
    awaitsOffer: kind === Kind.File && (head.readUInt8(5) & 1) !== 0,
    mode: head.readUInt16BE(6) & 0o777,
    changedAt: safe(head.readBigUInt64BE(8), 'a time'),
    size,
    thing: head.readBigUInt64BE(24),
    entries: Math.max(1, head.readUInt32BE(32)),
    name: checkPath(decodeText(await reader.exactly(length))),
  }
}

export function encodeOffer({ offset, sha256 }: Offer): Buffer {
  const offer = Buffer.alloc(OFFER_BYTES)
  offer.write(OFFER_MAGIC, 'latin1')
  offer.writeBigUInt64BE(BigInt(offset), 4)
  sha256.copy(offer, 12, 0, DIGEST_BYTES)
  return offer
}

/** Where a sender begins, or how long a piece is. */
export function encodeNumber(value: number, bytes: 4 | 8): Buffer {
  const buffer = Buffer.alloc(8)
  buffer.writeBigUInt64BE(BigInt(value))
  return buffer.subarray(8 - bytes)
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

/** What a receiver says next: its last word, or before that, once, what it has. `silence`: what to say where it says nothing. */
export async function readReply(reader: ByteReader, mayOffer: boolean, silence?: string): Promise<Answer | Offer> {
  const magic = (await reader.exactly(MAGIC_BYTES, silence)).toString('latin1')
  if (mayOffer && magic === OFFER_MAGIC) {
    const rest = await reader.exactly(OFFER_BYTES - MAGIC_BYTES)
    return { offset: Number(rest.readBigUInt64BE(0)), sha256: Buffer.from(rest.subarray(8)) }
  }
  if (magic !== ANSWER_MAGIC) throw new ProtocolError("expected a receiver's answer, got something else")
  const head = await reader.exactly(ANSWER_HEAD_BYTES - MAGIC_BYTES)
  const length = head.readUInt16BE(33)
  if (length > MAX_EXPLANATION_BYTES) throw new ProtocolError(`expected at most ${MAX_EXPLANATION_BYTES} bytes of explanation, got ${length}`)
  return { verdict: head.readUInt8(0), sha256: Buffer.from(head.subarray(1, 33)), explanation: decodeText(await reader.exactly(length)) }
}

/** Names that Windows keeps for devices, with or without an extension. */
const WINDOWS_DEVICES = /^(con|prn|aux|nul|com\d|lpt\d)(\.|$)/i

/** A part of a name that cannot leave the output folder, nor be taken for a partial file, on any system. */
export function checkName(name: string, path = name): string {
  const refuse = (why: string) => new ProtocolError(`expected a plain file name, got one ${why}: ${JSON.stringify(path)}`, Verdict.Name)
  if (name === '' || Buffer.byteLength(name) > MAX_NAME_BYTES) throw refuse(`with a part of ${Buffer.byteLength(name)} bytes`)
  if (name === '.' || name === '..') throw refuse('that is a folder')
  if (/[/\\]/.test(name)) throw refuse('with a path')
  if (/[\p{Cc}\p{Zl}\p{Zp}\u202A-\u202E\u2066-\u2069]/u.test(name)) throw refuse('with control characters')
  if (/\.part$/i.test(name)) throw refuse('that ends like a partial file')
  if (process.platform === 'win32' && (/[<>:"|?*]|[. ]$/.test(name) || WINDOWS_DEVICES.test(name))) throw refuse('that Windows does not allow')
  return name
}

/** Plain names with "/" between them: relative, and nowhere but down. */
export function checkPath(path: string): string {
  if (Buffer.byteLength(path) > MAX_PATH_BYTES) {
    throw new ProtocolError(`expected a name of at most ${MAX_PATH_BYTES} bytes, got ${Buffer.byteLength(path)}`, Verdict.Name)
  }
  for (const part of path.split('/')) checkName(part, path)
  return path
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

  /** Exactly so many bytes (a few: heads and digests). `missed` is the message where there are fewer. */
  async exactly(length: number, missed?: string): Promise<Buffer> {
    const parts: Buffer[] = []
    for (let missing = length; missing > 0; ) {
      const part = await this.some(missing)
      if (part === undefined) throw new ProtocolError(missed ?? `expected ${missing} more bytes, got the end of the stream`)
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

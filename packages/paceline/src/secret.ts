import { OptionError } from './errors.js'

const PREFIX = 'paceline1:'
const MIN_BYTES = 32
const MAX_BYTES = 1024
/** Random 32 bytes have about 30 different values; fewer than 10 is a placeholder. It cannot measure entropy. */
const MIN_DIFFERENT_VALUES = 10
const HOW = 'make one with generateSecret() or `openssl rand 32`; a password or another string is never a secret'
const HOW_TEXT = 'make one with: npx paceline secret'

/** 32 to 1024 random bytes, or a list of such for rotation: the first opens, all are accepted. */
export type Secret = Uint8Array | readonly Uint8Array[]

/** The one form of message for a wrong secret; `got` never shows it. */
export function refuse(name: string, expected: string, got: string, how = HOW): OptionError {
  return new OptionError('ERR_PACELINE_SECRET', `${name}: expected ${expected}, got ${got} (${how})`)
}

function refuseText(name: string, got: string): OptionError {
  return refuse(name, `${PREFIX} and base64url of ${MIN_BYTES} bytes`, got, HOW_TEXT)
}

/** A new secret: 32 bytes from the operating system's random source. */
export function generateSecret(): Buffer {
  // Not node:crypto, which would be a fifth of the time to import this package (5 of 25 ms); the random source is the same.
  const bytes = crypto.getRandomValues(new Uint8Array(MIN_BYTES))
  return Buffer.from(bytes.buffer)
}

/** Of an endpoint's `resetKey`. */
export const RESET_KEY_BYTES = 32

/** A `Uint8Array` of that length, which is the caller's still. What came is never shown: it may be the secret in another form. */
export function randomBytes(name: string, value: unknown, length: number): Uint8Array {
  const expected = `a Uint8Array of ${length} random bytes`
  if (!(value instanceof Uint8Array)) {
    throw refuse(name, expected, value === null ? 'null' : value === undefined ? 'undefined' : `a value of type ${typeof value}`)
  }
  if (value.length !== length) throw refuse(name, expected, `${value.length} bytes`)
  if (length >= MIN_BYTES) refusePlaceholder(name, value)
  return value
}

function refusePlaceholder(name: string, bytes: Uint8Array): void {
  const different = new Set(bytes).size
  if (different < MIN_DIFFERENT_VALUES) throw refuse(name, 'random bytes', `a placeholder with ${different} different byte values`)
}

/**
 * Checks `value` and returns it as a list of copies.
 *
 * @throws {OptionError} `ERR_PACELINE_SECRET`
 */
export function checkSecret(name: string, value: unknown): Uint8Array[] {
  const list: unknown[] = Array.isArray(value) ? value : [value]
  if (list.length === 0) throw refuse(name, 'at least one secret', 'an empty list')
  return list.map((entry, index) => {
    const entryName = Array.isArray(value) ? `${name}[${index}]` : name
    if (!(entry instanceof Uint8Array)) {
      // The value itself never goes into a message: it may be somebody's password.
      const got = typeof entry === 'string' ? 'a string' : entry === null ? 'null' : typeof entry
      throw refuse(entryName, `a Uint8Array of ${MIN_BYTES} to ${MAX_BYTES} random bytes`, got)
    }
    if (entry.length < MIN_BYTES || entry.length > MAX_BYTES) {
      throw refuse(entryName, `${MIN_BYTES} to ${MAX_BYTES} random bytes`, `${entry.length} bytes`)
    }
    refusePlaceholder(entryName, entry)
    return Uint8Array.from(entry)
  })
}

/** The text form of a 32-byte secret: `paceline1:` and base64url. */
export function formatSecret(secret: Uint8Array): string {
  const [checked] = checkSecret('secret', secret)
  if (checked === undefined || checked.length !== MIN_BYTES) {
    throw refuse('secret', `exactly ${MIN_BYTES} bytes for the text form`, `${secret.length} bytes`)
  }
  return PREFIX + Buffer.from(checked).toString('base64url')
}

/**
 * Reads the text form: a line per rotation entry, the first opens. Empty lines are passed over, anything else is refused.
 *
 * @example
 * const secret = parseSecret(process.env.PACELINE_SECRET)
 * @throws {OptionError} `ERR_PACELINE_SECRET`
 */
export function parseSecret(text: string | undefined, name = 'secret'): Buffer[] {
  if (typeof text !== 'string') throw refuseText(name, typeof text)
  const lines = text.split(/\r?\n/).map((line) => line.trim())
  const entries: Buffer[] = []
  for (const [index, line] of lines.entries()) {
    if (line === '') continue
    const where = lines.length > 1 ? `${name} (line ${index + 1})` : name
    const encoded = line.startsWith(PREFIX) ? line.slice(PREFIX.length) : undefined
    if (encoded === undefined) throw refuseText(where, 'text without that prefix')
    const bytes = Buffer.from(encoded, 'base64url')
    // Encoding again catches characters, padding and stray bits that the decoder lets pass.
    if (bytes.length !== MIN_BYTES || bytes.toString('base64url') !== encoded) {
      throw refuseText(where, `${encoded.length} characters that are not`)
    }
    checkSecret(where, bytes)
    entries.push(bytes)
  }
  if (entries.length === 0) throw refuseText(name, 'no entry')
  return entries
}

/**
 * Reads a secret file. Warns (`process.emitWarning`, code `PACELINE_SECRET_READABLE`) when others may read it, too.
 *
 * @throws {OptionError} `ERR_PACELINE_SECRET`, and what `fs.readFile` throws
 */
export async function readSecretFile(path: string): Promise<Buffer[]> {
  // Not at the top, where it would be a part of the time to import this package.
  const { readFile, stat } = await import('node:fs/promises')
  const [text, { mode }] = await Promise.all([readFile(path, 'utf8'), stat(path)])
  if (process.platform !== 'win32' && (mode & 0o077) !== 0) {
    process.emitWarning(`the secret file ${path} can be read by others: chmod 600 ${path}`, { code: 'PACELINE_SECRET_READABLE' })
  }
  return parseSecret(text, path)
}

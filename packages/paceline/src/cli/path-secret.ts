import { isIP } from 'node:net'
import { OptionError } from '../errors.js'
import { generateSecret, type ListenPathSecret, type PathSecret } from '../index.js'
import { UsageError } from './faults.js'
import type { OptionSpecs, ParsedOptions } from './options.js'
import { loadSecrets, printSecret, readSecretText } from './secret.js'

/** What `send`, `recv` and `perf` have beside their other options. */
export const pathSecretOptions: OptionSpecs = {
  'path-secret-file': { value: 'FILE', help: 'instead of a secret: a path secret that no handshake made; one run a file' },
  role: { value: 'ROLE', help: 'with --path-secret-file: client here and server there, or the other way round' },
}

/** A paragraph of `--help`. */
export const pathSecretNote =
  'A path secret (for s2n-quic-dc, and for tests) serves one run on each side: who starts again with the same file repeats keys and nonces, and whoever recorded both runs reads them. Make one per run: paceline secret --path.'

/** What `connect` or `listen` is given of them. */
type Keys<P> = { readonly secret: Uint8Array[] } | { readonly pathSecret: P }

const HOW_TO_MAKE_ONE = 'make one with: npx paceline secret --path > FILE'
/** Streams that the peer opens may come from any port; `recv` opens none. */
const ANY_PORT = 4433
const BYTES = { exportSecret: 32, peerResetToken: 16 } as const
const SUITES: readonly unknown[] = ['aes-128-gcm', 'aes-256-gcm']
const NUMBERS = ['firstKeyId', 'remoteMaxData', 'remoteMaxStreams', 'remoteIdleTimeout', 'maxDatagramSize'] as const
const FIELDS: readonly string[] = [...Object.keys(BYTES), 'cipherSuite', 'peerAddress', ...NUMBERS]

/** The keys of `send` or `perf client`: the peer is HOST:PORT, whatever the file says. */
export async function connectKeys(command: string, { values }: ParsedOptions): Promise<Keys<PathSecret>> {
  const file = pathSecretFile(command, values)
  if (file === undefined) return { secret: await loadSecrets(values.get('secret-file')) }
  return { pathSecret: (await readPathSecret(file.path, file.role)).secret }
}

/** The keys of `recv` or `perf server`, whose file says where `peer` is. */
export async function listenKeys(command: string, peer: 'sender' | 'client', { values }: ParsedOptions): Promise<Keys<ListenPathSecret>> {
  const file = pathSecretFile(command, values)
  if (file === undefined) return { secret: await loadSecrets(values.get('secret-file')) }
  const { secret, peerAddress } = await readPathSecret(file.path, file.role)
  if (peerAddress === undefined) {
    throw wrong(file.path, `peerAddress: expected the address that the ${peer} comes from, got none (npx paceline secret --path --peer ADDRESS)`)
  }
  return { pathSecret: { ...secret, peerAddress } }
}

function pathSecretFile(command: string, values: ParsedOptions['values']): { path: string; role: PathSecret['role'] } | undefined {
  const path = values.get('path-secret-file')
  const role = values.get('role')
  if (path === undefined) {
    if (role !== undefined) throw new UsageError('expected --role with --path-secret-file only, got it without', command)
    return undefined
  }
  if (values.has('secret-file')) throw new UsageError('expected --path-secret-file or --secret-file, got both', command)
  if (role !== 'client' && role !== 'server') {
    throw new UsageError(`expected --role client or --role server with --path-secret-file, got ${role === undefined ? 'none' : `"${role}"`}`, command)
  }
  return { path, role }
}

function wrong(file: string, what: string): OptionError {
  return new OptionError('ERR_PACELINE_SECRET', `${file}: ${what}`)
}

/** What the file says. No message shows a value: all of them stand beside a secret. */
export async function readPathSecret(
  file: string, role: PathSecret['role'],
): Promise<{ secret: PathSecret; peerAddress: ListenPathSecret['peerAddress'] | undefined }> {
  const given = parseObject(file, await readSecretText(file, HOW_TO_MAKE_ONE))
  const unknown = Object.keys(given).find((name) => !FIELDS.includes(name))
  if (unknown !== undefined) throw wrong(file, `expected nothing but ${FIELDS.join(', ')}, got another field`)
  const exportSecret = bytes(file, 'exportSecret', given['exportSecret'])
  if (exportSecret === undefined) throw wrong(file, `exportSecret: expected base64url of ${BYTES.exportSecret} bytes, got none (${HOW_TO_MAKE_ONE})`)
  const { cipherSuite } = given
  if (!SUITES.includes(cipherSuite)) throw wrong(file, `cipherSuite: expected "aes-128-gcm" or "aes-256-gcm", got ${cipherSuite === undefined ? 'none' : 'something else'}`)
  const secret: PathSecret = {
    exportSecret,
    role,
    cipherSuite: cipherSuite as PathSecret['cipherSuite'],
    peerResetToken: bytes(file, 'peerResetToken', given['peerResetToken']),
  }
  for (const name of NUMBERS) {
    const value = given[name]
    // Their bounds are the library's business.
    if (value !== undefined && typeof value !== 'number') throw wrong(file, `${name}: expected a number, got something else`)
    secret[name] = value
  }
  return { secret, peerAddress: peerAddressOf(file, given['peerAddress']) }
}

function parseObject(file: string, text: string): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    // The parser's own words quote the text.
    throw wrong(file, `expected a path secret as JSON, got text that is none (${HOW_TO_MAKE_ONE})`)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong(file, `expected a JSON object, got something else (${HOW_TO_MAKE_ONE})`)
  return value as Record<string, unknown>
}

function bytes(file: string, name: keyof typeof BYTES, value: unknown): Uint8Array | undefined {
  if (value === undefined) return undefined
  const length = BYTES[name]
  const decoded = typeof value === 'string' ? Buffer.from(value, 'base64url') : undefined
  // Encoding again catches characters, padding and stray bits that the decoder lets pass.
  if (decoded === undefined || decoded.length !== length || decoded.toString('base64url') !== value) {
    throw wrong(file, `${name}: expected base64url of ${length} bytes, got something else`)
  }
  return decoded
}

function peerAddressOf(file: string, value: unknown): ListenPathSecret['peerAddress'] | undefined {
  if (value === undefined) return undefined
  const { address, port = ANY_PORT } = (typeof value === 'object' && value !== null ? value : {}) as { address?: unknown; port?: unknown }
  if (typeof address !== 'string' || isIP(address) === 0) throw wrong(file, 'peerAddress.address: expected an IP address, got something else')
  if (typeof port !== 'number') throw wrong(file, 'peerAddress.port: expected a number, got something else')
  return { address, port }
}

export const secretOptions: OptionSpecs = {
  path: { help: 'a path secret (JSON) instead: for one run with --path-secret-file' },
  cipher: { value: 'SUITE', help: 'with --path: aes-128-gcm (default) or aes-256-gcm' },
  peer: { value: 'ADDRESS', help: 'with --path: the IP address that the sender or client comes from; recv and perf server need it' },
  help: { help: 'this text' },
}

/** `paceline secret --path`: prints a new path secret, one line of JSON. */
export function runPathSecret({ values }: ParsedOptions): void {
  const cipherSuite = values.get('cipher') ?? 'aes-128-gcm'
  if (!SUITES.includes(cipherSuite)) throw new UsageError(`expected --cipher aes-128-gcm or aes-256-gcm, got "${cipherSuite}"`, 'secret')
  const address = values.get('peer')
  if (address !== undefined && isIP(address) === 0) throw new UsageError(`expected an IP address after --peer, got "${address}"`, 'secret')
  const exportSecret = generateSecret().toString('base64url')
  printSecret(JSON.stringify({ exportSecret, cipherSuite, ...(address !== undefined && { peerAddress: { address } }) }), ' --path …')
}

/** What only `--path` has is refused without it. */
export function refusePathOptions({ values }: ParsedOptions): void {
  for (const name of ['cipher', 'peer']) {
    if (values.has(name)) throw new UsageError(`expected --${name} with --path only, got it without`, 'secret')
  }
}

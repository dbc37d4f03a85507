import { isIP } from 'node:net'
import type { DriverPath } from './driver.js'
import { loadAddon } from './native.js'
import { optionNames, refuseUnknown } from './option-names.js'
import { choiceOption, integerOption, numberOption, wrongOption } from './options.js'
import { RESET_KEY_BYTES, randomBytes } from './secret.js'

const EXPORT_BYTES = 32
const TOKEN_BYTES = 16

/**
 * A path secret that no handshake made: for tests, and for peers that are not paceline (s2n-quic-dc) and got it by other means.
 *
 * **Danger.** Key ids begin at `firstKeyId` whenever the secret is given, so two processes that use one secret one after the other
 * seal with the same keys and nonces: whoever recorded both reads them and can forge. One secret, one lifetime of a process, on each
 * side. A process refuses a secret it was given before in that role, also by another endpoint (`ERR_PACELINE_PATH_SECRET_USED`);
 * of other processes, and of itself after a restart, it knows nothing. Between two paceline endpoints use `secret`: its handshake
 * makes a new path secret every time.
 *
 * Nobody negotiates: what begins with `remote` must be what the other side really allows.
 *
 * @example
 * const pathSecret = { exportSecret, role: 'client', cipherSuite: 'aes-128-gcm' } as const
 * const peer = await endpoint.connect('10.0.0.2', 4433, { pathSecret })
 */
export interface PathSecret {
  /** 32 bytes that both sides have; copied, and the copy is wiped. No default. Example: `tlsExporter(32)`. */
  exportSecret: Uint8Array
  /** Ours in the handshake that made it; the peer has the other one. No default. Example: `'client'`. */
  role: 'client' | 'server'
  /** The same on both sides, whatever `cipher` prefers. No default. Example: `'aes-128-gcm'`. */
  cipherSuite: 'aes-128-gcm' | 'aes-256-gcm'
  /** 16 bytes: what the peer proves with that it lost the secret. Default: no proof is believed. Example: the peer's `stateless_reset_token`. */
  peerResetToken?: Uint8Array | undefined
  /** Key id of the first stream opened here, 0 to 2^53 - 1. Default 0. Example: `70_000`. */
  firstKeyId?: number | undefined
  /** Bytes of a stream that the peer takes before it grants more, at least 1. Default 256 KiB. Example: `1 << 20`. */
  remoteMaxData?: number | undefined
  /** Streams that the peer takes at once, 0 to 1,048,576. Default 1,024. Example: `64`. */
  remoteMaxStreams?: number | undefined
  /** The peer's idle timeout in milliseconds, 1,000 to 600,000; the smaller of both holds. Default 30,000. Example: `10_000`. */
  remoteIdleTimeout?: number | undefined
  /** Largest UDP payload that the peer takes in bytes, 1,200 to 32,768; the smaller of both holds. Default 1,472. Example: `8_940`. */
  maxDatagramSize?: number | undefined
}

/** As {@link PathSecret}, for `listen`, which has no other word of who the peer is. */
export interface ListenPathSecret extends PathSecret {
  /**
   * Where streams opened here go; an IP address, a port from 1. Streams opened by the peer may come from any port of that address.
   * No default. Example: `{ address: '10.0.0.1', port: 4433 }`.
   */
  peerAddress: { readonly address: string; readonly port: number }
}

/** A path secret of `listen`, checked. */
export interface ListenPath {
  readonly path: DriverPath
  readonly peerAddress: { readonly address: string; readonly port: number }
}

const NAMES = optionNames<ListenPathSecret>({
  exportSecret: true, role: true, cipherSuite: true, peerResetToken: true, firstKeyId: true, remoteMaxData: true, remoteMaxStreams: true,
  remoteIdleTimeout: true, maxDatagramSize: true, peerAddress: true,
}) // prettier-ignore

function required<T>(name: string, expected: string, value: T | undefined): T {
  if (value === undefined) throw wrongOption(name, expected, value)
  return value
}

/** Everything but the peer's address; the secrets are still the caller's. */
function checkPath(name: string, given: Partial<PathSecret>): DriverPath {
  const exportSecret = randomBytes(`${name}.exportSecret`, given.exportSecret, EXPORT_BYTES)
  const role = choiceOption(`${name}.role`, required(`${name}.role`, "'client' or 'server'", given.role), 'client', ['client', 'server'])
  const suites = ['aes-128-gcm', 'aes-256-gcm'] as const
  const cipherSuite = choiceOption(
    `${name}.cipherSuite`, required(`${name}.cipherSuite`, suites.map((suite) => `'${suite}'`).join(' or '), given.cipherSuite), 'aes-128-gcm', suites,
  )
  return {
    exportSecret,
    role,
    cipherSuite,
    peerResetToken: given.peerResetToken === undefined ? undefined : randomBytes(`${name}.peerResetToken`, given.peerResetToken, TOKEN_BYTES),
    firstKeyId: integerOption(`${name}.firstKeyId`, given.firstKeyId, 0, 0, Number.MAX_SAFE_INTEGER),
    remoteMaxData: integerOption(`${name}.remoteMaxData`, given.remoteMaxData, 256 << 10, 1, Number.MAX_SAFE_INTEGER, ' (bytes)'),
    remoteMaxStreams: integerOption(`${name}.remoteMaxStreams`, given.remoteMaxStreams, 1_024, 0, 1 << 20),
    remoteIdleTimeout: numberOption(`${name}.remoteIdleTimeout`, given.remoteIdleTimeout, 30_000, 1_000, 600_000, ' ms'),
    maxDatagramSize: integerOption(`${name}.maxDatagramSize`, given.maxDatagramSize, 1_472, 1_200, 32_768, ' (bytes)'),
  }
}

/** Only when nothing is refused any more, so that no copy is left behind. */
function withCopies(path: DriverPath): DriverPath {
  return {
    ...path,
    exportSecret: Uint8Array.from(path.exportSecret),
    peerResetToken: path.peerResetToken === undefined ? undefined : Uint8Array.from(path.peerResetToken),
  }
}

function pathObject(name: string, value: unknown): Partial<ListenPathSecret> {
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) {
    throw wrongOption(name, 'an object with exportSecret', typeof value === 'string' ? '…' : value)
  }
  refuseUnknown(name, value, NAMES)
  return value
}

/**
 * Checks a path secret of `connect`, whose host and port are the peer's address. With copies of what is secret: {@link wipe} when the
 * driver has it.
 *
 * @throws {OptionError} `ERR_PACELINE_OPTION`, `ERR_PACELINE_SECRET`
 */
export function checkConnectPath(name: string, value: unknown): DriverPath {
  const given = pathObject(name, value)
  const path = checkPath(name, given)
  if (given.peerAddress !== undefined) throw wrongOption(`${name}.peerAddress`, 'nothing beside host and port', given.peerAddress)
  return withCopies(path)
}

function checkListenPath(name: string, value: unknown): ListenPath {
  const given = pathObject(name, value)
  const path = checkPath(name, given)
  const peerAddress = checkPeerAddress(`${name}.peerAddress`, given.peerAddress)
  return { path: withCopies(path), peerAddress }
}

/** One of `listen` or a list of them, as {@link checkConnectPath} does it. */
export function checkListenPaths(name: string, value: unknown): ListenPath[] {
  if (!Array.isArray(value)) return [checkListenPath(name, value)]
  if (value.length === 0) throw wrongOption(name, 'at least one path secret', value)
  const checked: ListenPath[] = []
  try {
    for (const [index, entry] of value.entries()) checked.push(checkListenPath(`${name}[${index}]`, entry))
  } catch (error) {
    for (const { path } of checked) wipe(path)
    throw error
  }
  return checked
}

/**
 * What an endpoint with this `resetKey` proves with that it does not know a path secret: 16 bytes, which its peer takes as
 * `peerResetToken` (s2n-quic-dc: as the stateless reset token). Only its key and the path secret are needed, so it can be made before
 * either endpoint is there, and for a secret whose process is gone.
 *
 * @example
 * const resetKey = generateSecret() // kept in a file: the next process must have it again
 * const peerResetToken = await resetToken(resetKey, pathSecret)
 *
 * @throws {OptionError} `ERR_PACELINE_OPTION`, `ERR_PACELINE_SECRET`
 * @throws {EndpointError} `ERR_PACELINE_NATIVE_MISSING`
 */
export async function resetToken(resetKey: Uint8Array, pathSecret: PathSecret): Promise<Buffer> {
  const key = randomBytes('resetKey', resetKey, RESET_KEY_BYTES)
  const { exportSecret, cipherSuite } = checkPath('pathSecret', pathObject('pathSecret', pathSecret))
  const addon = await loadAddon<{ resetToken(resetKey: Uint8Array, exportSecret: Uint8Array, cipherSuite: string): Buffer }>('resetToken')
  return addon.resetToken(key, exportSecret, cipherSuite)
}

/** Overwrites the copies. */
export function wipe(path: DriverPath): void {
  path.exportSecret.fill(0)
  path.peerResetToken?.fill(0)
}

function checkPeerAddress(name: string, value: unknown): ListenPath['peerAddress'] {
  if (typeof value !== 'object' || value === null) throw wrongOption(name, 'an object with address and port', value)
  const { address, port } = value as { address?: unknown; port?: unknown }
  if (typeof address !== 'string' || isIP(address) === 0) throw wrongOption(`${name}.address`, 'an IP address', address)
  const checkedPort = integerOption(`${name}.port`, required(`${name}.port`, 'an integer from 1 to 65535', port), 0, 1, 65_535)
  return { address, port: checkedPort }
}

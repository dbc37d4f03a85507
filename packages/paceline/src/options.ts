import { OptionError } from './errors.js'
import { optionNames, refuseUnknown, type OptionNames } from './option-names.js'
import type { ListenPathSecret, PathSecret } from './path-secret.js'
import { RESET_KEY_BYTES, checkSecret, randomBytes, type Secret } from './secret.js'

/** Bounds that belong together. What a preset sets, an option of its own overrides. */
export type Preset = 'datacenter' | 'internet' | 'satellite'

/** How streams behave as a `node:stream` Duplex; names and meaning are those of its constructor. They carry bytes: object mode is refused. */
export interface DuplexOptions {
  /** Bytes of both marks below, and before them, 0 to 2^30. Default: each has its own. Example: `16_384`. */
  highWaterMark?: number | undefined
  /** Bytes that the Readable takes ahead, once something has called `read()`, 0 to 2^30. Default 65,536. Example: `16_384`. */
  readableHighWaterMark?: number | undefined
  /** Bytes in the Writable's own buffer from which `write()` returns `false`, 0 to 2^30. Default 262,144. Example: `1 << 20`. */
  writableHighWaterMark?: number | undefined
  /** `false`: the sending half ends with the receiving half. Default `true`. Example: `false`. */
  allowHalfOpen?: boolean | undefined
}

/** Options of {@link Endpoint.bind}: an endpoint that opens. */
export interface BindOptions extends DuplexOptions {
  /** Address to bind; a name is looked up. Default `'0.0.0.0'`; `'::'` for IPv6. Example: `'127.0.0.1'`. */
  host?: string | undefined
  /** UDP port, 0 to 65535. Default 0: the system chooses. Example: `4433`. */
  port?: number | undefined
  /**
   * 32 to 1024 random bytes, or a list for rotation: the first opens, all are accepted. No default in `listen`; in `bind`
   * it is what `connect()` uses unless told otherwise. Default: none. Example: `generateSecret()`.
   */
  secret?: Secret | undefined
  /**
   * 32 random bytes: an endpoint that has them again after a restart proves to peers of a `pathSecret` that it no longer knows it, see
   * `resetToken()`. Peers of a `secret` need none: there it is made of the first one. Default: random. Example: `generateSecret()`.
   */
  resetKey?: Uint8Array | undefined
  /** Sets bounds together, see {@link PRESETS}. Default `'internet'`. Example: `'satellite'`. */
  preset?: Preset | undefined
  /** Bursts of one stream scheduled and not yet sent, 1 to 256. Default 16; above that it rarely binds. Example: `32`. */
  maxInFlightTransmissions?: number | undefined
  /** Congestion controller of new paths. Default `'bbr'`. Example: `'cubic'`. */
  congestionControl?: 'bbr' | 'cubic' | undefined
  /** Preferred cipher. Default `'aes-128-gcm'`. Example: `'aes-256-gcm'`. */
  cipher?: 'aes-128-gcm' | 'aes-256-gcm' | undefined
  /** Label bound into the handshake; both sides must have the same. 1 to 255 characters. Default: none. Example: `'replication/1'`. */
  application?: string | undefined
  /** Milliseconds without an authentic packet that end a stream, 1,000 to 600,000. Default 30,000. Example: `10_000`. */
  idleTimeout?: number | undefined
  /** Probe every third of `idleTimeout` while a stream waits for something. Default `true`. Example: `false`. */
  keepAlive?: boolean | undefined
  /** Streams a peer may have open here while somebody iterates over the endpoint, 1 to 65,536. Default 1,024. Example: `64`. */
  maxIncomingStreams?: number | undefined
  /** Streams of the endpoint, 1 to 1,048,576. Default 65,536. Example: `1_000`. */
  maxStreams?: number | undefined
  /** Bits per second of the whole endpoint, at least 8,000, or 0 for no cap. Default 0. Example: `200e6`. */
  maxBitrate?: number | undefined
  /** Packet memory in bytes, at least 2 MiB and, as all sizes here, below 4 GiB. Default 32 MiB. Example: `64 << 20`. */
  poolBytes?: number | undefined
  /** Bytes of a stream written and not yet sealed, at least 64 KiB. Default 4 MiB. Example: `1 << 20`. */
  sendBufferBytes?: number | undefined
  /** Bytes of all streams written and not yet sealed, at least 64 KiB. Default 64 MiB. Example: `16 << 20`. */
  endpointSendBufferBytes?: number | undefined
  /** A stream's receive window at first in bytes, at least 64 KiB. Default 256 KiB. Example: `1 << 20`. */
  initialWindow?: number | undefined
  /** A stream's receive window at most in bytes, at least `initialWindow`. Default 16 MiB. Example: `4 << 20`. */
  maxWindow?: number | undefined
  /** Milliseconds of a path's rate scheduled ahead and unsent, 0.1 to 1,000. Default 2. Example: `1`. */
  maxScheduleAhead?: number | undefined
  /** Largest UDP payload in bytes, 1,200 to 32,768; 0 for the default (1,472 on IPv4, 1,452 on IPv6). Default 0. Example: `8_972`. */
  maxDatagramSize?: number | undefined
  /** Send without segmentation offload. Default: whether the environment has `PACELINE_DISABLE_GSO=1`. Example: `true`. */
  disableGso?: boolean | undefined
  /** Receive without offload. Default: whether the environment has `PACELINE_DISABLE_GRO=1`. Example: `true`. */
  disableGro?: boolean | undefined
}

/** Options of {@link Endpoint.listen}: an endpoint that also accepts. */
export type ListenOptions = BindOptions & { port: number } & (
  | { secret: Secret; pathSecret?: ListenPathSecrets | undefined }
  | { secret?: Secret | undefined; pathSecret: ListenPathSecrets }
)

/**
 * Peers without a handshake, whose secrets were given to both sides by other means: they are there when `listen` resolves, and
 * beside them only `secret` lets somebody in. Default: none. Example: `{ exportSecret, role: 'server', cipherSuite: 'aes-128-gcm',
 * peerAddress: { address: '10.0.0.1', port: 4433 } }`. DANGER: a secret is for one lifetime of a process, see {@link PathSecret}.
 */
export type ListenPathSecrets = ListenPathSecret | readonly ListenPathSecret[]

/** Options of {@link Endpoint.connect}. */
export interface ConnectOptions {
  /** As in {@link BindOptions}. Default: the endpoint's. Example: `parseSecret(process.env.PACELINE_SECRET)`. */
  secret?: Secret | undefined
  /**
   * Instead of `secret`: no handshake, both sides were given a path secret by other means. The peer is there at once; that nobody
   * answers shows in the first stream. Default: none. Example: `{ exportSecret, role: 'client', cipherSuite: 'aes-128-gcm' }`.
   * DANGER: a secret that two processes use one after the other repeats nonces, see {@link PathSecret}.
   */
  pathSecret?: PathSecret | undefined
  /**
   * Milliseconds until `ERR_PACELINE_HANDSHAKE_TIMEOUT`, or, with `pathSecret`, from the first stream until
   * `ERR_PACELINE_PATH_UNCONFIRMED`; 10 to 600,000. Default 10,000. Example: `3_000`.
   */
  handshakeTimeout?: number | undefined
  /** Bits per second towards this peer, at least 8,000, or 0 for no cap. Default 0. Example: `50e6`. */
  maxBitrate?: number | undefined
  /** Ends the attempt. Default: none. Example: `AbortSignal.timeout(1_000)`. */
  signal?: AbortSignal | undefined
}

/** Options of {@link Peer.openStream}. Those of the Duplex default to the endpoint's. */
export interface OpenStreamOptions extends DuplexOptions {
  /** 1 (leaves first) to 7. Default 4. Example: `1`. */
  priority?: number | undefined
  /** Resets the stream with the reason's integer `errorCode`, else 256, for as long as it lives. Default: none. Example: `controller.signal`. */
  signal?: AbortSignal | undefined
}

/** Options of whatever waits. */
export interface WaitOptions {
  /** Ends the wait with an `AbortError`. Default: none. Example: `AbortSignal.timeout(1_000)`. */
  signal?: AbortSignal | undefined
}

/** Options of `close()`. */
export interface CloseOptions extends WaitOptions {
  /** Milliseconds after which what is left is reset and reported as `undelivered`, at least 0. Default: see `close()`. Example: `5_000`. */
  deadline?: number | undefined
}

const KiB = 1 << 10
const MiB = 1 << 20

const DUPLEX_NAMES = { highWaterMark: true, readableHighWaterMark: true, writableHighWaterMark: true, allowHalfOpen: true } as const
const BYTES = 'false (a stream carries bytes)'
/** What else `node:stream` takes: options made for any Duplex may be passed on as they are, if they ask for what a stream does. */
const ANY_DUPLEX: Readonly<Record<string, { is: readonly unknown[]; expected: string }>> = {
  objectMode: { is: [false], expected: BYTES },
  readableObjectMode: { is: [false], expected: BYTES },
  writableObjectMode: { is: [false], expected: BYTES },
  decodeStrings: { is: [true], expected: 'true (a stream carries bytes)' },
  defaultEncoding: { is: ['utf8', 'utf-8'], expected: "'utf8' (setDefaultEncoding() changes it)" },
  encoding: { is: [null], expected: 'null (setEncoding() changes it)' },
  emitClose: { is: [true], expected: 'true' },
  autoDestroy: { is: [true], expected: 'true' },
}

const ENDPOINT_NAMES = optionNames<BindOptions & { pathSecret?: unknown }>({
  host: true, port: true, secret: true, resetKey: true, pathSecret: true, preset: true, maxInFlightTransmissions: true, congestionControl: true,
  cipher: true, application: true, idleTimeout: true, keepAlive: true, maxIncomingStreams: true, maxStreams: true, maxBitrate: true,
  poolBytes: true, sendBufferBytes: true, endpointSendBufferBytes: true, initialWindow: true, maxWindow: true, maxScheduleAhead: true,
  maxDatagramSize: true, disableGso: true, disableGro: true, ...DUPLEX_NAMES,
}, Object.keys(ANY_DUPLEX)) // prettier-ignore

/** Of `connect()`. */
export const CONNECT_NAMES = optionNames<ConnectOptions>({ secret: true, pathSecret: true, handshakeTimeout: true, maxBitrate: true, signal: true })

/** Of `openStream()`. */
export const STREAM_NAMES = optionNames<OpenStreamOptions>({ priority: true, signal: true, ...DUPLEX_NAMES }, Object.keys(ANY_DUPLEX))

const WAIT_NAMES = optionNames<WaitOptions>({ signal: true })
const CLOSE_NAMES = optionNames<CloseOptions>({ deadline: true, signal: true })

/**
 * What a preset sets: the figures of `Config::preset` (crates/transport/src/config.rs), whose tests compare them. Chosen from
 * bandwidth times round trip: 10 Gbit/s × 1 ms, 1 Gbit/s × 100 ms, 200 Mbit/s × 600 ms.
 */
export const PRESETS = {
  datacenter: { poolBytes: 32 * MiB, initialWindow: 1 * MiB, maxWindow: 16 * MiB, maxScheduleAhead: 1, maxInFlightTransmissions: 16, initialBitrate: 1000e6, assumedRtt: 100 },
  internet: { poolBytes: 32 * MiB, initialWindow: 256 * KiB, maxWindow: 16 * MiB, maxScheduleAhead: 2, maxInFlightTransmissions: 16, initialBitrate: 100e6, assumedRtt: 100 },
  satellite: { poolBytes: 96 * MiB, initialWindow: 1 * MiB, maxWindow: 32 * MiB, maxScheduleAhead: 4, maxInFlightTransmissions: 32, initialBitrate: 20e6, assumedRtt: 600 },
} as const satisfies Record<Preset, Partial<BindOptions> & Pick<EndpointSettings, 'initialBitrate' | 'assumedRtt'>>

/** Every option decided; what a driver is made from. */
export interface EndpointSettings {
  host: string
  port: number
  secrets: Uint8Array[]
  resetKey: Uint8Array | undefined
  maxInFlightTransmissions: number
  congestionControl: 'bbr' | 'cubic'
  cipher: 'aes-128-gcm' | 'aes-256-gcm'
  application: string | undefined
  idleTimeout: number
  keepAlive: boolean
  maxIncomingStreams: number
  maxStreams: number
  maxBitrate: number
  poolBytes: number
  sendBufferBytes: number
  endpointSendBufferBytes: number
  initialWindow: number
  maxWindow: number
  maxScheduleAhead: number
  /** Of a path before its first round trip; set by the preset. */
  initialBitrate: number
  /** Milliseconds that receive windows grow by while a path has no round trip of its own; set by the preset. */
  assumedRtt: number
  maxDatagramSize: number
  disableGso: boolean
  disableGro: boolean
  duplex: DuplexSettings
}

/** {@link DuplexOptions}, decided. */
export type DuplexSettings = Readonly<Required<{ [K in Exclude<keyof DuplexOptions, 'highWaterMark'>]: NonNullable<DuplexOptions[K]> }>>

/** Four chunks of 64 KiB go through `pipe` without a pause. */
const DUPLEX: DuplexSettings = { readableHighWaterMark: 64 * KiB, writableHighWaterMark: 256 * KiB, allowHalfOpen: true }

function show(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value)
  if (typeof value === 'bigint') return `${value}n`
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'an array' : 'an object'
  return typeof value === 'function' ? 'a function' : String(value)
}

/** The one form of message for a wrong option. */
export function wrongOption(name: string, expected: string, got: unknown): OptionError {
  return new OptionError('ERR_PACELINE_OPTION', `${name}: expected ${expected}, got ${show(got)}`)
}

/** `options` itself, if it is left out or an object with nothing but `known` names. */
export function objectOption<T extends object>(name: string, value: T | undefined, known: OptionNames): T | Partial<T> {
  if (value === undefined) return {}
  if (typeof value !== 'object' || value === null) throw wrongOption(name, 'an object', value)
  refuseUnknown(name, value, known)
  return value
}

/** A number from `min` to `max`. */
export function numberOption(name: string, value: unknown, fallback: number, min: number, max: number, unit = ''): number {
  if (value === undefined) return fallback
  if (typeof value !== 'number' || !(value >= min && value <= max)) {
    throw wrongOption(name, max === Infinity ? `a number of at least ${min}${unit}` : `a number from ${min} to ${max}${unit}`, value)
  }
  return value
}

/** An integer from `min` to `max`. */
export function integerOption(name: string, value: unknown, fallback: number, min: number, max: number, unit = ''): number {
  if (value === undefined) return fallback
  if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max) {
    throw wrongOption(name, `an integer from ${min} to ${max}${unit}`, value)
  }
  return value
}

/** True or false. */
export function booleanOption(name: string, value: unknown, fallback: boolean): boolean {
  if (value === undefined) return fallback
  if (typeof value !== 'boolean') throw wrongOption(name, 'true or false', value)
  return value
}

/** One of some strings. */
export function choiceOption<T extends string>(name: string, value: unknown, fallback: T, choices: readonly T[]): T {
  if (value === undefined) return fallback
  if (!choices.includes(value as T)) throw wrongOption(name, choices.map((choice) => `'${choice}'`).join(' or '), value)
  return value as T
}

/** An `AbortSignal`, or nothing. */
export function signalOption(name: string, value: unknown): AbortSignal | undefined {
  if (value === undefined) return undefined
  // Not instanceof: signals of other realms and of polyfills are good ones, too.
  const { aborted, addEventListener } = (typeof value === 'object' && value !== null ? value : {}) as Partial<Record<keyof AbortSignal, unknown>>
  if (typeof aborted !== 'boolean' || typeof addEventListener !== 'function') throw wrongOption(name, 'an AbortSignal', value)
  return value as AbortSignal
}

/** The signal of a wait. */
export function waitSignal(options: WaitOptions | undefined): AbortSignal | undefined {
  return signalOption('options.signal', objectOption<WaitOptions>('options', options, WAIT_NAMES).signal)
}

/** What `close()` is told. */
export function closeSettings(options: CloseOptions | undefined, fallback: number): { deadline: number; signal: AbortSignal | undefined } {
  const given = objectOption<CloseOptions>('options', options, CLOSE_NAMES)
  return {
    deadline: numberOption('options.deadline', given.deadline, fallback, 0, Infinity, ' ms'),
    signal: signalOption('options.signal', given.signal),
  }
}

/** An argument without a default. */
export function requiredOption<T>(name: string, expected: string, value: T | undefined): T {
  if (value === undefined) throw wrongOption(name, expected, value)
  return value
}

/** Bits per second, 0 for no cap. */
export function bitrateOption(name: string, value: unknown): number {
  if (value === undefined || value === 0) return 0
  return numberOption(name, value, 0, 8_000, Number.MAX_SAFE_INTEGER, ' bits per second, or 0 for no cap')
}

/** Of streams nobody chose one for, accepted ones included. */
export const DEFAULT_PRIORITY = 4

/** 1 (leaves first) to 7; 0 is control. */
export function priorityOption(name: string, value: unknown): number {
  return integerOption(name, value, DEFAULT_PRIORITY, 1, 7)
}

/** A host name or address. */
export function hostOption(name: string, value: unknown, fallback?: string): string {
  if (value === undefined && fallback !== undefined) return fallback
  if (typeof value !== 'string' || value === '') throw wrongOption(name, 'a host name or IP address', value)
  return value
}

/** How a stream behaves as a Duplex; `fallback` is what its endpoint says. */
export function duplexSettings(options: DuplexOptions, fallback: DuplexSettings = DUPLEX): DuplexSettings {
  for (const [name, { is, expected }] of Object.entries(ANY_DUPLEX)) {
    const value = (options as Record<string, unknown>)[name]
    if (value !== undefined && !is.includes(value)) throw wrongOption(`options.${name}`, expected, value)
  }
  const { highWaterMark, readableHighWaterMark, writableHighWaterMark, allowHalfOpen } = options
  if (highWaterMark === undefined && readableHighWaterMark === undefined && writableHighWaterMark === undefined && allowHalfOpen === undefined) return fallback
  const mark = (name: keyof DuplexOptions, otherwise: number): number => integerOption(`options.${name}`, options[name], otherwise, 0, 1 << 30, ' (bytes)')
  const readable = mark('readableHighWaterMark', fallback.readableHighWaterMark)
  const writable = mark('writableHighWaterMark', fallback.writableHighWaterMark)
  return {
    readableHighWaterMark: mark('highWaterMark', readable),
    writableHighWaterMark: mark('highWaterMark', writable),
    allowHalfOpen: booleanOption('options.allowHalfOpen', allowHalfOpen, fallback.allowHalfOpen),
  }
}

function environmentFlag(name: string): boolean {
  return process.env[name] === '1'
}

/**
 * Decides every option of an endpoint, but for path secrets, which are kept nowhere.
 *
 * @throws {OptionError} `ERR_PACELINE_OPTION`, `ERR_PACELINE_SECRET`
 */
export function endpointSettings(given: BindOptions | undefined, listens: boolean, needsSecret = listens): EndpointSettings {
  if (given === undefined && listens) throw wrongOption('options', 'an object', given)
  const options = objectOption<BindOptions>('options', given, ENDPOINT_NAMES)
  const preset = PRESETS[choiceOption<Preset>('options.preset', options.preset, 'internet', ['datacenter', 'internet', 'satellite'])]
  const { application } = options
  if (application !== undefined && (typeof application !== 'string' || application.length < 1 || application.length > 255)) {
    throw wrongOption('options.application', 'a string of 1 to 255 characters', application)
  }
  if (listens && options.port === undefined) throw wrongOption('options.port', 'an integer from 0 to 65535', undefined)
  const bytes = (name: keyof BindOptions, fallback: number, min: number): number =>
    integerOption(`options.${name}`, options[name], fallback, min, 0xffff_ffff, ' (bytes)')
  const initialWindow = bytes('initialWindow', preset.initialWindow, 64 * KiB)
  const datagram = integerOption('options.maxDatagramSize', options.maxDatagramSize, 0, 0, 32_768, ' (bytes)')
  if (datagram !== 0 && datagram < 1_200) throw wrongOption('options.maxDatagramSize', '0 or an integer from 1200 to 32768 (bytes)', datagram)
  return {
    host: hostOption('options.host', options.host, '0.0.0.0'),
    port: integerOption('options.port', options.port, 0, 0, 65_535),
    secrets: needsSecret || options.secret !== undefined ? checkSecret('options.secret', options.secret) : [],
    resetKey: options.resetKey === undefined ? undefined : randomBytes('options.resetKey', options.resetKey, RESET_KEY_BYTES),
    maxInFlightTransmissions: integerOption(
      'options.maxInFlightTransmissions', options.maxInFlightTransmissions, preset.maxInFlightTransmissions, 1, 256,
    ),
    congestionControl: choiceOption('options.congestionControl', options.congestionControl, 'bbr', ['bbr', 'cubic']),
    cipher: choiceOption('options.cipher', options.cipher, 'aes-128-gcm', ['aes-128-gcm', 'aes-256-gcm']),
    application,
    idleTimeout: numberOption('options.idleTimeout', options.idleTimeout, 30_000, 1_000, 600_000, ' ms'),
    keepAlive: booleanOption('options.keepAlive', options.keepAlive, true),
    maxIncomingStreams: integerOption('options.maxIncomingStreams', options.maxIncomingStreams, 1_024, 1, 65_536),
    maxStreams: integerOption('options.maxStreams', options.maxStreams, 65_536, 1, 1 << 20),
    maxBitrate: bitrateOption('options.maxBitrate', options.maxBitrate),
    poolBytes: bytes('poolBytes', preset.poolBytes, 2 * MiB),
    sendBufferBytes: bytes('sendBufferBytes', 4 * MiB, 64 * KiB),
    endpointSendBufferBytes: bytes('endpointSendBufferBytes', 64 * MiB, 64 * KiB),
    initialWindow,
    maxWindow: bytes('maxWindow', Math.max(preset.maxWindow, initialWindow), initialWindow),
    maxScheduleAhead: numberOption('options.maxScheduleAhead', options.maxScheduleAhead, preset.maxScheduleAhead, 0.1, 1_000, ' ms'),
    initialBitrate: preset.initialBitrate,
    assumedRtt: preset.assumedRtt,
    maxDatagramSize: datagram,
    disableGso: booleanOption('options.disableGso', options.disableGso, environmentFlag('PACELINE_DISABLE_GSO')),
    disableGro: booleanOption('options.disableGro', options.disableGro, environmentFlag('PACELINE_DISABLE_GRO')),
    duplex: duplexSettings(options),
  }
}

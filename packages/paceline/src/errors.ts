import { getSystemErrorName } from 'node:util'
import { FailureNumber } from './driver.js'
import { hostPort } from './host-port.js'

/** Whose fault an error is: a wrong call, this machine, the other side, or what lies between. */
export type Fault = 'application' | 'system' | 'peer' | 'network'

/** What the documentation says about a code. */
export interface ErrorDescription {
  /** Whose fault it is. */
  readonly fault: Fault
  /** What happened. */
  readonly says: string
  /** What to do about it. */
  readonly remedy: string
}

/** Every code an error of this package can carry. The table of the documentation is made from this one. */
export const ERROR_CODES = {
  ERR_PACELINE_OPTION: {
    fault: 'application',
    says: 'an option or argument is not what is expected',
    remedy: 'the message names the option, what is expected and what came',
  },
  ERR_PACELINE_SECRET: {
    fault: 'application',
    says: 'a secret is too short, too long, a string, or a placeholder',
    remedy: 'make one with generateSecret() or `openssl rand 32`; never use a password',
  },
  ERR_PACELINE_NATIVE_MISSING: {
    fault: 'system',
    says: 'the native addon could not be loaded',
    remedy: 'install with optional dependencies, or build it with `npm run build` in the repository',
  },
  ERR_PACELINE_BIND: {
    fault: 'system',
    says: 'the socket could not be made or bound',
    remedy: 'look at errno and syscall; choose another address or port',
  },
  ERR_PACELINE_RESOLVE: {
    fault: 'network',
    says: 'a host name has no usable address',
    remedy: 'look at the cause; an endpoint bound to an IPv4 address reaches only IPv4 addresses',
  },
  ERR_PACELINE_ENDPOINT_CLOSED: {
    fault: 'application',
    says: 'the endpoint is closed',
    remedy: 'make a new endpoint',
  },
  ERR_PACELINE_HANDSHAKE_TIMEOUT: {
    fault: 'network',
    says: 'nobody answered: not listening, filtered, or another secret (which is never answered)',
    remedy: 'check address, port, firewall and that both sides have the same secret',
  },
  ERR_PACELINE_HANDSHAKE_REFUSED: {
    fault: 'peer',
    says: 'the peer refused the handshake; errorCode is 1 version, 2 application, 3 suite, 4 closing, 5 full',
    remedy: 'make `application` and versions equal on both sides, or try again later',
  },
  ERR_PACELINE_HANDSHAKE_LIMIT: {
    fault: 'application',
    says: 'too many handshakes at once',
    remedy: 'connect to fewer peers at a time',
  },
  ERR_PACELINE_PATH_UNCONFIRMED: {
    fault: 'network',
    says: 'no authentic packet came for an injected path secret',
    remedy: 'check that both sides inject the same secret with opposite roles',
  },
  ERR_PACELINE_PATH_SECRET_USED: {
    fault: 'application',
    says: 'this process was given the same path secret in the same role before: keys and nonces would repeat',
    remedy: 'make a new path secret for every peer and every start of a process, or use `secret`, whose handshake does',
  },
  ERR_PACELINE_PEER_RESTARTED: {
    fault: 'peer',
    says: 'the peer restarted and lost its keys',
    remedy: 'open the stream again; a new handshake is made',
  },
  ERR_PACELINE_PEER_CLOSED: {
    fault: 'application',
    says: 'the peer was closed here',
    remedy: 'connect again',
  },
  ERR_PACELINE_IDLE_TIMEOUT: {
    fault: 'network',
    says: 'nothing authentic was heard from the peer within idleTimeout',
    remedy: 'check the network; a longer idleTimeout survives longer outages',
  },
  ERR_PACELINE_STREAM_RESET: {
    fault: 'peer',
    says: 'the peer ended the stream; errorCode is its code (256 and more: its application; 0 and 1: it stopped reading)',
    remedy: 'the meaning of a code is up to the application',
  },
  ERR_PACELINE_STREAM_ABORTED: {
    fault: 'application',
    says: 'the stream was reset here; errorCode is the code that was sent',
    remedy: 'nothing: somebody asked for it',
  },
  ERR_PACELINE_STREAM_REFUSED: {
    fault: 'peer',
    says: 'the peer takes no more streams: nobody iterates over its endpoint, or its limit is reached',
    remedy: 'try again later, or raise maxIncomingStreams there',
  },
  ERR_PACELINE_STREAM_LIMIT: {
    fault: 'application',
    says: 'the endpoint has as many streams as maxStreams allows',
    remedy: 'close streams, or raise maxStreams',
  },
  ERR_PACELINE_STREAM_CLOSED: {
    fault: 'application',
    says: 'the stream is over',
    remedy: 'open another one',
  },
  ERR_PACELINE_WRITE_AFTER_END: {
    fault: 'application',
    says: 'a write came after end()',
    remedy: 'write first, then end',
  },
  ERR_PACELINE_PROTOCOL: {
    fault: 'peer',
    says: 'the peer reported a transport error; errorCode is it (RFC 9000, section 20.1)',
    remedy: 'report it, with both versions',
  },
  ERR_PACELINE_PEER_VIOLATION: {
    fault: 'peer',
    says: 'the peer broke the protocol; errorCode is the transport error (RFC 9000, section 20.1)',
    remedy: 'report it, with both versions',
  },
  ERR_PACELINE_SEND: {
    fault: 'system',
    says: 'sending failed with the same errno for seconds',
    remedy: 'look at errno: a firewall rule (EPERM), a missing route (ENETUNREACH), …',
  },
  ERR_PACELINE_KEY_REJECTED: {
    fault: 'peer',
    says: "the peer rejected the stream's key id as replayed or stale: nothing of it counts as delivered",
    remedy: 'open the stream again',
  },
  ERR_PACELINE_KEY_LIMIT: {
    fault: 'application',
    says: "the stream's key has sealed as many packets as it may",
    remedy: 'go on with another stream',
  },
  ERR_PACELINE_INTERNAL: {
    fault: 'system',
    says: 'the package and its driver do not understand each other, or the worker failed; the endpoint is lost',
    remedy: 'report it; a mixture of two versions of package and addon looks like this, too',
  },
  ERR_PACELINE_TEST_LIMIT: {
    fault: 'application',
    says: 'what a test network was to run until did not happen within the virtual time it was given',
    remedy: 'look at network.stats() and network.trace(); give runUntil() a higher limit, or hold() the clock while something real is waited for',
  },
  ABORT_ERR: {
    fault: 'application',
    says: 'an AbortSignal was aborted during a wait; cause is its reason',
    remedy: 'nothing: somebody asked for it',
  },
} as const satisfies Record<string, ErrorDescription>

/** A code of {@link ERROR_CODES}. */
export type ErrorCode = keyof typeof ERROR_CODES

/** What an error may carry besides code and message. */
export interface ErrorDetails {
  /** Code on the wire: of the application (256 to 2^53-1 from here, to 2^62-1 from others), of the transport, or a refusal's reason. */
  errorCode?: number | undefined
  /** As in Node's system errors: negative; `util.getSystemErrorName(errno)` names it. */
  errno?: number | undefined
  /** The system call that failed. */
  syscall?: string | undefined
  /** The address it was about. */
  address?: string | undefined
  /** The port it was about. */
  port?: number | undefined
  /** What led to it. */
  cause?: unknown
}

/** Names a class, and makes `instanceof` ask a registered symbol, so that it also holds between two copies of this package. */
function brand(constructor: { prototype: object }, name: string): void {
  const symbol = Symbol.for(`paceline.${name}`)
  Object.defineProperty(constructor.prototype, 'name', { value: name, configurable: true, writable: true })
  Object.defineProperty(constructor.prototype, symbol, { value: true })
  Object.defineProperty(constructor, Symbol.hasInstance, {
    value(this: unknown, value: unknown): boolean {
      // A program's own subclass inherits this, and is what its own prototype says.
      if (this !== constructor) return Function.prototype[Symbol.hasInstance].call(this as typeof Function, value)
      return typeof value === 'object' && value !== null && symbol in value
    },
  })
}

/** Every error of this package. */
export class PacelineError extends Error {
  /** Stable; see {@link ERROR_CODES}. */
  readonly code: ErrorCode
  /** See {@link ErrorDetails.errorCode}. */
  declare readonly errorCode?: number
  /** See {@link ErrorDetails.errno}. */
  declare readonly errno?: number
  /** See {@link ErrorDetails.syscall}. */
  declare readonly syscall?: string
  /** See {@link ErrorDetails.address}. */
  declare readonly address?: string
  /** See {@link ErrorDetails.port}. */
  declare readonly port?: number

  constructor(code: ErrorCode, message: string = ERROR_CODES[code].says, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.code = code
    for (const key of ['errorCode', 'errno', 'syscall', 'address', 'port'] as const) {
      if (details[key] !== undefined) {
        Object.defineProperty(this, key, { value: details[key], enumerable: true, configurable: true, writable: true })
      }
    }
  }
}
brand(PacelineError, 'PacelineError')

/** An option or argument is wrong: `option.name: expected …, got …`. */
export class OptionError extends PacelineError {}
brand(OptionError, 'OptionError')

/** An endpoint could not be made, or is closed. */
export class EndpointError extends PacelineError {}
brand(EndpointError, 'EndpointError')

/** A peer could not be reached, or is gone. */
export class PeerError extends PacelineError {}
brand(PeerError, 'PeerError')

/** A stream ended before it was complete. */
export class StreamError extends PacelineError {}
brand(StreamError, 'StreamError')

/** An `AbortSignal` ended a wait. Name and code are Node's; `cause` is the signal's reason. */
export class AbortError extends PacelineError {
  constructor(reason: unknown) {
    super('ABORT_ERR', 'The operation was aborted', { cause: reason, errorCode: resetCodeOf(reason) })
  }
}
brand(AbortError, 'AbortError')

/** The application code of a reset without a code of its own. */
export const DEFAULT_RESET_CODE = 256

/**
 * The code to reset a stream with because of `reason`: its integer `errorCode` if an application may send it, else 256.
 * Node's own `AbortError` (of `pipeline`, `addAbortSignal`) carries the signal's reason as its cause.
 */
export function resetCodeOf(reason: unknown): number {
  // Twice: the error that destroys, and what is behind it.
  for (let depth = 0; depth < 2 && typeof reason === 'object' && reason !== null; depth += 1) {
    const code = 'errorCode' in reason ? reason.errorCode : undefined
    if (typeof code === 'number' && Number.isSafeInteger(code) && code >= DEFAULT_RESET_CODE) return code
    if (!(reason instanceof Error) || reason.name !== 'AbortError') break
    reason = reason.cause
  }
  return DEFAULT_RESET_CODE
}

/** The negative number Node uses for what the system calls `errno`. */
export function nodeErrno(errno: number): number {
  return -Math.abs(errno)
}

/** `EPERM` and the like, or the number if the system has no name for it. */
export function errnoName(errno: number): string {
  try {
    return getSystemErrorName(nodeErrno(errno))
  } catch {
    return `errno ${Math.abs(errno)}`
  }
}

const FAILURES: Record<number, [ErrorCode, typeof PacelineError]> = {
  [FailureNumber.HandshakeTimeout]: ['ERR_PACELINE_HANDSHAKE_TIMEOUT', PeerError],
  [FailureNumber.HandshakeRefused]: ['ERR_PACELINE_HANDSHAKE_REFUSED', PeerError],
  [FailureNumber.HandshakeLimit]: ['ERR_PACELINE_HANDSHAKE_LIMIT', PeerError],
  [FailureNumber.PeerRestarted]: ['ERR_PACELINE_PEER_RESTARTED', PeerError],
  [FailureNumber.IdleTimeout]: ['ERR_PACELINE_IDLE_TIMEOUT', PeerError],
  [FailureNumber.PeerReset]: ['ERR_PACELINE_STREAM_RESET', StreamError],
  [FailureNumber.LocalReset]: ['ERR_PACELINE_STREAM_ABORTED', StreamError],
  [FailureNumber.StreamRefused]: ['ERR_PACELINE_STREAM_REFUSED', StreamError],
  [FailureNumber.Protocol]: ['ERR_PACELINE_PROTOCOL', StreamError],
  [FailureNumber.PeerViolation]: ['ERR_PACELINE_PEER_VIOLATION', StreamError],
  [FailureNumber.Send]: ['ERR_PACELINE_SEND', PeerError],
  [FailureNumber.KeyRejected]: ['ERR_PACELINE_KEY_REJECTED', StreamError],
  [FailureNumber.Closed]: ['ERR_PACELINE_STREAM_CLOSED', StreamError],
  [FailureNumber.StreamLimit]: ['ERR_PACELINE_STREAM_LIMIT', StreamError],
  [FailureNumber.KeyLimit]: ['ERR_PACELINE_KEY_LIMIT', StreamError],
  [FailureNumber.PathUnconfirmed]: ['ERR_PACELINE_PATH_UNCONFIRMED', PeerError],
}

/** The error for a failure number of the driver; `peer` is where it happened. */
export function failureError(failure: number, detail: number, peer?: { address: string; port: number }): PacelineError {
  const [code, Class] = FAILURES[failure] ?? ['ERR_PACELINE_PROTOCOL', PacelineError]
  const details: ErrorDetails = { address: peer?.address, port: peer?.port }
  let message: string = ERROR_CODES[code].says
  if (failure === FailureNumber.Send) {
    details.errno = nodeErrno(detail)
    details.syscall = 'sendmsg'
    message = `sending failed: ${errnoName(detail)}`
  } else if (failure === FailureNumber.PeerReset) {
    details.errorCode = detail
    message = detail < DEFAULT_RESET_CODE ? `the peer stopped reading (code ${detail})` : `the peer reset the stream with code ${detail}`
  } else if (
    failure === FailureNumber.LocalReset ||
    failure === FailureNumber.HandshakeRefused ||
    failure === FailureNumber.Protocol ||
    failure === FailureNumber.PeerViolation
  ) {
    details.errorCode = detail
  }
  return new Class(code, peer === undefined ? message : `${hostPort(peer)}: ${message}`, details)
}

/** What a driver may find wrong with an argument. */
const OPTION_CODES: ReadonlySet<ErrorCode> = new Set(['ERR_PACELINE_OPTION', 'ERR_PACELINE_SECRET', 'ERR_PACELINE_PATH_SECRET_USED'])

/** What a driver throws becomes an error of this package, unless it is one; the original is its cause. */
export function driverError(error: unknown, fallback: ErrorCode, where: { address?: string; port?: number; syscall?: string } = {}): PacelineError {
  if (error instanceof PacelineError) return error
  const thrown: { [name in 'code' | 'errno' | 'syscall' | 'address' | 'port' | 'message']?: unknown } =
    typeof error === 'object' && error !== null ? error : { message: String(error) }
  const known = typeof thrown.code === 'string' && thrown.code in ERROR_CODES
  const code = known ? (thrown.code as ErrorCode) : fallback
  const message = typeof thrown.message === 'string' && thrown.message !== '' ? thrown.message : ERROR_CODES[code].says
  const details: ErrorDetails = { cause: error }
  details.address = typeof thrown.address === 'string' ? thrown.address : where.address
  details.port = typeof thrown.port === 'number' ? thrown.port : where.port
  if (!known) {
    details.syscall = typeof thrown.syscall === 'string' ? thrown.syscall : where.syscall
    if (typeof thrown.errno === 'number') details.errno = nodeErrno(thrown.errno)
  }
  const Class = OPTION_CODES.has(code) ? OptionError : EndpointError
  return new Class(code, message, details)
}

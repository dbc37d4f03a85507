import type { Driver } from './driver.js'
import { EndpointError, ERROR_CODES, errnoName, nodeErrno, type ErrorCode, type ErrorDetails } from './errors.js'
import type { EndpointSettings } from './options.js'

/** What the addon's constructor takes. */
interface NativeDriverOptions {
  address: string
  port: number
  secrets: Uint8Array[]
  maxBitrate: number
  maxInFlightTransmissions: number
  congestionControl: 'bbr' | 'cubic'
  cipher: 'aes-128-gcm' | 'aes-256-gcm'
  application?: string
  idleTimeout: number
  keepAlive: boolean
  maxIncomingStreams: number
  maxStreams: number
  poolBytes: number
  sendBufferBytes: number
  initialWindow: number
  maxWindow: number
  maxScheduleAhead: number
  maxDatagramSize: number
  disableGso: boolean
  disableGro: boolean
  onWake: () => void
}

interface NativeBinding {
  NativeDriver: new (options: NativeDriverOptions) => Omit<Driver, 'onWake'>
}

const BINDING = new URL('../binding/index.js', import.meta.url)
let loaded: Promise<NativeBinding> | undefined

async function loadBinding(): Promise<NativeBinding> {
  try {
    // A variable, as the file is made by `napi build`, after this one is checked.
    const specifier: string = BINDING.href
    const module = (await import(specifier)) as Partial<NativeBinding> & { default?: Partial<NativeBinding> }
    const NativeDriver = module.NativeDriver ?? module.default?.NativeDriver
    if (NativeDriver === undefined) throw new TypeError('the addon has no NativeDriver')
    return { NativeDriver }
  } catch (error) {
    throw new EndpointError(
      'ERR_PACELINE_NATIVE_MISSING',
      `the native addon for ${process.platform}-${process.arch} could not be loaded: install without --omit=optional, ` +
        'or build it with `npm run build` in the repository (needs Rust)',
      { cause: error },
    )
  }
}

/**
 * A driver over the native addon: a thread, a UDP socket, packet memory. The only place that knows there is an addon.
 *
 * @throws {EndpointError} `ERR_PACELINE_NATIVE_MISSING`, `ERR_PACELINE_BIND`
 */
export async function createNativeDriver(settings: EndpointSettings): Promise<Driver> {
  loaded ??= loadBinding()
  // The next attempt may find what this one did not.
  loaded.catch(() => (loaded = undefined))
  const { NativeDriver } = await loaded
  const { host, application, endpointSendBufferBytes: _, ...rest } = settings
  // The addon holds its callback for good. It reaches the endpoint through here, so that it does not hold the driver, too.
  const bell: { onWake: (() => void) | undefined } = { onWake: undefined }
  const options: NativeDriverOptions = { ...rest, address: host, onWake: () => bell.onWake?.() }
  if (application !== undefined) options.application = application
  try {
    const driver = new NativeDriver(options)
    Object.defineProperty(driver, 'onWake', {
      get: () => bell.onWake,
      set: (onWake: (() => void) | undefined) => {
        bell.onWake = onWake
      },
    })
    return driver as Driver
  } catch (error) {
    throw bindError(error, settings)
  }
}

/** What the addon throws becomes an error of this package; the original is its cause. */
export function bindError(error: unknown, { host, port }: { host: string; port: number }): EndpointError {
  const thrown: { code?: unknown; errno?: unknown; syscall?: unknown; message?: unknown } =
    typeof error === 'object' && error !== null ? error : { message: String(error) }
  const code: ErrorCode = typeof thrown.code === 'string' && thrown.code in ERROR_CODES ? (thrown.code as ErrorCode) : 'ERR_PACELINE_BIND'
  const message = typeof thrown.message === 'string' ? thrown.message : ERROR_CODES[code].says
  // Rust's own text for system errors ends in "(os error 98)".
  const errno = typeof thrown.errno === 'number' ? thrown.errno : Number(/os error (\d+)/.exec(message)?.[1] ?? NaN)
  const details: ErrorDetails = { address: host, port, cause: error }
  if (!Number.isNaN(errno)) details.errno = nodeErrno(errno)
  if (typeof thrown.syscall === 'string') details.syscall = thrown.syscall
  else if (code === 'ERR_PACELINE_BIND') details.syscall = 'bind'
  const name = details.errno === undefined ? '' : `${errnoName(details.errno)}: `
  return new EndpointError(code, code === 'ERR_PACELINE_BIND' ? `${name}could not bind ${host}:${port} (${message})` : message, details)
}

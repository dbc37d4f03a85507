import type { Driver } from './driver.js'
import { driverError, EndpointError } from './errors.js'
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
  initialBitrate: number
  assumedRtt: number
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

/**
 * What the addon exports under some names.
 *
 * @throws {EndpointError} `ERR_PACELINE_NATIVE_MISSING`: there is no addon, or it is of another version
 */
export async function loadAddon<Exports>(...names: readonly (keyof Exports & string)[]): Promise<Exports> {
  try {
    // A variable, as the file is made by `napi build`, after this one is checked.
    const specifier: string = BINDING.href
    const module = (await import(specifier)) as Partial<Exports> & { default?: Partial<Exports> }
    const exports = module[names[0] as keyof Exports] === undefined ? (module.default ?? module) : module
    for (const name of names) if (exports[name] === undefined) throw new TypeError(`the addon has no ${name}`)
    return exports as Exports
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
 * @throws {OptionError} what only the addon can refuse
 */
export async function createNativeDriver(settings: EndpointSettings): Promise<Driver> {
  loaded ??= loadAddon<NativeBinding>('NativeDriver')
  // The next attempt may find what this one did not.
  loaded.catch(() => (loaded = undefined))
  const { NativeDriver } = await loaded
  const { host, application, endpointSendBufferBytes: _, duplex: __, ...rest } = settings
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
    throw driverError(error, 'ERR_PACELINE_BIND', { address: host, port: settings.port, syscall: 'bind' })
  }
}

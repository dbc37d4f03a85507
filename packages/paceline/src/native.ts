import addonFile from './addon.cjs'
import type { Driver } from './driver.js'
import { driverError, EndpointError } from './errors.js'
import type { EndpointSettings } from './options.js'

/** What the addon's constructor takes. */
interface NativeDriverOptions {
  address: string
  port: number
  secrets: Uint8Array[]
  resetKey: Uint8Array | undefined
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

let loaded: Promise<NativeBinding> | undefined

/**
 * What the addon exports under some names.
 *
 * @throws {EndpointError} `ERR_PACELINE_NATIVE_MISSING`: there is no addon, or it is of another version
 */
export async function loadAddon<Exports>(...names: readonly (keyof Exports & string)[]): Promise<Exports> {
  const found = addonFile.requireAddon()
  if (found.addon === undefined) throw missingAddon(found.attempts)
  const addon = found.addon as Partial<Exports>
  const missing = names.find((name) => addon[name] === undefined)
  if (missing !== undefined) throw missingAddon([new TypeError(`the addon has no ${missing}`)])
  return Promise.resolve(addon as Exports)
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

/** Says for which platform there is no addon, and what to do about it. */
export function missingAddon(attempts: readonly unknown[]): EndpointError {
  const machine = `${process.platform}-${process.arch}`
  const libraries = addonFile.BUILDS[machine]
  const library = process.platform === 'linux' ? libc() : undefined
  const where = library === undefined ? machine : `${machine} with ${library}`
  const name = ['paceline', machine, library === undefined ? libraries?.[0] : library.startsWith('glibc') ? 'gnu' : 'musl'].filter(Boolean).join('-')
  const there = attempts.find((error) => (error as { code?: unknown }).code !== 'MODULE_NOT_FOUND')
  return new EndpointError(
    'ERR_PACELINE_NATIVE_MISSING',
    `no native addon for ${where}: ` +
      (libraries === undefined
        ? 'there is no package for this platform, see docs/platforms.md; "npm run build" in the repository builds it (needs Rust)'
        : there === undefined
          ? `expected the package ${name}; install without --omit=optional, on this system and processor (not copied from another, ` +
            'and with a lock file that names it), or build it with "npm run build" in the repository (needs Rust)'
          : `it does not load (${there instanceof Error ? there.message.split('\n', 1)[0] : String(there)}); ` +
            `reinstall ${name} in the version of paceline`),
    { cause: attempts.length === 1 ? attempts[0] : new AggregateError(attempts, 'every way to load it failed') },
  )
}

/** Example: `'glibc 2.36'`, `'musl'`. */
function libc(): string {
  const { report } = process
  // Without this the report looks up the name of every open connection.
  ;(report as { excludeNetwork?: boolean }).excludeNetwork = true
  const { header } = report.getReport() as { header?: { glibcVersionRuntime?: string } }
  return header?.glibcVersionRuntime === undefined ? 'musl' : `glibc ${header.glibcVersionRuntime}`
}

import { optionNames } from './option-names.js'
import { bitrateOption, booleanOption, integerOption, numberOption, objectOption, wrongOption } from './options.js'

/** What a link does to datagrams, in each direction by itself. */
export interface LinkOptions {
  /** Milliseconds one way, 0.01 to 600,000. Default 1. Example: `20`. */
  delay?: number | undefined
  /** Milliseconds more, at random up to this; alone it does not change the order. 0 to 600,000. Default 0. Example: `5`. */
  jitter?: number | undefined
  /** Chance that a datagram is lost, 0 to 1. Default 0. Example: `0.01`. */
  loss?: number | undefined
  /** Chance that with a datagram a burst of losses begins, 0 to 1. Default 0. Example: `0.001`. */
  burstLoss?: number | undefined
  /** Datagrams that such a burst takes, 1 to 100,000. Default 10. Example: `50`. */
  burstLength?: number | undefined
  /** Chance that a datagram arrives twice, the copy up to 0.1 ms later, 0 to 1. Default 0. Example: `0.01`. */
  duplicate?: number | undefined
  /** Chance that a datagram is held back, so that younger ones overtake it, 0 to 1. Default 0. Example: `0.05`. */
  reorder?: number | undefined
  /** Milliseconds that it is held back, at random up to this, 0 to 600,000. Default: half of `delay`, at least 1. Example: `10`. */
  reorderDelay?: number | undefined
  /** Chance that a bit of a datagram is flipped, 0 to 1. Default 0. Example: `0.001`. */
  corrupt?: number | undefined
  /** Chance that a datagram is marked "congestion experienced" (ECN), 0 to 1. Default 0. Example: `0.01`. */
  mark?: number | undefined
  /** Bits per second, at least 8,000, or 0 for no limit. Default 0. Example: `10e6`. */
  rate?: number | undefined
  /** Bytes that wait for `rate`; what comes on top is lost. 0 to 4,294,967,295. Default: 100 ms of `rate`, but no less than 64 KiB. Example: `1 << 20`. */
  queue?: number | undefined
  /** Largest UDP payload in bytes, 1 to 65,507, or 0 for any; what is larger vanishes. Default 0. Example: `1_200`. */
  mtu?: number | undefined
  /** Whether a sender is told that a datagram is too large (EMSGSIZE), instead of hearing nothing. Default `false`. Example: `true`. */
  mtuSignal?: boolean | undefined
}

/** Options of {@link Network}: the link between all endpoints, and what decides chance. */
export interface NetworkOptions extends LinkOptions {
  /** Decides everything random: the same seed, the same run. An integer from 0 to 2^64 - 1. Default 1. Example: `42`. */
  seed?: number | bigint | undefined
  /** Keep a line of text for every datagram, for {@link Network.trace}. Default `false`. Example: `true`. */
  trace?: boolean | undefined
}

/** Every property of a link decided. */
export type LinkSettings = { [name in keyof LinkOptions]-?: NonNullable<LinkOptions[name]> }

const LONGEST = 600_000
const MIN_QUEUE = 64 * 1024
const QUEUE_SECONDS = 0.1
const LINK = {
  delay: true, jitter: true, loss: true, burstLoss: true, burstLength: true, duplicate: true, reorder: true, reorderDelay: true, corrupt: true,
  mark: true, rate: true, queue: true, mtu: true, mtuSignal: true,
} as const // prettier-ignore

/** Of the link between two endpoints. */
export const LINK_NAMES = optionNames<LinkOptions>(LINK)
const NETWORK_NAMES = optionNames<NetworkOptions>({ seed: true, trace: true, ...LINK })

/** Decides every property. */
export function linkSettings(given: LinkOptions): LinkSettings {
  const options = objectOption<LinkOptions>('options', given, LINK_NAMES)
  const chance = (name: keyof LinkOptions): number => numberOption(`options.${name}`, options[name], 0, 0, 1)
  const delay = numberOption('options.delay', options.delay, 1, 0.01, LONGEST, ' ms')
  const rate = bitrateOption('options.rate', options.rate)
  const queue = Math.max(MIN_QUEUE, Math.ceil((Math.min(rate, 2 ** 36) / 8) * QUEUE_SECONDS))
  return {
    delay,
    jitter: numberOption('options.jitter', options.jitter, 0, 0, LONGEST, ' ms'),
    loss: chance('loss'),
    burstLoss: chance('burstLoss'),
    burstLength: integerOption('options.burstLength', options.burstLength, 10, 1, 100_000, ' (datagrams)'),
    duplicate: chance('duplicate'),
    reorder: chance('reorder'),
    reorderDelay: numberOption('options.reorderDelay', options.reorderDelay, Math.max(1, delay / 2), 0, LONGEST, ' ms'),
    corrupt: chance('corrupt'),
    mark: chance('mark'),
    rate,
    queue: integerOption('options.queue', options.queue, queue, 0, 0xffff_ffff, ' (bytes)'),
    mtu: integerOption('options.mtu', options.mtu, 0, 0, 65_507, ' (bytes)'),
    mtuSignal: booleanOption('options.mtuSignal', options.mtuSignal, false),
  }
}

/** What a network is made from; `link` as it was given. */
export function networkSettings(given: NetworkOptions | undefined): { seed: bigint; trace: boolean; link: LinkOptions } {
  const options = objectOption<NetworkOptions>('options', given, NETWORK_NAMES)
  const { seed = 1, trace, ...link } = options
  linkSettings(link)
  const isInteger = typeof seed === 'bigint' || (typeof seed === 'number' && Number.isSafeInteger(seed))
  if (!isInteger || seed < 0 || seed >= 2n ** 64n) throw wrongOption('options.seed', 'an integer from 0 to 2^64 - 1', seed)
  return { seed: BigInt(seed), trace: booleanOption('options.trace', trace, false), link }
}

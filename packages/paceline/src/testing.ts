/**
 * A network inside one process, for tests of programs that use paceline. See docs/testing.md.
 *
 * @example
 * import { Network } from 'paceline/testing'
 *
 * @module
 */
export type { DirectionOptions, RunUntilOptions } from './network.js'
export { Network } from './network.js'
export type { NetworkStats } from './network-driver.js'
export type { LinkOptions, NetworkOptions } from './network-options.js'
export type { VirtualTimer } from './virtual-clock.js'

/** Silence that means that the other end is gone. The same at both ends: with a path secret nothing tells one end what the other has. */
export const IDLE_MS = 10_000
/** Streams at the same time. */
export const MAX_PARALLEL = 1000
/** Of one test. */
export const MAX_SECONDS = 3600
/** Of a request or a reply. */
export const MAX_SHORT_BYTES = 16 << 20

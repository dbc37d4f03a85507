/** Streams at the same time. */
export const MAX_PARALLEL = 1000
/** Of one test. */
export const MAX_SECONDS = 3600
/** Of a request or a reply. */
export const MAX_SHORT_BYTES = 16 << 20

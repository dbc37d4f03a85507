/**
 * For `import`: names for what `require` gives, as in `index.mts`.
 *
 * @module
 */
export * from './testing.js'

/**
 * For `import`: names for what `require` gives, so that every class exists once in a process.
 *
 * @module
 */
export * from './index.js'

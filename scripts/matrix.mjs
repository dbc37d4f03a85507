// The ava suite on several versions of Node, a line each, and all there is about a test that failed. The binaries come from npm and are kept in node_modules/.cache.
// usage: npm run test:matrix [-- [--verbose] [MAJOR…] [FILE…]]
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { bin, isStopping, root, run } from './run.mjs'
import { TapReader, saidAgain } from './tap.mjs'

/** Every line of Node that is supported or about to be. */
const MAJORS = ['20', '22', '24', '26']
const CACHE = join(root, 'node_modules', '.cache', 'paceline-node')

const args = process.argv.slice(2)
const verbose = args.includes('--verbose')
const files = args.filter((arg) => /[./]/.test(arg))
const majors = args.filter((arg) => /^\d+$/.test(arg))
const unknown = args.filter((arg) => arg !== '--verbose' && !files.includes(arg) && !majors.includes(arg))
if (unknown.length > 0) {
  process.stderr.write(`matrix: expected --verbose, major versions of Node or files, got ${unknown.join(' ')}\n`)
  process.exit(2)
}

/** The executable of a major version: our own if it is that one, else npm's. */
async function executable(major) {
  if (process.versions.node.startsWith(`${major}.`)) return process.execPath
  const system = process.platform === 'win32' ? 'win' : process.platform
  const name = `node-${system}-${process.arch}`
  const folder = join(CACHE, major)
  const path = join(folder, 'node_modules', name, 'bin', process.platform === 'win32' ? 'node.exe' : 'node')
  if (existsSync(path)) return path
  mkdirSync(folder, { recursive: true })
  // npm is a script on Windows; the one that runs us says where it is.
  const npm = process.env.npm_execpath
  const install = ['install', '--prefix', folder, '--no-save', '--no-package-lock', '--no-audit', '--no-fund', '--ignore-scripts', '--loglevel=error', `${name}@${major}`]
  const { code, output } = await run(...(npm?.endsWith('.js') ? [process.execPath, [npm, ...install]] : ['npm', install]))
  if (code !== 0 || !existsSync(path)) throw new Error(`cannot install ${name}@${major}: ${output.trim().split('\n').at(-1) ?? code}`)
  return path
}

const sumOf = (output, pattern) => [...output.matchAll(pattern)].reduce((sum, match) => sum + Number(match[1]), 0)

/** Runs the suite; the line that says how it went, and whether it went well. */
async function suite(major) {
  const node = await executable(major)
  const { output: version } = await run(node, ['--version'])
  const begin = performance.now()
  const tap = new TapReader()
  const onText = (text) => {
    tap.write(text)
    if (verbose) process.stdout.write(text)
  }
  const { code, output } = await run(node, [bin('ava', 'entrypoints/cli.mjs'), '--tap', ...files], { onText })
  const [passed, failed, skipped] = ['pass', 'fail', 'skip'].map((kind) => sumOf(output, new RegExp(`^# ${kind} (\\d+)`, 'gm')))
  const fine = code === 0 && failed === 0 && passed > 0
  const seconds = ((performance.now() - begin) / 1000).toFixed(0)
  const line = `${fine ? 'ok  ' : 'FAIL'} ${version.trim().padEnd(9)} ${passed} passed, ${failed} failed, ${skipped} skipped (${seconds} s)`
  return { fine, text: fine ? `${line}\n` : `${line}\n${saidAgain(tap.failures, output, Infinity)}` }
}

let failed = 0
for (const major of majors.length > 0 ? majors : MAJORS) {
  if (isStopping()) break
  try {
    const { fine, text } = await suite(major)
    if (!fine) failed += 1
    process.stdout.write(text)
  } catch (error) {
    failed += 1
    process.stdout.write(`FAIL v${major}  ${error.message}\n`)
  }
}
process.exitCode = failed > 0 ? 1 : 0

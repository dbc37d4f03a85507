// Makes a fresh clone ready: packages, native part, TypeScript. Each step is skipped while its stamp is newer than
// everything it reads. Runs before node_modules exists, so it uses nothing but Node. Prints on stderr only: stdout
// belongs to the command that follows (`npm start --silent -- --json`).
import { existsSync, linkSync, lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { bin, isStopping, root, run, version } from './run.mjs'

const NODE_MAJOR = 20
const STAMPS = join(root, '.stamps')
const PACKAGE = join(root, 'packages', 'paceline')
// `interop` is a workspace of its own, and building it changes the time of its folder.
const NOT_INPUTS = new Set(['node_modules', 'target', 'dist', 'binding', 'tests', 'fuzz', 'interop', '__test__', '.git'])

const steps = [
  {
    name: 'packages',
    doing: 'installing npm packages',
    inputs: ['package.json', 'package-lock.json', '.npmrc', 'packages/paceline/package.json'],
    outputs: ['node_modules/typescript', 'node_modules/paceline'],
    command() {
      const args = ['ci', '--include=dev', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
      const npm = process.env.npm_execpath
      return npm?.endsWith('.js') ? [process.execPath, [npm, ...args]] : ['npm', args]
    },
  },
  {
    name: 'native',
    doing: 'building the native part (Rust, a few minutes the first time)',
    inputs: ['Cargo.toml', 'Cargo.lock', '.cargo', 'rust-toolchain.toml', 'crates', 'packages/paceline/package.json'],
    outputs: ['packages/paceline/binding/index.d.ts'],
    require: requireRust,
    command: () => [
      process.execPath,
      // prettier-ignore
      [bin('@napi-rs/cli', 'dist/cli.js'), 'build', '--platform', '--release', '--no-js',
        '--manifest-path', '../../crates/node/Cargo.toml', '--package-json-path', 'package.json',
        '--output-dir', 'binding', '--dts', 'index.d.ts'],
    ],
    cwd: PACKAGE,
    hint: {
      when: /linker .* not found|failed to find tool|ToolNotFound|No such file or directory/,
      text: 'the native part needs a C compiler (Debian: apt-get install build-essential; macOS: xcode-select --install)',
    },
  },
  {
    name: 'typescript',
    doing: 'compiling TypeScript',
    inputs: ['packages/paceline/src', 'packages/paceline/tsconfig.json', 'tsconfig.base.json', 'packages/paceline/binding/index.d.ts'],
    outputs: ['packages/paceline/dist/index.js', 'packages/paceline/dist/index.mjs'],
    command: () => [process.execPath, [bin('typescript', 'bin/tsc'), '-p', 'packages/paceline/tsconfig.json']],
  },
]

function fail(message) {
  process.stderr.write(`setup: ${message}\n`)
  process.exit(1)
}

function requireNode() {
  if (Number.parseInt(process.versions.node, 10) >= NODE_MAJOR) return
  fail(`expected Node.js ${NODE_MAJOR} or newer, got ${process.versions.node}; see https://nodejs.org`)
}

function requireRust() {
  const wanted = /^rust-version = "([\d.]+)"/m.exec(readFileSync(join(root, 'Cargo.toml'), 'utf8'))?.[1] ?? '1.0'
  const found = version('cargo')
  if (found === undefined) fail(`expected Rust ${wanted} or newer, found no cargo; install it from https://rustup.rs`)
  const [major, minor] = /(\d+)\.(\d+)/.exec(found).slice(1).map(Number)
  const [wantedMajor, wantedMinor] = wanted.split('.').map(Number)
  if (major > wantedMajor || (major === wantedMajor && minor >= wantedMinor)) return
  fail(`expected Rust ${wanted} or newer, got ${major}.${minor}; "rustup update" brings it up to date`)
}

/** The newest change below a path, in ms. A removed file shows in its folder's time. */
function newest(path) {
  const entry = lstatSync(path, { throwIfNoEntry: false })
  if (entry === undefined) return 0
  let time = entry.mtimeMs
  if (!entry.isDirectory()) return time
  for (const child of readdirSync(path)) {
    if (!NOT_INPUTS.has(child)) time = Math.max(time, newest(join(path, child)))
  }
  return time
}

/** A build for another Node ABI, system or processor (a folder shared between machines) is no build. */
const platform = `${process.platform}-${process.arch} ${process.versions.modules}\n`

function isFresh(step) {
  const stamp = join(STAMPS, step.name)
  if (!step.outputs.every((path) => existsSync(join(root, path)))) return false
  if (!existsSync(stamp) || readFileSync(stamp, 'utf8') !== platform) return false
  const time = statSync(stamp).mtimeMs
  return step.inputs.every((path) => newest(join(root, path)) <= time)
}

/** Seconds since `start`, and on a terminal the newest line of the step. */
function showProgress(step, start) {
  const seconds = () => Math.round((performance.now() - start) / 1000)
  if (!process.stderr.isTTY) {
    process.stderr.write(`setup: ${step.doing}\n`)
    return { onText() {}, done: () => process.stderr.write(`setup: ${step.name} ready after ${seconds()} s\n`), clear() {} }
  }
  const frames = '⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏'
  let frame = 0
  let newestLine = ''
  const draw = () => {
    const head = `${frames[frame++ % frames.length]} ${step.doing}, ${seconds()} s  `
    const room = Math.max(0, (process.stderr.columns || 80) - head.length - 1)
    process.stderr.write(`\r\x1b[2K${head}\x1b[2m${newestLine.slice(0, room)}\x1b[22m`)
  }
  draw()
  const timer = setInterval(draw, 100)
  const clear = () => {
    clearInterval(timer)
    process.stderr.write('\r\x1b[2K')
  }
  return {
    onText(text) {
      const lines = text.replace(/\x1b\[[\d;]*[A-Za-z]/g, '').split(/[\r\n]+/).filter((line) => line.trim() !== '')
      newestLine = lines.at(-1)?.trim() ?? newestLine
    },
    done: () => {
      clear()
      process.stderr.write(`✔ ${step.name} ready after ${seconds()} s\n`)
    },
    clear,
  }
}

async function perform(step) {
  step.require?.()
  const [command, args] = step.command()
  // The stamp carries the time before the step: what changes while it runs is built next time.
  const before = new Date()
  const progress = showProgress(step, performance.now())
  const { code, output, error } = await run(command, args, { cwd: step.cwd ?? root, onText: progress.onText })
  if (code === 0) {
    writeFileSync(join(STAMPS, step.name), platform)
    utimesSync(join(STAMPS, step.name), before, before)
    progress.done()
    return
  }
  progress.clear()
  if (isStopping()) return
  process.stderr.write(output.endsWith('\n') ? output : `${output}\n`)
  const shown = [command, ...args].map((part) => (part.startsWith(root) ? relative(root, part) : part)).join(' ')
  if (step.hint?.when.test(output)) process.stderr.write(`setup: ${step.hint.text}\n`)
  fail(error === undefined ? `${step.name} failed with exit code ${code}: ${shown}` : `cannot run ${command}: ${error.message}`)
}

/** Two terminals must not install into one folder at once. The lock names its owner, so a dead one's lock is void. */
async function lock() {
  const path = join(STAMPS, 'lock')
  for (let told = false; ; told = true) {
    // Written first, then linked: nobody ever reads a lock without its owner.
    const draft = `${path}.${process.pid}`
    writeFileSync(draft, String(process.pid))
    try {
      linkSync(draft, path)
      process.on('exit', () => rmSync(path, { force: true }))
      return
    } catch (error) {
      if (error.code !== 'EEXIST') throw error
    } finally {
      rmSync(draft, { force: true })
    }
    const owner = Number(existsSync(path) ? readFileSync(path, 'utf8') : 0)
    if (!isAlive(owner)) rmSync(path, { force: true })
    else {
      if (!told) process.stderr.write(`setup: waiting for another setup (process ${owner})\n`)
      await new Promise((resolve) => setTimeout(resolve, 200))
    }
  }
}

function isAlive(pid) {
  if (!Number.isInteger(pid) || pid <= 0) return false
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error.code === 'EPERM'
  }
}

requireNode()
if (!steps.every(isFresh)) {
  mkdirSync(STAMPS, { recursive: true })
  await lock()
  for (const step of steps) {
    if (isStopping()) break
    if (!isFresh(step)) await perform(step)
  }
}

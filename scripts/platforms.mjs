// What of the sources depends on the platform, and which of it no machine has compiled yet: read out of the `cfg`s.
// `npm run docs` puts it into docs/platforms.md.
import { readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { root } from './run.mjs'

const BELOW_NODE = ['pool', 'wheel', 'pacer', 'wire', 'handshake', 'transport', 'udp']

/** What has been compiled, and how. A predicate that holds in one of these worlds has been seen by a compiler. */
const COMPILED = [
  { name: 'linux x64 gnu', crates: 'all', flags: ['unix', 'debug_assertions', 'target_family = "unix"', 'target_os = "linux"', 'target_env = "gnu"', 'target_arch = "x86_64"', 'target_pointer_width = "64"'] },
  { name: 'Windows x64, checked', crates: BELOW_NODE, flags: ['windows', 'target_family = "windows"', 'target_os = "windows"', 'target_env = "msvc"', 'target_arch = "x86_64"', 'target_pointer_width = "64"'] },
  { name: 'macOS arm64, checked', crates: BELOW_NODE, flags: ['unix', 'target_family = "unix"', 'target_os = "macos"', 'target_vendor = "apple"', 'target_arch = "aarch64"', 'target_pointer_width = "64"'] },
  { name: 'wasm32-wasip1', crates: ['pool', 'wheel', 'pacer', 'wire', 'handshake', 'transport', 'sim'], flags: ['target_os = "wasi"', 'target_family = "wasm"', 'target_arch = "wasm32"', 'target_pointer_width = "32"'] },
]

/** True, false or, where it is up to the build (features, loom, test), unknown: both ways have been compiled on Linux. */
const FREE = /^(feature\b|test$|loom$|fuzzing$|debug_assertions$|doc$|miri$)/

/** Reads `all(a, not(b = "c"))` into a tree. */
export function parsePredicate(text) {
  let at = 0
  const skip = () => {
    while (/\s/.test(text[at] ?? '')) at++
  }
  const one = () => {
    skip()
    const [name] = /^[\w-]+/.exec(text.slice(at)) ?? []
    if (name === undefined) throw new Error(`expected a cfg predicate, got ${text}`)
    at += name.length
    skip()
    if (text[at] === '(') {
      at++
      const parts = []
      for (skip(); text[at] !== ')'; skip()) {
        parts.push(one())
        skip()
        if (text[at] === ',') at++
        else if (text[at] !== ')') throw new Error(`expected , or ) in ${text}`)
      }
      at++
      return { name, parts }
    }
    if (text[at] === '=') {
      const [all, value] = /^=\s*"([^"]*)"/.exec(text.slice(at)) ?? []
      if (all === undefined) throw new Error(`expected a value in ${text}`)
      at += all.length
      return { flag: `${name} = "${value}"` }
    }
    return { flag: name }
  }
  return one()
}

/** Kleene's three values: whether a predicate holds in a world, or `undefined` where that is up to the build. */
export function holds(tree, flags) {
  if (tree.flag !== undefined) return FREE.test(tree.flag) ? undefined : flags.includes(tree.flag)
  const values = tree.parts.map((part) => holds(part, flags))
  if (tree.name === 'not') return values[0] === undefined ? undefined : !values[0]
  if (tree.name === 'all') return values.includes(false) ? false : values.includes(undefined) ? undefined : true
  return values.includes(true) ? true : values.includes(undefined) ? undefined : false
}

const dependsOnPlatform = (tree) => (tree.flag !== undefined ? !FREE.test(tree.flag) : tree.parts.some(dependsOnPlatform))

/** The text between the parenthesis at `from` and its partner. */
function enclosed(text, from) {
  let depth = 0
  for (let at = from; at < text.length; at++) {
    if (text[at] === '(') depth++
    if (text[at] === ')' && --depth === 0) return text.slice(from + 1, at)
  }
  throw new Error('expected a closing parenthesis')
}

/** Up to the first comma at the top: what `cfg_attr` depends on. */
function firstArgument(text) {
  let depth = 0
  for (let at = 0; at < text.length; at++) {
    if (text[at] === '(') depth++
    else if (text[at] === ')') depth--
    else if (text[at] === ',' && depth === 0) return text.slice(0, at)
  }
  return text
}

/** Every cfg of a file that depends on the platform, with the line that it guards. */
export function cfgsOf(file, source) {
  const text = source.replaceAll(/\/\/.*$/gm, (comment) => ' '.repeat(comment.length))
  const found = []
  for (const match of text.matchAll(/#!?\[cfg(_attr)?\(|\bcfg!\(|\[target\.'cfg\(/g)) {
    const open = match.index + match[0].length - 1
    const inside = enclosed(text, open)
    const predicate = (match[1] === undefined ? inside : firstArgument(inside)).replaceAll(/\s+/g, ' ').trim()
    const tree = parsePredicate(predicate)
    if (!dependsOnPlatform(tree)) continue
    const before = text.slice(0, match.index)
    const line = before.split('\n').length
    const macro = match[0].startsWith('cfg!')
    const rest = text.slice(open + inside.length + 2).replace(/^\)?\]|^'\.[\w-]+\]/, '')
    const guarded = macro ? (source.split('\n')[line - 1] ?? '') : (rest.split('\n').find((each) => each.trim() !== '' && !each.trim().startsWith('#[')) ?? '')
    found.push({ file, line, predicate, tree, macro, guarded: guarded.trim().replace(/\s*\{$/, '') })
  }
  return found
}

function sources(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) return ['target', 'interop', 'tests', 'benches', 'examples'].includes(entry.name) ? [] : sources(path)
    return /\.rs$|^Cargo\.toml$/.test(entry.name) ? [path] : []
  })
}

/** All of the workspace, in the order of their files. */
export function allCfgs(folder = join(root, 'crates')) {
  return sources(folder)
    .sort()
    .flatMap((path) => cfgsOf(relative(root, path).replaceAll('\\', '/'), readFileSync(path, 'utf8')))
}

const inWorld = (world, file) => world.crates === 'all' || world.crates.some((crate) => file.startsWith(`crates/${crate}/`))

/** The worlds in which a branch is (or may be) compiled. `cfg!` compiles both ways everywhere; only one of them runs. */
export function compiledIn({ tree, file }) {
  return COMPILED.filter((world) => inWorld(world, file) && holds(tree, world.flags) !== false).map(({ name }) => name)
}

const TIERS = [
  ['linux x64, glibc', 'paceline-linux-x64-gnu', '1', 'built, tested and measured on every change'],
  ['linux x64, musl', 'paceline-linux-x64-musl', '2', 'the same sources as tier 1; built by the release workflow, not run yet'],
  ['linux arm64, glibc and musl', 'paceline-linux-arm64-gnu, -musl', '2', 'the same sources as tier 1; built by the release workflow, not run yet'],
  ['macOS arm64, x64', 'paceline-darwin-arm64, -x64', '3', 'portable socket (no GSO), tested on Linux through the feature `portable`; type-checked, but for `node`; not run yet'],
  ['Windows x64, arm64', 'paceline-win32-x64-msvc, -arm64-msvc', '3', 'portable socket, tested on Linux through the feature `portable`; type-checked, but for `node`; not run yet'],
  ['wasm32-wasip1', '–', '–', 'everything but `udp` and `node` compiles (RustCrypto); no package'],
]

/** docs/platforms.md. `tried` is what people found out by hand. */
export function platformsPage(tried) {
  const cfgs = allCfgs()
  const cell = (text) => text.replaceAll('|', '\\|')
  const code = (text) => `\`${cell(text.length > 90 ? `${text.slice(0, 89)}…` : text)}\``
  const unseen = cfgs.filter((cfg) => !cfg.macro && compiledIn(cfg).length === 0)
  const unrun = cfgs.filter((cfg) => cfg.macro)
  const seen = cfgs.length - unseen.length - unrun.length
  const byFile = (list) =>
    [...new Set(list.map(({ file }) => file))].map((file) => {
      const rows = list.filter((cfg) => cfg.file === file)
      return `### \`${file}\`\n\n| predicate | what it guards |\n|---|---|\n${rows.map(({ predicate, guarded }) => `| ${code(predicate)} | ${code(guarded)} |`).join('\n')}\n`
    })
  /** Everything that holds nowhere on the one platform where tests run. */
  const notRun = (list) => {
    const elsewhere = list.filter((cfg) => !cfg.macro && compiledIn(cfg).length > 0 && !compiledIn(cfg).includes(COMPILED[0].name))
    return `## Type-checked, never run\n\nThese ${elsewhere.length} branches belong to other platforms, and no test has run there.\n\n${byFile(elsewhere).join('\n')}`
  }
  return `<!-- Made from the sources by \`npm run docs\` (scripts/platforms.mjs). -->
# Platforms

| platform | package | tier | state |
|---|---|---|---|
${TIERS.map((row) => `| ${row.join(' | ')} |`).join('\n')}

Tier 1: every test, on every change. Tier 2: other processors and C libraries with the sources of tier 1. Tier 3: sources of their own.
Elsewhere, \`npm run build\` in the repository builds it, with Rust. Node.js 20, 22, 24 and 26.

${tried.trim()}

## What no machine has compiled yet

${cfgs.length} places in the sources depend on the platform. ${seen} of them have been compiled (${COMPILED.map(({ name }) => name).join(', ')}), ${unrun.length} are
\`cfg!\` expressions, whose every branch is compiled everywhere and run on its platform only, and ${unseen.length === 0 ? 'none is left that no compiler has seen' : `these ${unseen.length} no compiler has seen`}. What counts is the
predicate, not the text behind it: what is written behind one later may be wrong there all the same. A test compares this page with the sources.

${byFile(unseen).join('\n')}
${notRun(cfgs)}
## Expressions with both branches compiled

${byFile(unrun).join('\n')}`
}

// Builds the addon of one platform on a machine (or in a container) of that platform, tries it, and puts it into a folder.
// usage: node scripts/release-build.mjs TARGET FOLDER
import { copyFileSync, existsSync, mkdirSync, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { delimiter, join, resolve } from 'node:path'
import { root, run, version } from './run.mjs'

/** napi's name of a platform, from Rust's. */
const PLATFORMS = {
  'x86_64-unknown-linux-gnu': 'linux-x64-gnu',
  'aarch64-unknown-linux-gnu': 'linux-arm64-gnu',
  'x86_64-unknown-linux-musl': 'linux-x64-musl',
  'aarch64-unknown-linux-musl': 'linux-arm64-musl',
  'x86_64-apple-darwin': 'darwin-x64',
  'aarch64-apple-darwin': 'darwin-arm64',
  'x86_64-pc-windows-msvc': 'win32-x64-msvc',
  'aarch64-pc-windows-msvc': 'win32-arm64-msvc',
}

const [target, folder] = process.argv.slice(2)
const platform = PLATFORMS[target]
if (platform === undefined || folder === undefined) {
  process.stderr.write(`release-build: expected a target (${Object.keys(PLATFORMS).join(', ')}) and a folder, got ${process.argv.slice(2).join(' ') || 'nothing'}\n`)
  process.exit(2)
}

async function must(command, args, options = {}) {
  const { code, output } = await run(command, args, { cwd: root, onText: (text) => process.stderr.write(text), ...options })
  if (code === 0) return output
  process.stderr.write(`release-build: ${command} ended with ${code}\n`)
  return process.exit(1)
}

const env = {
  ...process.env,
  PATH: [process.env.PATH, join(homedir(), '.cargo', 'bin')].join(delimiter),
  CARGO_PROFILE_RELEASE_STRIP: 'symbols',
  // An addon is a shared library, which Rust's musl otherwise does not make.
  ...(target.endsWith('-musl') && { RUSTFLAGS: '-C target-feature=-crt-static' }),
}
process.env.PATH = env.PATH
if (version('cargo') === undefined) {
  await must('sh', ['-c', 'curl --proto =https --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal --default-toolchain stable'], { env })
}
const host = /^host: (.*)$/m.exec(await must('rustc', ['-vV'], { env, onText: () => {} }))?.[1]
if (host !== target) {
  process.stderr.write(`release-build: expected a machine of ${target}, got one of ${host}: an addon that cannot be tried is not released\n`)
  process.exit(1)
}
await must(process.execPath, ['scripts/setup.mjs'], { env })

const name = `paceline.${platform}.node`
const built = join(root, 'packages', 'paceline', 'binding', name)
if (!existsSync(built)) {
  process.stderr.write(`release-build: expected ${name}, found none\n`)
  process.exit(1)
}
const says = await must(process.execPath, ['-e', "require('paceline').Endpoint.bind({ host: '127.0.0.1' }).then((endpoint) => endpoint.close()).then(() => console.log('it loads'))"], { env, onText: () => {} })
if (!says.includes('it loads')) process.exit(1)
mkdirSync(resolve(folder), { recursive: true })
copyFileSync(built, join(resolve(folder), name))
process.stdout.write(`${name}  ${(statSync(built).size / 1e6).toFixed(2)} MB, it loads\n`)

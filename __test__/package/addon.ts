import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { temporaryFolder } from '../e2e/helpers/cli.ts'

const PACKAGE = join('packages', 'paceline')
const manifest = JSON.parse(readFileSync(join(PACKAGE, 'package.json'), 'utf8')) as { version: string; napi: { targets: string[] } }

/** The package as npm installs it: no `binding` folder. */
function install(t: ExecutionContext): string {
  const folder = temporaryFolder(t)
  const own = join(folder, 'node_modules', 'paceline')
  mkdirSync(own, { recursive: true })
  cpSync(join(PACKAGE, 'dist'), join(own, 'dist'), { recursive: true })
  cpSync(join(PACKAGE, 'package.json'), join(own, 'package.json'))
  return folder
}

/** What an endpoint says that finds no addon on a machine that pretends to be another. */
function bindOn(folder: string, machine: { platform?: string; arch?: string } = {}): { code: string; message: string; cause: string[] } {
  const pretend = Object.entries(machine).map(([key, value]) => `Object.defineProperty(process, '${key}', { value: '${value}' });`)
  const script = `${pretend.join('')}
    require('paceline').Endpoint.bind().then((endpoint) => endpoint.close(), ({ code, message, cause }) =>
      console.log(JSON.stringify({ code, message, cause: [cause, ...(cause.errors ?? [])].map(String) })))`
  const { stdout, stderr } = spawnSync(process.execPath, ['-e', script], { cwd: folder, encoding: 'utf8' })
  if (stdout === '') throw new Error(`expected an error, got none: ${stderr}`)
  return JSON.parse(stdout) as { code: string; message: string; cause: string[] }
}

test('no platform package: the error names platform, package and what to do', (t) => {
  const folder = install(t)
  for (const [platform, arch, name] of [
    ['darwin', 'arm64', 'paceline-darwin-arm64'],
    ['win32', 'x64', 'paceline-win32-x64-msvc'],
  ] as const) {
    const { code, message, cause } = bindOn(folder, { platform, arch })
    t.is(code, 'ERR_PACELINE_NATIVE_MISSING')
    t.true(message.startsWith(`no native addon for ${platform}-${arch}: expected the package ${name}; install without --omit=optional`), message)
    t.true(cause.length >= 2, 'every attempt is in the cause')
  }
})

test('a platform that nobody builds for', (t) => {
  const { code, message } = bindOn(install(t), { platform: 'sunos', arch: 'x64' })
  t.is(code, 'ERR_PACELINE_NATIVE_MISSING')
  t.true(message.startsWith('no native addon for sunos-x64: there is no package for this platform'), message)
})

if (process.platform === 'linux') {
  test('on Linux the C library is named', (t) => {
    t.regex(bindOn(install(t)).message, /^no native addon for linux-\w+ with (glibc \d+\.\d+|musl): expected the package paceline-linux-\w+-(gnu|musl);/)
  })
}

function platformPackage(folder: string, name: string, version: string, text: string): void {
  const own = join(folder, 'node_modules', name)
  mkdirSync(own)
  writeFileSync(join(own, 'package.json'), JSON.stringify({ name, version, main: 'addon.node' }))
  writeFileSync(join(own, 'addon.node'), text)
}

test('a platform package of another version, and one that does not load', (t) => {
  const mixed = install(t)
  platformPackage(mixed, 'paceline-darwin-x64', '0.0.9', '')
  const { code, message } = bindOn(mixed, { platform: 'darwin', arch: 'x64' })
  t.is(code, 'ERR_PACELINE_NATIVE_MISSING')
  t.true(message.includes(`expected paceline-darwin-x64 ${manifest.version}, got 0.0.9`), message)
  const broken = install(t)
  platformPackage(broken, 'paceline-darwin-x64', manifest.version, 'no addon')
  const other = bindOn(broken, { platform: 'darwin', arch: 'x64' })
  t.regex(other.message, /it does not load \(.+\); reinstall paceline-darwin-x64/)
})

test('the loader knows the platforms that are built, and no others', (t) => {
  const { BUILDS } = createRequire(import.meta.url)('../../packages/paceline/dist/addon.cjs') as { BUILDS: Record<string, string[]> }
  const known = Object.entries(BUILDS).flatMap(([machine, libraries]) => (libraries.length > 0 ? libraries.map((library) => `${machine}-${library}`) : [machine]))
  const cpu = { x86_64: 'x64', aarch64: 'arm64' } as const
  const built = manifest.napi.targets.map((target) => {
    const [processor = '', vendor, system = '', library] = target.split('-')
    const os = vendor === 'apple' ? 'darwin' : system === 'windows' ? 'win32' : system
    return [os, cpu[processor as keyof typeof cpu], library].filter(Boolean).join('-')
  })
  t.deepEqual(known.sort(), built.sort())
})

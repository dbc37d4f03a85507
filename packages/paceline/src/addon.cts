// CommonJS by its name, and written so: `require` and `__dirname` are then also there where a test's loader takes the other
// files for ESM.
import fs = require('node:fs')
import path = require('node:path')

/** Systems and processors there are packages for, and the C libraries that tell them apart; `napi.targets` has the same eight. */
const BUILDS: Readonly<Record<string, readonly string[]>> = {
  'linux-x64': ['gnu', 'musl'],
  'linux-arm64': ['gnu', 'musl'],
  'darwin-x64': [],
  'darwin-arm64': [],
  'win32-x64': ['msvc'],
  'win32-arm64': ['msvc'],
}

/** The folder of this package. */
const packageFolder = path.join(__dirname, '..')

function versionIn(file: string): unknown {
  return (JSON.parse(fs.readFileSync(file, 'utf8')) as { version?: unknown }).version
}

/**
 * The addon: what `npm run build` made, else that of an installed platform package; or why each attempt failed.
 *
 * Which C library this is, is not asked: that costs 20 ms, and npm installs only what fits. Where both are installed, the
 * one that does not fit does not load.
 */
function requireAddon(): { addon: object } | { addon: undefined; attempts: readonly unknown[] } {
  const machine = `${process.platform}-${process.arch}`
  const libraries = BUILDS[machine] ?? []
  const builds = libraries.length > 0 ? libraries.map((library) => `${machine}-${library}`) : [machine]
  const attempts: unknown[] = []
  for (const attempt of [...builds.map((build) => () => local(build)), ...builds.map((build) => () => installed(build))]) {
    try {
      return { addon: attempt() }
    } catch (error) {
      attempts.push(error)
    }
  }
  return { addon: undefined, attempts }
}

function local(build: string): object {
  return require(path.join(packageFolder, 'binding', `paceline.${build}.node`)) as object
}

function installed(build: string): object {
  const name = `paceline-${build}`
  const wanted = versionIn(path.join(packageFolder, 'package.json'))
  const got = versionIn(require.resolve(`${name}/package.json`))
  // The two sides of the boundary are made for each other.
  if (got !== wanted) throw new TypeError(`expected ${name} ${String(wanted)}, got ${String(got)}`)
  return require(name) as object
}

export = { BUILDS, packageFolder, requireAddon }

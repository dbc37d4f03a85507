// Makes the packages as they are published: `paceline`, and one for each platform that an addon is there for.
// usage: npm run pack -- [--artifacts DIR] [--all] [--json]
//   --artifacts DIR  where paceline.*.node of other machines lie (default: what `npm run build` made here)
//   --all            every platform must be there, as for a release
import { copyFileSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { bin, root, run, version } from './run.mjs'

const SOURCE = join(root, 'packages', 'paceline')
const STAGE = join(root, 'target', 'pack')

const readJson = (path) => JSON.parse(readFileSync(path, 'utf8'))
const writeJson = (path, value) => writeFileSync(path, `${JSON.stringify(value, null, 2)}\n`)

/** npm's own file where npm runs us, so that no other npm on PATH is asked. */
export function npm(...args) {
  const file = process.env.npm_execpath
  return file?.endsWith('.js') ? [process.execPath, [file, ...args]] : ['npm', args]
}

async function must(what, [command, args], options) {
  const { code, output } = await run(command, args, options)
  if (code !== 0) throw new Error(`${what} ended with ${code}\n${output}`)
  return output
}

/** What symbols there are for debuggers is a tenth of an addon. */
async function strip(path, platform) {
  const [system, processor] = platform.split('-')
  if (system !== process.platform || processor !== process.arch || system === 'win32') return false
  const command = process.env.STRIP ?? 'strip'
  if (version(command) === undefined && system === 'linux') return false
  await must('strip', [command, [...(system === 'darwin' ? ['-x'] : ['--strip-unneeded']), path]])
  return true
}

async function tarball(folder, out) {
  const output = await must('npm pack', npm('pack', '--json', '--ignore-scripts', '--loglevel=error', '--pack-destination', out), { cwd: folder })
  const [{ filename, size, unpackedSize, files }] = JSON.parse(output.slice(output.indexOf('[')))
  return { tarball: join(out, filename), folder, bytes: size, unpackedBytes: unpackedSize, files: files.map(({ path }) => path) }
}

/**
 * @param {{ artifacts?: string, all?: boolean, stage?: string }} [options]
 * @returns the main package, and those of the platforms that there is an addon for
 */
export async function pack({ artifacts = join(SOURCE, 'binding'), all = false, stage = STAGE } = {}) {
  if (!existsSync(join(SOURCE, 'dist', 'index.js'))) throw new Error('expected a built package, found no dist folder: npm run build')
  rmSync(stage, { recursive: true, force: true })
  const main = join(stage, 'paceline')
  mkdirSync(main, { recursive: true })
  for (const part of ['bin', 'dist']) cpSync(join(SOURCE, part), join(main, part), { recursive: true })
  for (const file of ['README.md', 'LICENSE', 'CHANGELOG.md']) copyFileSync(join(root, file), join(main, file))

  const manifest = readJson(join(SOURCE, 'package.json'))
  writeJson(join(main, 'package.json'), manifest)
  await must('napi create-npm-dirs', [process.execPath, [bin('@napi-rs/cli', 'dist/cli.js'), 'create-npm-dirs', '--cwd', main, '--npm-dir', 'npm']], { cwd: main })
  const platforms = readdirSync(join(main, 'npm')).sort()
  // Not in the repository: a name that is not published yet could be somebody else's.
  manifest.optionalDependencies = Object.fromEntries(platforms.map((platform) => [`${manifest.name}-${platform}`, manifest.version]))
  delete manifest.napi
  writeJson(join(main, 'package.json'), manifest)

  const packages = []
  for (const platform of platforms) {
    const addon = `paceline.${platform}.node`
    const from = join(artifacts, addon)
    const folder = join(main, 'npm', platform)
    if (!existsSync(from)) {
      if (all) throw new Error(`expected ${relative(root, from)} for a release, found none`)
      rmSync(folder, { recursive: true })
      continue
    }
    copyFileSync(from, join(folder, addon))
    copyFileSync(join(root, 'LICENSE'), join(folder, 'LICENSE'))
    const stripped = await strip(join(folder, addon), platform)
    const own = readJson(join(folder, 'package.json'))
    writeJson(join(folder, 'package.json'), { ...own, repository: manifest.repository, description: `The native addon of paceline for ${platform}.` })
    packages.push({ platform, stripped, addonBytes: statSync(join(folder, addon)).size, ...(await tarball(folder, stage)) })
  }
  return { version: manifest.version, main: await tarball(main, stage), platforms: packages }
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { values } = parseArgs({ options: { artifacts: { type: 'string' }, all: { type: 'boolean', default: false }, json: { type: 'boolean', default: false } } })
  const packed = await pack({ ...values, ...(values.artifacts !== undefined && { artifacts: resolve(values.artifacts) }) })
  if (values.json) process.stdout.write(`${JSON.stringify(packed)}\n`)
  else
    for (const { tarball: path, bytes, unpackedBytes } of [packed.main, ...packed.platforms]) {
      process.stdout.write(`${relative(root, path)}  ${(bytes / 1e6).toFixed(2)} MB, installed ${(unpackedBytes / 1e6).toFixed(2)} MB\n`)
    }
}

// Packs paceline as it is published, installs it from the tarballs into an empty folder without Rust and without a
// registry, and uses it there: the README's example by import, by require and in TypeScript. Then what the tools say.
// usage: npm run pack:check -- [--json] [--no-tools] [--max-import-ms 30] [--max-package-bytes 5000000]
import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { npm, pack } from './pack.mjs'
import { bin, root, run } from './run.mjs'
import { tool } from './tools.mjs'

/** Fresh processes for the time to import: others on the machine only add to it, so the best one counts. */
const IMPORT_RUNS = 15
/** What starting node and ending it takes on a machine of today with nothing else to do (2026-11-23: 35 to 45 ms). */
const USUAL_START_MS = 40
const USAGE = 'usage: npm run pack:check -- [--json] [--no-tools] [--max-import-ms N] [--max-package-bytes N]'

function parse() {
  try {
    const { values } = parseArgs({
      options: {
        json: { type: 'boolean', default: false },
        'no-tools': { type: 'boolean', default: false },
        'max-import-ms': { type: 'string', default: '30' },
        'max-package-bytes': { type: 'string', default: '5000000' },
      },
    })
    const number = (name) => {
      if (!(Number(values[name]) > 0)) throw new TypeError(`expected --${name} to be a positive number, got ${values[name]}`)
      return Number(values[name])
    }
    return { json: values.json, tools: !values['no-tools'], maxImportMs: number('max-import-ms'), maxBytes: number('max-package-bytes') }
  } catch (error) {
    process.stderr.write(`pack:check: ${error.message.split('. ')[0]}\n${USAGE}\n`)
    return process.exit(2)
  }
}

const options = parse()
const out = options.json ? process.stderr : process.stdout
const rows = []

/** One row; a check that throws has failed, and the next one goes on. */
async function check(name, body) {
  try {
    const says = await body()
    rows.push({ name, ok: true, says })
    out.write(`ok      ${name}${says ? `: ${says}` : ''}\n`)
  } catch (error) {
    rows.push({ name, ok: false, says: error.message })
    out.write(`FAILED  ${name}: ${error.message}\n`)
  }
}

function expect(condition, message) {
  if (!condition) throw new Error(message)
}

const megabytes = (bytes) => `${(bytes / 1e6).toFixed(2)} MB`
const folder = mkdtempSync(join(tmpdir(), 'paceline-pack-'))
process.on('exit', () => rmSync(folder, { recursive: true, force: true, maxRetries: 3 }))

/** No Rust, no repository: only this node, and on Unix the shell's own programs. */
const clean = {
  ...(process.platform === 'win32' ? process.env : { HOME: folder, npm_config_cache: join(folder, '.npm') }),
  PATH: [join(folder, 'node'), ...(process.platform === 'win32' ? [process.env.PATH] : ['/usr/bin', '/bin'].filter((path) => !existsSync(join(path, 'cargo'))))].join(delimiter),
}
mkdirSync(join(folder, 'node'))
if (process.platform !== 'win32') symlinkSync(process.execPath, join(folder, 'node', 'node'))
const project = join(folder, 'project')
mkdirSync(project)
writeFileSync(join(project, 'package.json'), '{ "private": true }\n')

async function inProject(command, args) {
  const { code, output } = await run(command, args, { cwd: project, env: clean })
  expect(code === 0, `${[command, ...args].join(' ').slice(0, 120)} ended with ${code}\n${output}`)
  return output
}
const node = (...args) => inProject(process.execPath, args)

const packed = await pack()
const mine = packed.platforms.find(({ addonBytes, platform }) => addonBytes > 0 && platform.startsWith(`${process.platform}-${process.arch}`))
expect(mine !== undefined, 'expected an addon for this platform: npm run build')
const installed = join(project, 'node_modules', 'paceline')
const installedAddon = join(project, 'node_modules', `paceline-${mine.platform}`)

await check('installs from two tarballs, without Rust, offline', async () => {
  expect(spawnSync('cargo', ['--version'], { env: clean }).error !== undefined, 'expected no cargo on PATH, found one')
  const args = ['install', '--offline', '--no-audit', '--no-fund', packed.main.tarball, mine.tarball]
  await inProject(...npm(...args))
  expect(existsSync(installed) && existsSync(installedAddon), 'expected both packages in node_modules')
})

await check('no install scripts, one optional package a platform', () => {
  const manifests = [installed, installedAddon].map((path) => JSON.parse(readFileSync(join(path, 'package.json'), 'utf8')))
  for (const { name, scripts } of manifests) expect(scripts === undefined, `expected ${name} without scripts, got ${Object.keys(scripts ?? {}).join(', ')}`)
  const optional = Object.entries(manifests[0].optionalDependencies)
  expect(optional.length === 8, `expected 8 optional packages, got ${optional.length}`)
  for (const [name, version] of optional) expect(version === packed.version, `expected ${name} ${packed.version}, got ${version}`)
  expect(Object.keys(manifests[0].dependencies ?? {}).length === 0 || Object.values(manifests[0].dependencies).every((range) => /^\d/.test(range)), 'expected exact versions of dependencies')
  return `${optional.length} platforms`
})

await check('nothing in the package but what is used', () => {
  const odd = packed.main.files.filter((path) => !/^(bin|dist)\/|^(package\.json|README\.md|LICENSE|CHANGELOG\.md)$/.test(path) || (/\.[cm]?ts$/.test(path) && !/\.d\.[cm]?ts$/.test(path)))
  expect(odd.length === 0, `unexpected files: ${odd.join(', ')}`)
  const manifest = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'))
  const targets = (value) => (typeof value === 'string' ? [value] : Object.values(value).flatMap(targets))
  const absent = targets(manifest.exports).filter((path) => !existsSync(join(installed, path)))
  expect(absent.length === 0, `exports name files that are not there: ${absent.join(', ')}`)
  return `${packed.main.files.length} files`
})

const source = /^```js[^\n]*\n(.*?)^```/ms.exec(readFileSync(join(root, 'README.md'), 'utf8'))?.[1] ?? ''
const example = {
  mjs: source,
  // The same lines; what differs between the module systems is the first one, and `await` at the top.
  cjs: `${source.replace(/^import (.*) from '(.*)'$/m, "const $1 = require('$2')").replace(/^((?:const .*require.*\n)+)([\s\S]*)$/, '$1async function main() {\n$2}\n')}main()\n`,
  cts: `${source.replace(/^((?:import .*\n)+)([\s\S]*)$/, '$1async function main(): Promise<void> {\n$2}\n')}void main()\n`,
}
const SAYS = /acknowledged: 104857600,\s+undelivered: 0,\s+received: 104857600/

await check('README example by import', async () => {
  expect(source.includes("from 'paceline'"), 'expected an example in README.md')
  writeFileSync(join(project, 'example.mjs'), example.mjs)
  expect(SAYS.test(await node('example.mjs')), 'expected 100 MiB to arrive')
})

await check('README example by require', async () => {
  expect(example.cjs.includes("require('paceline')"), 'expected a require')
  writeFileSync(join(project, 'example.cjs'), example.cjs)
  expect(SAYS.test(await node('example.cjs')), 'expected 100 MiB to arrive')
})

await check('README example in TypeScript, strict, both module systems', async () => {
  for (const name of ['typescript', '@types/node', 'undici-types', '@typescript']) {
    const from = join(root, 'node_modules', name)
    if (existsSync(from)) cpSync(from, join(project, 'node_modules', name), { recursive: true })
  }
  writeFileSync(join(project, 'esm.mts'), example.mjs)
  writeFileSync(join(project, 'cjs.cts'), example.cts)
  const compilerOptions = {
    target: 'ES2022', lib: ['ES2022', 'ESNext.Disposable'], module: 'NodeNext', strict: true, exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true,
    types: ['node'], outDir: 'out', rootDir: '.', skipLibCheck: false,
  }
  writeFileSync(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['esm.mts', 'cjs.cts'] }))
  await node(bin('typescript', 'bin/tsc'), '-p', 'tsconfig.json')
  for (const file of ['out/esm.mjs', 'out/cjs.cjs']) expect(SAYS.test(await node(file)), `expected 100 MiB to arrive from ${file}`)
})

await check('every class exists once: instanceof agrees across require and import', async () => {
  const manifest = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'))
  const entries = Object.keys(manifest.exports).filter((key) => !key.endsWith('.json')).map((key) => `paceline${key.slice(1)}`)
  const script = `
    const assert = require('node:assert')
    ;(async () => {
      for (const entry of ${JSON.stringify(entries)}) {
        const required = require(entry)
        const imported = await import(entry)
        const names = Object.keys(imported).filter((name) => !['__esModule', 'module.exports'].includes(name)).sort()
        assert.deepStrictEqual(names, Object.keys(required).sort())
        assert(names.length > 0)
        for (const name of names) assert.strictEqual(imported[name], required[name], name)
      }
      const { Endpoint } = require('paceline')
      const endpoint = await (await import('paceline')).Endpoint.bind({ host: '127.0.0.1' })
      assert(endpoint instanceof Endpoint)
      const { OptionError } = await import('paceline')
      await assert.rejects(endpoint.connect('', 1), (error) => error instanceof OptionError && error instanceof require('paceline').PacelineError)
      await endpoint.close()
    })()`
  await node('-e', script)
  return entries.join(', ')
})

await check('the command line', async () => {
  const says = await inProject(...npm('exec', '--offline', '--', 'paceline', '--version'))
  expect(says.trim().split('\n').at(-1) === packed.version, `expected ${packed.version}, got ${says}`)
})

/** Wall time in fresh processes, best and median; and the best of as many processes that do nothing, in turns with them. */
function importTime(args, statement) {
  const times = []
  let start = Infinity
  for (let run = 0; run < IMPORT_RUNS; run += 1) {
    const code = `const t = performance.now(); ${statement}; console.log(performance.now() - t)`
    times.push(Number(execFileSync(process.execPath, [...args, '-e', code], { cwd: project, env: clean, encoding: 'utf8' })))
    const begin = performance.now()
    execFileSync(process.execPath, [...args, '-e', '0'], { cwd: project, env: clean })
    start = Math.min(start, performance.now() - begin)
  }
  times.sort((a, b) => a - b)
  return { best: times[0], median: times[IMPORT_RUNS >> 1], start }
}

const figures = {}
for (const [name, args, statement] of [
  ['import', ['--input-type=module'], "await import('paceline')"],
  ['require', [], "require('paceline')"],
]) {
  await check(`${name} takes less than ${options.maxImportMs} ms`, () => {
    const { best, median, start } = importTime(args, statement)
    figures[`${name}Ms`] = { best, median, start }
    // The figure is of a machine on which node starts as it usually does; a slower one, or one with much else to do, has its own.
    const limit = options.maxImportMs * Math.max(1, start / USUAL_START_MS)
    const says = `best ${best.toFixed(1)} ms, median ${median.toFixed(1)} ms of ${IMPORT_RUNS} (a process that does nothing: ${start.toFixed(1)} ms; limit here: ${limit.toFixed(3)} ms)`
    expect(best < limit, says)
    return says
  })
}

await check(`an installed platform package has less than ${megabytes(options.maxBytes)}`, () => {
  const size = (path) => (statSync(path).isDirectory() ? readdirSync(path).reduce((sum, name) => sum + size(join(path, name)), 0) : statSync(path).size)
  Object.assign(figures, { packageBytes: size(installed), addonPackageBytes: size(installedAddon), tarballBytes: packed.main.bytes, addonTarballBytes: mine.bytes })
  const says = `${mine.platform} ${megabytes(figures.addonPackageBytes)} (tarball ${megabytes(mine.bytes)}), paceline ${megabytes(figures.packageBytes)} (tarball ${megabytes(packed.main.bytes)})`
  expect(figures.addonPackageBytes < options.maxBytes, says)
  return says
})

await check('without its platform package: an error that names platform, libc and what to do', async () => {
  rmSync(installedAddon, { recursive: true })
  const says = await node('-e', "require('paceline').Endpoint.bind().then(() => console.log('bound'), (error) => console.log(error.code, error.message))")
  expect(/^ERR_PACELINE_NATIVE_MISSING /.test(says), `expected ERR_PACELINE_NATIVE_MISSING, got ${says}`)
  const wanted = [`${process.platform}-${process.arch}`, `paceline-${mine.platform}`, 'install', ...(process.platform === 'linux' ? [/glibc \d|musl/] : [])]
  for (const part of wanted) expect(says.match(part) !== null, `expected ${part} in: ${says}`)
  return says.trim().slice(0, 120)
})

if (options.tools) {
  await check('publint', async () => {
    const { code, output } = await run(process.execPath, [await tool('publint', 'src/cli.js'), 'run', packed.main.tarball, '--strict'], { cwd: folder })
    expect(code === 0, output)
    return output.trim().split('\n').at(-1)
  })
  await check('attw (are the types wrong?)', async () => {
    const { code, output } = await run(process.execPath, [await tool('@arethetypeswrong/cli', 'dist/index.js'), packed.main.tarball, '--format', 'table-flipped', '--no-color', '--no-emoji'], { cwd: folder })
    expect(code === 0, output)
    return output.includes('No problems found') ? 'no problems found' : output
  })
}

const failed = rows.filter(({ ok }) => !ok).length
out.write(`${rows.length - failed} passed, ${failed} failed\n`)
if (options.json) process.stdout.write(`${JSON.stringify({ ok: failed === 0, figures, rows })}\n`)
process.exitCode = failed === 0 ? 0 : 1

// Publishes tarballs that `npm run pack -- --all` has made, with provenance: those of the platforms first, so that nobody
// can install a `paceline` whose addons are not there yet.
// usage: node scripts/publish.mjs FOLDER --tag vVERSION [--dry-run]
import { readdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { npm } from './pack.mjs'
import { run } from './run.mjs'

const PLATFORMS = 8
const { values, positionals } = parseArgs({ allowPositionals: true, options: { tag: { type: 'string' }, 'dry-run': { type: 'boolean', default: false } } })
const [folder] = positionals

function stop(message) {
  process.stderr.write(`publish: ${message}\n`)
  process.exit(1)
}

const release = /^v(\d+\.\d+\.\d+(?:-[\w.]+)?)$/.exec(values.tag ?? '')?.[1]
if (folder === undefined || release === undefined) stop(`expected FOLDER --tag v1.2.3, got ${process.argv.slice(2).join(' ') || 'nothing'}`)

const tarballs = readdirSync(folder).filter((file) => file.endsWith('.tgz')).sort()
const wrong = tarballs.filter((file) => !file.endsWith(`-${release}.tgz`))
if (wrong.length > 0) stop(`expected version ${release} everywhere, got ${wrong.join(', ')}`)
const main = `paceline-${release}.tgz`
const platforms = tarballs.filter((file) => file !== main)
if (!tarballs.includes(main)) stop(`expected ${main}, found none`)
if (platforms.length !== PLATFORMS) stop(`expected ${PLATFORMS} platforms, got ${platforms.length}: ${platforms.join(', ')}`)

for (const file of [...platforms, main]) {
  const name = file.slice(0, -`-${release}.tgz`.length)
  if (!values['dry-run']) {
    // What an earlier, broken off run has published stays.
    const { code, output } = await run(...npm('view', `${name}@${release}`, 'version', '--loglevel=error'))
    if (code === 0 && output.trim() === release) {
      process.stdout.write(`${name} ${release} is there already\n`)
      continue
    }
  }
  const distTag = release.includes('-') ? 'next' : 'latest'
  const args = ['publish', resolve(join(folder, file)), '--provenance', '--access', 'public', '--tag', distTag]
  process.stdout.write(`npm ${['publish', file, ...args.slice(2)].join(' ')}\n`)
  if (values['dry-run']) continue
  const { code, output } = await run(...npm(...args))
  if (code !== 0) stop(`npm publish ended with ${code}\n${output}`)
}

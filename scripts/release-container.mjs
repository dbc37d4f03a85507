// Runs scripts/release-build.mjs in a container of an Alpine image, for the platforms of musl. The actions around it run on the host:
// GitHub has no Node for them in Alpine containers on arm64 (actions/runner#801).
// usage: node scripts/release-container.mjs IMAGE TARGET FOLDER
import { relative, resolve } from 'node:path'
import { root, run } from './run.mjs'

const [image, target, folder, ...more] = process.argv.slice(2)
const inside = folder === undefined ? '..' : relative(root, resolve(folder))

function stop(message, code) {
  process.stderr.write(`release-container: ${message}\n`)
  process.exit(code)
}
if (target === undefined || inside === '' || inside.startsWith('..') || more.length > 0) stop(`expected an image, a target and a folder of the repository, got ${process.argv.slice(2).join(' ') || 'nothing'}`, 2)
// What is no digest can be another image tomorrow.
if (!/@sha256:[0-9a-f]{64}$/.test(image)) stop(`expected an image with its digest, got ${image}`, 2)

/** What rustup and aws-lc need, and `strip`. */
const PACKAGES = ['bash', 'build-base', 'git', 'curl', 'binutils']
const script = `apk add --no-cache ${PACKAGES.join(' ')} && exec node scripts/release-build.mjs "$@"`
const args = ['run', '--rm', '--init', '--volume', `${root}:/paceline`, '--workdir', '/paceline', image, 'sh', '-c', script, 'release-build', target, inside]
const { code, error } = await run('docker', args, { onText: (text) => process.stdout.write(text) })
if (error !== undefined) stop(`cannot run docker: ${error.message}`, 1)
process.exitCode = code

import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import test from 'ava'

const FOLDER = 'crates/interop'

test('upstream is built from a lock file that is committed, and never from another', (t) => {
  const { status, stdout } = spawnSync('git', ['ls-files', FOLDER], { encoding: 'utf8' })
  t.is(status, 0)
  t.true(stdout.split('\n').includes(`${FOLDER}/Cargo.lock`))
  const script = readFileSync('scripts/interop.mjs', 'utf8')
  const commands = script.match(/'cargo', \[[^\]]*\]/g) ?? []
  t.is(commands.length, 2)
  for (const command of commands) t.regex(command, /'--locked'/)
})

test('the lock file has the version of upstream that the manifest names', (t) => {
  const manifest = readFileSync(`${FOLDER}/Cargo.toml`, 'utf8')
  const lock = readFileSync(`${FOLDER}/Cargo.lock`, 'utf8')
  for (const name of ['s2n-quic-dc', 's2n-quic-core', 's2n-codec']) {
    const [, version] = new RegExp(`^${name} = "=([\\d.]+)"$`, 'm').exec(manifest) ?? []
    t.truthy(version, name)
    t.true(lock.includes(`name = "${name}"\nversion = "${version}"\n`), `${name} ${version}`)
  }
})

test('the matrix is a step of npm test, throughput is none', (t) => {
  const script = readFileSync('scripts/test.mjs', 'utf8')
  t.regex(script, /name: 'interop', command: node\('scripts\/interop\.mjs', '--json'\)/)
  t.notRegex(script, /--throughput/)
})

test('interop refuses what it does not know', (t) => {
  const cases: [string[], RegExp][] = [
    [['--rounds', '2'], /expected --rounds with --throughput only/],
    [['--throughput', '--megabytes', '0'], /expected --megabytes from 1 to 99999, got "0"/],
    [['--seed', 'x'], /expected --seed from 0, got "x"/],
  ]
  for (const [args, message] of cases) {
    const { status, stderr } = spawnSync(process.execPath, ['scripts/interop.mjs', ...args], { encoding: 'utf8' })
    t.is(status, 2)
    t.regex(stderr, message)
  }
})

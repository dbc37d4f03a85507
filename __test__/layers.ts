import { spawnSync } from 'node:child_process'
import test from 'ava'

/** design.md section 3 (ARCHITECTURE.md, "Layers"): the only arrows between crates there may be. */
const ARROWS: Readonly<Record<string, readonly string[]>> = {
  pool: [],
  wheel: [],
  pacer: [],
  wire: [],
  handshake: ['wire'],
  transport: ['handshake', 'pacer', 'pool', 'wheel', 'wire'],
  udp: ['transport'],
  sim: ['transport'],
  node: ['sim', 'transport', 'udp'],
}

/** Foreign crates that only one layer may know; everybody else goes through that layer. */
const OWNERS: Readonly<Record<string, readonly string[]>> = {
  's2n-quic-core': ['pacer'],
  's2n-quic-dc': ['interop'],
  snow: ['handshake'],
  libc: ['udp'],
  'quinn-udp': ['udp'],
  napi: ['node'],
  'napi-derive': ['node'],
  'napi-build': ['node'],
}

/** Clocks, sockets, threads and random sources of other people: for `udp` and `node` alone. */
const IMPURE = ['tokio', 'mio', 'socket2', 'rustix', 'rand', 'getrandom', 'crossbeam', 'rayon']
const PURE = ['pool', 'wheel', 'pacer', 'wire', 'handshake', 'transport', 'sim']

interface Crate {
  readonly name: string
  readonly dependencies: readonly { readonly name: string; readonly kind: string | null }[]
}

const PREFIX = 'paceline-'
const short = (name: string) => (name.startsWith(PREFIX) ? name.slice(PREFIX.length) : name)

/** Every arrow that is not allowed, as a sentence. */
function violations(crates: readonly Crate[]): string[] {
  const found: string[] = []
  for (const crate of crates) {
    const from = short(crate.name)
    const allowed = ARROWS[from]
    // Outside the default members; it may see every public crate, and nobody may see it.
    if (allowed === undefined && from !== 'interop') found.push(`${from}: a crate that design.md does not know`)
    for (const { name, kind } of crate.dependencies) {
      const to = short(name)
      if (name.startsWith(PREFIX)) {
        // A crate's tests may only look down, too: what they need from above belongs there.
        if (from !== 'interop' && !allowed?.includes(to)) found.push(`${from} → ${to}${kind === null ? '' : ` (${kind})`}`)
      } else if (kind !== 'dev') {
        if (OWNERS[name] !== undefined && !OWNERS[name].includes(from)) found.push(`${from} → ${name}: only ${OWNERS[name].join(', ')} may`)
        if (PURE.includes(from) && IMPURE.includes(name)) found.push(`${from} → ${name}: ${from} has no clock, socket, thread or randomness`)
      }
    }
  }
  return found
}

function metadata(): Crate[] {
  const { status, stdout, stderr } = spawnSync('cargo', ['metadata', '--format-version', '1', '--no-deps', '--offline'], {
    encoding: 'utf8',
    maxBuffer: 64 << 20,
  })
  if (status !== 0) throw new Error(`cargo metadata failed: ${stderr}`)
  return (JSON.parse(stdout) as { packages: Crate[] }).packages
}

test('crates depend on each other only as the layers allow', (t) => {
  const crates = metadata()
  t.deepEqual(
    Object.keys(ARROWS).filter((name) => !crates.some((crate) => short(crate.name) === name)),
    [],
    'every layer is there',
  )
  t.deepEqual(violations(crates), [])
})

test('every crate that must not touch memory or the clock says so', async (t) => {
  const { readFileSync } = await import('node:fs')
  for (const name of PURE) {
    t.regex(readFileSync(`crates/${name}/src/lib.rs`, 'utf8'), /^#!\[forbid\(unsafe_code\)\]/m, name)
  }
})

for (const [from, to, kind] of [
  ['wheel', 'paceline-pool', null],
  ['wire', 'paceline-handshake', null],
  ['transport', 'paceline-udp', null],
  ['pool', 'paceline-sim', 'dev'],
  ['transport', 's2n-quic-core', null],
  ['handshake', 'getrandom', null],
] as const) {
  test(`the check sees a forbidden arrow: ${from} → ${to}${kind === null ? '' : ` (${kind})`}`, (t) => {
    const crates = metadata().map((crate) =>
      short(crate.name) === from ? { ...crate, dependencies: [...crate.dependencies, { name: to, kind }] } : crate,
    )
    const before = violations(metadata())
    const added = violations(crates).filter((sentence) => !before.includes(sentence))
    t.is(added.length, 1)
    t.true(added[0]?.startsWith(`${from} → ${short(to)}`))
  })
}

test('the check sees a crate that design.md does not know', (t) => {
  t.deepEqual(violations([{ name: 'paceline-extra', dependencies: [] }]), ['extra: a crate that design.md does not know'])
})

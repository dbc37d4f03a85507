import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'

/** R11: unsafe blocks there may be, and in which crates. */
const MOST = 25
const MAY = ['node', 'udp']

interface Block {
  readonly place: string
  readonly explained: boolean
}

/** Where a line of Rust begins a block or an impl that the compiler does not check (comments and strings are not code). */
function blocks(name: string, source: string): Block[] {
  const lines = source.split('\n')
  const found: Block[] = []
  lines.forEach((line, at) => {
    const code = line.replace(/"(?:[^"\\]|\\.)*"/g, '""').replace(/\/\/.*$/, '')
    for (const _ of code.matchAll(/\bunsafe\s*(?:\{|impl\b)|\bunsafe\s*$/g)) {
      // Its comment ends right above the statement that the block is part of; attributes may stand between.
      let above = at - 1
      while (above >= 0 && !/^\s*\/\//.test(lines[above]!) && !/[;{}]\s*$/.test(lines[above]!) && above > at - 6) above--
      let explained = /\/\/ SAFETY:/.test(line)
      while (above >= 0 && /^\s*\/\//.test(lines[above]!)) explained ||= /\/\/ SAFETY:/.test(lines[above--]!)
      found.push({ place: `${name}:${at + 1}`, explained })
    }
  })
  return found
}

/** Every Rust file a crate is built from; its tests are not shipped. */
function sources(crate: string): { name: string; source: string }[] {
  return readdirSync(join('crates', crate, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.rs'))
    .map((file) => join('crates', crate, 'src', file))
    .map((name) => ({ name, source: readFileSync(name, 'utf8') }))
}

const crates = readdirSync('crates')

test('R11: at most 25 unsafe blocks, only in udp and node, each with its SAFETY comment', (t) => {
  const all = crates.flatMap((crate) => sources(crate).flatMap(({ name, source }) => blocks(name, source)))
  const outside = all.filter(({ place }) => !MAY.some((crate) => place.startsWith(join('crates', crate) + '/')))
  t.log(`${all.length} unsafe blocks`)
  t.deepEqual(outside, [], 'outside of udp and node')
  t.deepEqual(all.filter(({ explained }) => !explained), [], 'without SAFETY')
  t.true(all.length > 0 && all.length <= MOST, `${all.length} of at most ${MOST}:\n${all.map(({ place }) => place).join('\n')}`)
})

test('R11: whoever may not have unsafe code forbids it', (t) => {
  for (const crate of crates.filter((name) => !MAY.includes(name) && name !== 'interop')) {
    t.regex(readFileSync(join('crates', crate, 'src', 'lib.rs'), 'utf8'), /^#!\[forbid\(unsafe_code\)\]/m, crate)
  }
})

test('R11: the check sees a block, an impl, and one without a comment', (t) => {
  const source = [
    'fn a() {',
    '    // SAFETY: because.',
    '    let x = unsafe { read() };',
    '    let s = "unsafe {"; // unsafe {',
    '    unsafe { write() };',
    '}',
    'unsafe impl Send for X {}',
    '// SAFETY: one comment for a statement of two lines.',
    'let y =',
    '    unsafe { call() };',
    'unsafe extern "C" fn f() {}',
  ].join('\n')
  t.deepEqual(blocks('f.rs', source), [
    { place: 'f.rs:3', explained: true },
    { place: 'f.rs:5', explained: false },
    { place: 'f.rs:7', explained: false },
    { place: 'f.rs:10', explained: true },
  ])
})

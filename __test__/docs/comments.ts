// The examples in the comments of the package are right by the strictest rules of TypeScript.
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import * as paceline from '../../packages/paceline/src/index.js'
import { ROOT, run } from '../e2e/helpers/cli.ts'

const SOURCE = join(ROOT, 'packages', 'paceline', 'src')

/** What an example may take for granted: what the text around it is about. */
const AROUND: Readonly<Record<string, string>> = {
  ...Object.fromEntries(Object.keys(paceline).map((name) => [name, `import { ${name} } from 'paceline'`])),
  Network: "import { Network } from 'paceline/testing'",
  DiagnosticMessages: "import type { DiagnosticMessages } from 'paceline'",
  createWriteStream: "import { createWriteStream } from 'node:fs'",
  endpoint: "declare const endpoint: import('paceline').Endpoint",
  peer: "declare const peer: import('paceline').Peer",
  stream: "declare const stream: import('paceline').Stream",
  secret: 'declare const secret: Uint8Array',
  exportSecret: 'declare const exportSecret: Uint8Array',
  pathSecret: "declare const pathSecret: import('paceline').PathSecret",
}

/** The example, behind what it uses and neither imports nor declares. */
export function complete(example: string): string {
  const before = Object.entries(AROUND).filter(([name]) => {
    const own = new RegExp(String.raw`import (type )?\{[^}]*\b${name}\b|\b(const|let) (\{[^}]*\b)?${name}\b`)
    return new RegExp(String.raw`(?<![.'\w])${name}\b`).test(example) && !own.test(example)
  })
  return [...before.map(([, line]) => line), 'export {}', example].join('\n')
}

function examples(): [where: string, text: string][] {
  return readdirSync(SOURCE)
    .filter((file) => file.endsWith('.ts'))
    .flatMap((file) => {
      const found = readFileSync(join(SOURCE, file), 'utf8').matchAll(/^ *\* @example\n([\s\S]*?)(?=\n *\* @|\n *\*\/)/gm)
      return [...found].map(([, text = ''], at): [string, string] => [`${file.replace('.ts', '')}-${at}`, text.replaceAll(/^ *\* ?/gm, '')])
    })
}

test.serial('examples in comments compile', async (t) => {
  const all = examples()
  t.true(all.length >= 15, `${all.length} examples`)
  const cache = join(ROOT, 'node_modules', '.cache')
  mkdirSync(cache, { recursive: true })
  const folder = mkdtempSync(join(cache, 'comments-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  for (const [name, text] of all) writeFileSync(join(folder, `${name}.mts`), complete(text))
  const compilerOptions = { target: 'ES2022', module: 'NodeNext', strict: true, exactOptionalPropertyTypes: true, types: ['node'], noEmit: true, skipLibCheck: true }
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['*.mts'] }))
  const compiled = await run(t, process.execPath, [join('node_modules', 'typescript', 'bin', 'tsc'), '-p', folder]).ended
  t.is(compiled.code, 0, compiled.stdout)
})

test('what an example takes for granted is put before it, and no more', (t) => {
  t.is(complete('stream.end()'), `${AROUND['stream']}\nexport {}\nstream.end()`)
  t.is(complete('const stream = peer.openStream()'), `${AROUND['peer']}\nexport {}\nconst stream = peer.openStream()`)
})

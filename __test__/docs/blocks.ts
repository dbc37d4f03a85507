import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { paceline, run } from '../e2e/helpers/cli.ts'
import { allBlocks, blocksOf, commandsOf, isEnd, program, type Block } from './helpers/blocks.ts'
import { scriptFolder } from './helpers/folder.ts'

/** A block that does not close what it opens runs for ever. */
const BLOCK_TIMEOUT_MS = 90_000

const all = allBlocks()
const folder = scriptFolder()
const name = (block: Block) => `${block.page.replaceAll(/[^\w]/g, '-')}-${block.line}`


for (const block of all.filter((each) => each.language === 'js' && each.mode === 'run' && !isEnd(each))) {
  test.serial(`${block.page}:${block.line}: the block works when it is pasted`, async (t) => {
    const path = join(folder, `${name(block)}.mjs`)
    writeFileSync(path, program(block, all))
    const running = run(t, process.execPath, [path])
    const timer = setTimeout(() => running.signal('SIGKILL'), BLOCK_TIMEOUT_MS)
    const ended = await running.ended
    clearTimeout(timer)
    t.is(ended.code, 0, ended.signal === null ? ended.stderr : `still running after ${BLOCK_TIMEOUT_MS} ms`)
  })
}

test.serial('blocks of TypeScript are right by the strictest rules, and those that are to be run work', async (t) => {
  const blocks = all.filter(({ language, mode }) => language === 'ts' && mode !== 'unmarked')
  for (const block of blocks) writeFileSync(join(folder, `${name(block)}.mts`), program(block, all))
  const compilerOptions = {
    target: 'ES2022', lib: ['ES2022', 'ESNext.Disposable'], module: 'NodeNext', strict: true, types: ['node'], outDir: 'out', rootDir: '.',
    exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true, skipLibCheck: true,
  }
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['*.mts'] }))
  t.true(blocks.length > 0)
  const compiled = await run(t, process.execPath, [join('node_modules', 'typescript', 'bin', 'tsc'), '-p', folder]).ended
  t.is(compiled.code, 0, compiled.stdout)
  for (const block of blocks.filter(({ mode }) => mode === 'run')) {
    const ended = await run(t, process.execPath, [join(folder, 'out', `${name(block)}.mjs`)]).ended
    t.is(ended.code, 0, `${block.page}:${block.line}: ${ended.stderr}`)
  }
})

test.serial('blocks that are not run can be parsed, and are few', async (t) => {
  const skipped = all.filter(({ mode }) => mode === 'skip')
  for (const block of skipped) {
    t.true((block.skip ?? '').length > 3, `${block.page}:${block.line}: expected a reason`)
    t.log(`not run: ${block.page}:${block.line}: ${block.skip}`)
  }
  for (const block of all.filter(({ language, mode }) => language === 'js' && mode !== 'run')) {
    const path = join(folder, `${name(block)}.mjs`)
    writeFileSync(path, block.text)
    const ended = await run(t, process.execPath, ['--check', path]).ended
    t.is(ended.code, 0, `${block.page}:${block.line}: ${ended.stderr}`)
  }
  const code = all.filter(({ language }) => language !== 'sh')
  const unmarked = code.filter(({ mode }) => mode === 'unmarked')
  for (const block of unmarked) t.log(`unmarked, only parsed: ${block.page}:${block.line}`)
  const ran = code.filter(({ mode }) => mode === 'run').length
  t.log(`${ran} run, ${skipped.length} skipped, ${unmarked.length} unmarked, ${all.length - code.length} of a shell`)
  t.true(skipped.length + unmarked.length <= ran, 'most of the code in the documents is run')
})

interface Manifest {
  readonly scripts: Readonly<Record<string, string>>
}
const { scripts } = JSON.parse(readFileSync('package.json', 'utf8')) as Manifest
const help = new Map<string, string>()

/** What is wrong with a command of ours, if anything. */
async function complaint(t: Parameters<typeof paceline>[0], command: string): Promise<string | undefined> {
  const words = command.split(/\s+/)
  const at = words.findIndex((word) => word === 'paceline')
  if (at === 0 || (at > 0 && words[at - 1] === 'npx')) {
    const own = words.slice(at + 1, words.findIndex((word, index) => index > at && /^[|>&;]/.test(word)) >>> 0)
    const [sub] = own
    if (sub === undefined || sub.startsWith('-')) return undefined
    if (!help.has(sub)) help.set(sub, (await paceline(t, [sub, '--help']).ended).stdout)
    const text = help.get(sub) ?? ''
    if (text === '') return `no command ${sub}`
    const unknown = own.filter((word) => /^--?[a-z]/.test(word)).map((word) => word.split('=')[0] ?? '')
    const missing = unknown.filter((word) => !new RegExp(`(^|[\\s,])${word}\\b`).test(text))
    return missing.length > 0 ? `${sub} has no ${missing.join(', ')}` : undefined
  }
  if (words[0] === 'npm' && (words[1] === 'run' || words[1] === 'test' || words[1] === 'start')) {
    const script = words[1] === 'run' ? words.slice(2).find((word) => !word.startsWith('-')) : words[1]
    return script !== undefined && script in scripts ? undefined : `no script ${script}`
  }
  if (words[0] === 'node') {
    const file = words.slice(1).find((word) => !word.startsWith('-'))
    return file === undefined || !file.includes('/') || existsSync(file) ? undefined : `no file ${file}`
  }
  return undefined
}

test.serial('commands in the documents exist, with their options', async (t) => {
  const wrong: string[] = []
  let ours = 0
  for (const block of all.filter(({ language }) => language === 'sh')) {
    for (const command of commandsOf(block)) {
      if (/^(npx paceline|paceline|npm (run|test|start)|node) ?/.test(command)) ours++
      const what = await complaint(t, command)
      if (what !== undefined) wrong.push(`${block.page}:${block.line}: ${command}: ${what}`)
    }
    if (block.mode === 'run') {
      const ended = await run(t, 'bash', ['-euo', 'pipefail', '-c', block.text]).ended
      if (ended.code !== 0) wrong.push(`${block.page}:${block.line}: ended with ${ended.code}: ${ended.stderr}`)
    }
  }
  t.deepEqual(wrong, [])
  t.true(ours >= 5, `${ours} commands`)
})

test('the checks see what is wrong', async (t) => {
  const [js, sh] = blocksOf('page.md', ['```js run after=pair', 'x()', '```', 'text', '```sh', '$ npx paceline recv --nonsense 1 # why', '```'].join('\n'))
  t.is(js?.mode, 'run')
  t.is(js?.line, 1)
  t.throws(() => program(js as Block, [js as Block]), { message: /expected a block id=pair/ })
  t.is(await complaint(t, commandsOf(sh as Block)[0] ?? ''), 'recv has no --nonsense')
  t.is(await complaint(t, 'npx paceline nothing'), 'no command nothing')
  t.is(await complaint(t, 'npm run nothing'), 'no script nothing')
  t.is(await complaint(t, 'node examples/nothing.mjs'), 'no file examples/nothing.mjs')
  t.is(await complaint(t, 'npx paceline secret > s'), undefined)
  t.throws(() => blocksOf('page.md', '```js walk\n```'), { message: /page.md:1: expected run/ })
})

test('links between the documents lead somewhere', (t) => {
  const dead: string[] = []
  for (const page of new Set([...all.map((block) => block.page), 'README.md', 'docs/README.md'])) {
    const text = readFileSync(page, 'utf8').replaceAll(/^```.*?^```/gms, '')
    for (const [, target = ''] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target) || target.startsWith('#')) continue
      if (!existsSync(join(page, '..', target.split('#')[0] ?? ''))) dead.push(`${page}: ${target}`)
    }
  }
  t.deepEqual(dead, [])
})

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/**
 * A fenced block of a page. What follows the language in its first line says what is done with it:
 *
 * - `js run`, `ts run`: run; exit code 0 is right. `ts` is compiled first, strictly.
 * - `id=NAME`: has a name; `after=NAME`: stands behind that block of the same page, as a reader would paste them together. Is
 *   there a block `NAME-end`, it comes last.
 * - `skip=REASON`: deliberately not run, only parsed; counted.
 * - `js`, `ts` and nothing else: parsed, and logged as unmarked.
 * - `sh`: every command of paceline and npm in it must exist, with its options. `sh run`: run, too.
 * - other languages are no code.
 */
export interface Block {
  readonly page: string
  /** Of its first line in the page, from 1. */
  readonly line: number
  readonly language: 'js' | 'ts' | 'sh'
  readonly mode: 'run' | 'skip' | 'unmarked'
  readonly id: string | undefined
  readonly after: string | undefined
  readonly skip: string | undefined
  readonly text: string
}

const LANGUAGES: Readonly<Record<string, Block['language']>> = {
  js: 'js', mjs: 'js', javascript: 'js', ts: 'ts', typescript: 'ts', sh: 'sh', shell: 'sh', bash: 'sh', console: 'sh',
}

/** README.md, examples/README.md and every page in docs/. */
export function pages(): string[] {
  const docs = readdirSync('docs').filter((file) => file.endsWith('.md'))
  return ['README.md', join('examples', 'README.md'), ...docs.map((file) => join('docs', file))]
}

/** The blocks of a page's text that are code. Throws where a first line says something unknown. */
export function blocksOf(page: string, text: string): Block[] {
  const blocks: Block[] = []
  const lines = text.split('\n')
  for (let at = 0; at < lines.length; at++) {
    const [, indent = '', fence = '', info = ''] = /^(\s*)(```+)(.*)$/.exec(lines[at] ?? '') ?? []
    if (fence === '') continue
    const begin = at + 1
    while (++at < lines.length && lines[at]?.trim() !== fence);
    const [word = '', ...rest] = info.trim().match(/"[^"]*"|[^\s"]+(?:"[^"]*")?/g) ?? []
    const language = LANGUAGES[word]
    if (language === undefined) continue
    const value = (name: string) => rest.find((part) => part.startsWith(`${name}=`))?.slice(name.length + 1).replaceAll('"', '')
    const unknown = rest.filter((part) => part !== 'run' && !/^(id|after|skip)=/.test(part))
    if (unknown.length > 0) throw new Error(`${page}:${begin}: expected run, id=, after= or skip= behind \`\`\`${word}, got ${unknown.join(' ')}`)
    blocks.push({
      page,
      line: begin,
      language,
      mode: value('skip') !== undefined ? 'skip' : rest.includes('run') ? 'run' : 'unmarked',
      id: value('id'),
      after: value('after'),
      skip: value('skip'),
      text: lines.slice(begin, at).map((line) => (line.startsWith(indent) ? line.slice(indent.length) : line)).join('\n'),
    })
  }
  return blocks
}

export function allBlocks(): Block[] {
  return pages().flatMap((page) => blocksOf(page, readFileSync(page, 'utf8')))
}

/** What is run for a block: those it stands after, itself, and what ends those. */
export function program(block: Block, all: readonly Block[]): string {
  const named = (id: string) => all.find((other) => other.page === block.page && other.id === id && other.language === block.language)
  const parts = [block.text]
  const ends = block.id === undefined ? [] : [named(`${block.id}-end`)]
  for (let id = block.after; id !== undefined; ) {
    const before = named(id)
    if (before === undefined) throw new Error(`${block.page}:${block.line}: expected a block id=${id} in the page, got none`)
    parts.unshift(before.text)
    ends.push(named(`${id}-end`))
    id = before.after
  }
  return [...parts, ...ends.map((end) => end?.text ?? '')].join('\n')
}

/** Runs as a part of others. */
export function isEnd(block: Block): boolean {
  return block.id?.endsWith('-end') === true
}

/** The commands of a shell block: continuation lines joined, comments and prompts taken off. */
export function commandsOf(block: Block): string[] {
  return block.text
    .replaceAll('\\\n', ' ')
    .split('\n')
    .map((line) => line.replace(/^\s*\$ /, '').replace(/(^|\s)#\s.*$/, '').trim())
    .filter((line) => line !== '')
}

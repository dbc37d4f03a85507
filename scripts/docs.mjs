// Writes the pages of docs/ that are made from the code. `--check` only says whether they are up to date.
// usage: npm run docs -- [--check]
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { platformsPage } from './platforms.mjs'
import { root } from './run.mjs'

const unknown = process.argv.slice(2).filter((arg) => arg !== '--check')
if (unknown.length > 0) {
  process.stderr.write(`docs: expected --check or nothing, got ${unknown.join(' ')}\n`)
  process.exit(2)
}
const check = process.argv.includes('--check')

const { ERROR_CODES } = await import('paceline')

const FAULTS = {
  application: 'A wrong call: mend the program.',
  system: 'This machine: mend its settings.',
  network: 'What lies between: try again, or look at the network.',
  peer: 'The other side: look there.',
}

function errorsPage() {
  const cell = (text) => text.replaceAll('|', '\\|')
  const rows = (fault) =>
    Object.entries(ERROR_CODES)
      .filter(([, description]) => description.fault === fault)
      .map(([code, { says, remedy }]) => `| \`${code}\` | ${cell(says)} | ${cell(remedy)} |`)
  const sections = Object.entries(FAULTS).map(
    ([fault, says]) => `## ${fault}\n\n${says}\n\n| code | what happened | what to do |\n|---|---|---|\n${rows(fault).join('\n')}\n`,
  )
  return `<!-- Made from packages/paceline/src/errors.ts by \`npm run docs\`. -->
# Errors

Every error of paceline is a \`PacelineError\` (\`OptionError\`, \`EndpointError\`, \`PeerError\`, \`StreamError\`, \`AbortError\`) with a stable \`code\`.
Where it applies it also has \`errorCode\` (the peer's), \`errno\`, \`syscall\`, \`address\`, \`port\` and \`cause\`. Whose fault an error is
decides what to do about it, so the codes stand in four tables. \`ERROR_CODES\` holds them for programs.
What \`node:stream\` itself finds wrong, like a \`write()\` after \`end()\`, has the codes of Node (\`ERR_STREAM_*\`).

${sections.join('\n')}`
}

const tried = readFileSync(join(root, 'scripts', 'platforms-tried.md'), 'utf8')
const pages = { 'docs/errors.md': errorsPage(), 'docs/platforms.md': platformsPage(tried) }
let stale = 0
for (const [name, text] of Object.entries(pages)) {
  const path = join(root, name)
  let before
  try {
    before = readFileSync(path, 'utf8')
  } catch {
    before = undefined
  }
  if (before === text) continue
  stale++
  if (check) {
    process.stderr.write(`docs: ${name} is not what the code says; run: npm run docs\n`)
    continue
  }
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, text)
  process.stdout.write(`docs: wrote ${name}\n`)
}
process.exitCode = check && stale > 0 ? 1 : 0

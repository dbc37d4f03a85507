// Reads .github/workflows with actionlint, and looks that each of their commands is a script of the repository.
// usage: npm run lint:workflows [-- FOLDER]
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './run.mjs'
import { importTool } from './tools.mjs'

const folder = process.argv[2] ?? join(root, '.github', 'workflows')
const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const { createLinter } = await importTool('actionlint', 'node.mjs')
const lint = await createLinter()
let problems = 0
const complain = (what) => {
  problems++
  process.stderr.write(`${what}\n`)
}

/** Newer than this actionlint's list (github.com/actions/runner-images, November 2026). */
const RUNNERS = ['ubuntu-24.04', 'ubuntu-24.04-arm', 'macos-15', 'macos-15-intel', 'windows-2025', 'windows-11-arm']
const isNewRunner = (message) => RUNNERS.includes(/^label "([^"]+)" is unknown/.exec(message)?.[1])

/** What a workflow may run besides scripts of this repository: toolchains, and the shell around them. */
const ALLOWED = /^(rustup |cargo install )/

const files = readdirSync(folder).filter((file) => /\.ya?ml$/.test(file))
if (files.length === 0) complain(`${folder}: expected workflows, found none`)
for (const file of files) {
  const text = readFileSync(join(folder, file), 'utf8')
  for (const { line, column, message } of lint(text, `.github/workflows/${file}`)) {
    if (!isNewRunner(message)) complain(`${file}:${line}:${column}: ${message}`)
  }
  for (const [at, line] of text.split('\n').entries()) {
    const command = /^\s*(?:- )?run: (.*)$/.exec(line)?.[1]?.replace(/^sudo env "PATH=\$PATH" "HOME=\$HOME" /, '')
    if (command === undefined || ALLOWED.test(command)) continue
    const [program, first, second] = command.split(' ')
    const known =
      (program === 'npm' && first === 'test') || (program === 'npm' && first === 'run' && second in scripts) ||
      (program === 'node' && existsSync(join(root, first.replace(/^(head|base)\//, '')))) || (program.startsWith('.ci/') && existsSync(join(root, program)))
    if (!known) complain(`${file}:${at + 1}: expected a script of the repository, got ${command}`)
  }
}
process.stdout.write(`${files.length} workflows, ${problems} problems\n`)
process.exitCode = problems > 0 ? 1 : 0

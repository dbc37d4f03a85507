// Development tools that only some commands need: pinned in tools/package-lock.json, installed by the first that asks.
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { root, run } from './run.mjs'

const FOLDER = join(root, 'tools')
const STAMP = join(root, '.stamps', 'tools')

async function install() {
  const lock = join(FOLDER, 'package-lock.json')
  if (existsSync(STAMP) && existsSync(join(FOLDER, 'node_modules')) && statSync(STAMP).mtimeMs >= statSync(lock).mtimeMs) return
  process.stderr.write('tools: installing (npm ci in tools/)\n')
  const args = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
  const file = process.env.npm_execpath
  const { code, output } = file?.endsWith('.js')
    ? await run(process.execPath, [file, ...args], { cwd: FOLDER })
    : await run('npm', args, { cwd: FOLDER })
  if (code !== 0) throw new Error(`tools: npm ci ended with ${code}; a registry is needed once\n${output}`)
  mkdirSync(join(root, '.stamps'), { recursive: true })
  writeFileSync(STAMP, readFileSync(lock))
}

/** Path of a file of a package in tools/, installed if need be. */
export async function tool(name, file) {
  await install()
  return join(FOLDER, 'node_modules', ...name.split('/'), file)
}

/** The same, loaded. */
export async function importTool(name, file) {
  return import(pathToFileURL(await tool(name, file)).href)
}

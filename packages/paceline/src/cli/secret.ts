import { fchmodSync, fstatSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { formatSecret, generateSecret, parseSecret } from '../secret.js'
import { Fault, meaning, systemCode } from './faults.js'
import { say, warn } from './output.js'

/** A line has 53 characters, and a rotation few lines: a file that is larger is not a secret file. */
const MAX_FILE_BYTES = 4096

const HOW_TO_MAKE_ONE = 'make one with: npx paceline secret > FILE'

/** The secrets that a command was given: `--secret-file`, else `PACELINE_SECRET`. */
export async function loadSecrets(file: string | undefined): Promise<Uint8Array[]> {
  if (file !== undefined) return parseSecret(await readSecretText(file, HOW_TO_MAKE_ONE), file)
  const text = process.env['PACELINE_SECRET']
  if (text !== undefined) return parseSecret(text, 'PACELINE_SECRET')
  throw new Fault(`expected --secret-file FILE or PACELINE_SECRET, got neither; ${HOW_TO_MAKE_ONE}`)
}

/** Unlike the library's reader it takes pipes (`--secret-file <(pass show s)`), is bounded, and warns on one line. */
export async function readSecretText(path: string, howToMakeOne: string): Promise<string> {
  const handle = await open(path, 'r').catch((error: unknown) => {
    throw new Fault(`expected a readable secret file, got ${path}: ${meaning(error)}${systemCode(error) === 'ENOENT' ? `; ${howToMakeOne}` : ''}`)
  })
  try {
    const stats = await handle.stat()
    if (stats.isDirectory()) throw new Fault(`expected a secret file, got ${path}: EISDIR (it is a directory)`)
    if (stats.isFile() && process.platform !== 'win32' && (stats.mode & 0o077) !== 0) {
      const mode = (stats.mode & 0o777).toString(8).padStart(3, '0')
      warn(`others can read the secret in ${path} (mode ${mode}); "chmod 600 ${path}" keeps it yours`)
    }
    const buffer = Buffer.alloc(MAX_FILE_BYTES + 1)
    let length = 0
    while (length < buffer.length) {
      const { bytesRead } = await handle.read(buffer, length, buffer.length - length, null)
      if (bytesRead === 0) break
      length += bytesRead
    }
    if (length > MAX_FILE_BYTES) throw new Fault(`expected a secret file of at most ${MAX_FILE_BYTES} bytes, got more in ${path}; ${howToMakeOne}`)
    return buffer.toString('utf8', 0, length)
  } finally {
    await handle.close()
  }
}

/** `paceline secret`: prints a new one. */
export function runSecret(): void {
  printSecret(formatSecret(generateSecret()))
}

/** `> FILE` makes the file with the shell's mode, so it is narrowed here. */
export function printSecret(line: string, options = ''): void {
  if (process.stdout.isTTY) say(`keep it in a file that only you can read: npx paceline secret${options} > FILE`)
  else if (process.platform !== 'win32' && fstatSync(1).isFile()) fchmodSync(1, 0o600)
  process.stdout.write(`${line}\n`)
}

import type { Dirent, Stats } from 'node:fs'
import { lstat, open, readdir, stat, type FileHandle } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { Fault, meaning } from './faults.js'
import { printable, warn } from './output.js'
import { Kind, ProtocolError, checkName, checkPath } from './protocol.js'

/** What was left out is named so often; then it is counted. */
const MOST_WARNINGS = 10

/** Files of a folder that are looked at together. */
const LOOKS_AT_ONCE = 64

/** A file or folder to send. */
export interface Source {
  readonly kind: number
  readonly path: string
  /** As the receiver sees it: parts separated by "/". */
  readonly name: string
  /** As it was when it was listed; 0 where nobody can know. */
  readonly bytes: number
  readonly mode: number
  readonly changedAt: number
  /** What was named on the command line, and how many entries that has. */
  readonly thing: number
  entries: number
}

/** Everything below the names given, files before the folders they are in, so that those keep their times. */
export interface Listing {
  readonly files: Source[]
  /** Deepest first. */
  readonly folders: Source[]
  /** Links, devices and the like, which are not sent. */
  readonly skipped: number
}

/**
 * All of it is looked at before the first byte leaves: a typing error in the last name should not cost an hour.
 * A link that was named is followed; links inside of folders are left out.
 */
export async function listSources(paths: readonly string[], stdinName: string, preserve: boolean): Promise<Listing> {
  const list = new Lister(preserve)
  const names = new Set<string>()
  for (const [thing, path] of paths.entries()) {
    const name = path === '-' ? stdinName : basename(resolve(path))
    if (names.has(name)) throw new Fault(`expected different file names, got ${name} twice`)
    names.add(name)
    if (path !== '-' && name === '') throw new Fault(`expected a file or folder with a name, got ${path}`)
    checkName(name)
    if (path === '-') list.stdin(name, thing)
    else await list.named(path, name, thing)
  }
  return list.finish()
}

class Lister {
  readonly #preserve: boolean
  readonly #files: Source[] = []
  readonly #folders: Source[] = []
  #skipped = 0

  constructor(preserve: boolean) {
    this.#preserve = preserve
  }

  stdin(name: string, thing: number): void {
    this.#files.push({ kind: Kind.Stdin, path: '-', name, bytes: 0, mode: 0o666, changedAt: 0, thing, entries: 1 })
  }

  async named(path: string, name: string, thing: number): Promise<void> {
    const stats = await stat(path).catch((error: unknown) => {
      throw new Fault(`expected a readable file, got ${path}: ${meaning(error)}`)
    })
    if (stats.isDirectory()) return this.#folder(path, name, thing)
    if (!stats.isFile()) throw new Fault(`expected a regular file, got ${path}: a device or pipe ("-" sends stdin)`)
    await (await openFile(path)).close()
    this.#file(path, name, thing, stats)
  }

  #file(path: string, name: string, thing: number, stats: { size: number; mode: number; mtimeMs: number }): void {
    this.#files.push({ kind: Kind.File, path, name, bytes: stats.size, mode: stats.mode & 0o777, changedAt: this.#preserve ? stats.mtimeMs : 0, thing, entries: 1 })
  }

  async #folder(path: string, name: string, thing: number): Promise<void> {
    const stats = await lstat(path)
    const own = stats.isDirectory() ? stats : await stat(path)
    const entries = await readdir(path, { withFileTypes: true }).catch((error: unknown) => {
      throw new Fault(`expected a readable folder, got ${path}: ${meaning(error)}`)
    })
    entries.sort((a, b) => (a.name < b.name ? -1 : 1))
    const found = new Map<string, Stats>()
    for (const [nth, entry] of entries.entries()) {
      if (nth % LOOKS_AT_ONCE === 0) await this.#look(path, entries.slice(nth, nth + LOOKS_AT_ONCE), found)
      const [inner, innerName] = [join(path, entry.name), `${name}/${entry.name}`]
      try {
        checkPath(innerName)
      } catch (error) {
        this.#skip(inner, error instanceof ProtocolError ? error.message : 'a name that cannot be sent')
        continue
      }
      if (entry.isDirectory()) await this.#folder(inner, innerName, thing)
      else if (entry.isFile()) {
        const stats = found.get(entry.name)
        if (stats === undefined) this.#skip(inner, 'gone')
        else this.#file(inner, innerName, thing, stats)
      } else this.#skip(inner, entry.isSymbolicLink() ? 'a symbolic link' : 'a device, pipe or socket')
    }
    this.#folders.push({ kind: Kind.Folder, path, name, bytes: 0, mode: own.mode & 0o777, changedAt: this.#preserve ? own.mtimeMs : 0, thing, entries: 1 })
  }

  /** Some files at the same time: one after the other, each would wait for a turn of the event loop. */
  async #look(path: string, entries: readonly Dirent[], found: Map<string, Stats>): Promise<void> {
    found.clear()
    const look = async ({ name }: Dirent) => {
      const stats = await lstat(join(path, name)).catch(() => undefined)
      if (stats !== undefined) found.set(name, stats)
    }
    await Promise.all(entries.filter((entry) => entry.isFile()).map(look))
  }

  #skip(path: string, why: string): void {
    this.#skipped++
    if (this.#skipped <= MOST_WARNINGS) warn(`${printable(path)} is not sent: ${why}`)
  }

  finish(): Listing {
    if (this.#skipped > MOST_WARNINGS) warn(`${this.#skipped} entries are not sent in all`)
    const all = [...this.#files, ...this.#folders]
    const counts = new Map<number, number>()
    for (const { thing } of all) counts.set(thing, (counts.get(thing) ?? 0) + 1)
    for (const source of all) source.entries = counts.get(source.thing) ?? 1
    return { files: this.#files, folders: this.#folders, skipped: this.#skipped }
  }
}

/** Opens a file for reading, or says why not. */
export async function openFile(path: string): Promise<FileHandle> {
  return open(path, 'r').catch((error: unknown) => {
    throw new Fault(`expected a readable file, got ${path}: ${meaning(error)}`)
  })
}

import { constants, unlinkSync } from 'node:fs'
import { access, link, lstat, open, rename, stat, statfs, unlink, type FileHandle } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { Fault, meaning, systemCode } from './faults.js'
import { printable, size } from './output.js'
import { ProtocolError, Verdict } from './protocol.js'

/** Leftovers of killed runs keep their names; so many are stepped over before the folder needs a broom. */
const MAX_LEFTOVERS = 1000

/** Partial files of this process: they go when it goes, however it goes (but for SIGKILL, which leaves `NAME.part`). */
const alive = new Set<string>()
process.on('exit', () => {
  for (const path of alive) {
    try {
      unlinkSync(path)
    } catch {
      // Whatever it is now, it is still called `.part`.
    }
  }
})

/** Throws a {@link Fault} unless files can be put into the folder. */
export async function checkFolder(folder: string): Promise<void> {
  const expected = 'expected --out to be a folder that can be written to'
  const stats = await stat(folder).catch((error: unknown) => {
    throw new Fault(`${expected}, got ${folder}: ${meaning(error)}`)
  })
  if (!stats.isDirectory()) throw new Fault(`${expected}, got ${folder}: ENOTDIR (it is a file)`)
  await access(folder, constants.W_OK | constants.X_OK).catch((error: unknown) => {
    throw new Fault(`${expected}, got ${folder}: ${meaning(error)}`)
  })
  if ((await freeBytes(folder)) === 0) throw new Fault(`expected free space in ${folder}, got ENOSPC (the disk is full)`)
}

async function freeBytes(folder: string): Promise<number> {
  // Some file systems do not tell; then a write will.
  const stats = await statfs(folder).catch(() => undefined)
  return stats === undefined || stats.blocks === 0 ? Number.POSITIVE_INFINITY : stats.bavail * stats.bsize
}

/** A file that is called `.part` until its bytes are complete, verified and on the disk. */
export class PartialFile {
  readonly #folder: string
  readonly #path: string
  readonly #target: string
  readonly #handle: FileHandle
  readonly #overwrite: boolean

  private constructor(folder: string, path: string, target: string, handle: FileHandle, overwrite: boolean) {
    this.#folder = folder
    this.#path = path
    this.#target = target
    this.#handle = handle
    this.#overwrite = overwrite
  }

  /** Refuses what can be refused before a hundred megabytes have travelled: a name that is taken, a disk that is too small. */
  static async create(folder: string, name: string, bytes: number, overwrite: boolean): Promise<PartialFile> {
    const target = join(folder, name)
    if (!overwrite && (await exists(target))) throw taken(name)
    const free = await freeBytes(folder)
    if (bytes > free) {
      throw new DiskError(`expected room for ${size(bytes)} in ${folder}, got ${size(free)}: ENOSPC (the disk is full)`)
    }
    for (let attempt = 0; attempt < MAX_LEFTOVERS; attempt++) {
      // Exclusive: two receivers in one folder never write into one file.
      const path = `${target}${attempt === 0 ? '' : `.${attempt}`}.part`
      try {
        const handle = await open(path, 'wx', 0o666)
        alive.add(path)
        return new PartialFile(folder, path, target, handle, overwrite)
      } catch (error) {
        if (systemCode(error) !== 'EEXIST') throw new DiskError(`cannot create ${path}: ${meaning(error)}`, { cause: error })
      }
    }
    throw new DiskError(`expected fewer than ${MAX_LEFTOVERS} leftovers "${printable(name)}.*.part" in ${folder}, got more: remove them`)
  }

  get target(): string {
    return this.#target
  }

  /** Appends all of it. The chunks must not change until this resolves. */
  async write(chunks: readonly Uint8Array[]): Promise<void> {
    try {
      const total = chunks.reduce((sum, chunk) => sum + chunk.length, 0)
      let { bytesWritten } = await this.#handle.writev([...chunks])
      if (bytesWritten === total) return
      // A signal or a nearly full disk cuts a write short; what is left goes again, and then says why it cannot.
      const rest = Buffer.concat(chunks)
      while (bytesWritten < total) bytesWritten += (await this.#handle.write(rest, bytesWritten)).bytesWritten
    } catch (error) {
      throw new DiskError(`cannot write ${this.#path}: ${meaning(error)}`, { cause: error })
    }
  }

  /** On the disk first, then under its name, in one step that never replaces what somebody else put there meanwhile. */
  async commit(): Promise<void> {
    try {
      await this.#handle.sync()
      await this.#handle.close()
      if (this.#overwrite) await rename(this.#path, this.#target)
      else await this.#linkOrRename()
      alive.delete(this.#path)
      await syncFolder(this.#folder)
    } catch (error) {
      if (systemCode(error) === 'EEXIST') throw taken(basename(this.#target))
      if (error instanceof ProtocolError) throw error
      throw new DiskError(`cannot finish ${this.#target}: ${meaning(error)}`, { cause: error })
    }
  }

  async #linkOrRename(): Promise<void> {
    try {
      await link(this.#path, this.#target)
    } catch (error) {
      // FAT and some network file systems have no links: there, looking first is the best there is.
      if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'].includes(rawCode(error) ?? '')) throw error
      if (await exists(this.#target)) throw taken(basename(this.#target))
      await rename(this.#path, this.#target)
      return
    }
    await unlink(this.#path)
  }

  /** Removes it, if it is not whole yet. */
  async discard(): Promise<void> {
    await this.#handle.close().catch(() => {})
    if (!alive.delete(this.#path)) return
    await unlink(this.#path).catch(() => {})
  }
}

/** Our disk failed, not the sender; the next file will meet the same. */
export class DiskError extends ProtocolError {
  constructor(message: string, options?: ErrorOptions) {
    super(message, Verdict.Disk)
    this.cause = options?.cause
  }
}

function taken(path: string): ProtocolError {
  return new ProtocolError(`expected a new name, got ${printable(path)}, which exists already (recv --overwrite replaces)`, Verdict.Exists)
}

async function exists(path: string): Promise<boolean> {
  // A dangling link is a name that is taken, too.
  return lstat(path).then(
    () => true,
    () => false,
  )
}

function rawCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}

/** The new name must survive a power cut as well. Windows cannot sync a folder. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r').catch(() => undefined)
  await handle?.sync().catch(() => {})
  await handle?.close()
}

import { constants, fstatSync, unlinkSync } from 'node:fs'
import { access, chmod, link, lstat, mkdir, open, rename, stat, statfs, unlink, utimes, type FileHandle } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { Fault, meaning, systemCode } from './faults.js'
import { printable, size } from './output.js'
import { ProtocolError, Verdict } from './protocol.js'

/** Leftovers of killed runs keep their names; so many are stepped over before the folder needs a broom. */
const MAX_LEFTOVERS = 1000
/** Of one name: attempts that are looked at for one to continue. */
const MAX_ATTEMPTS = 10
/** A partial file that was not written to for so long has no writer any more, or one that notices (`mustBeOurs`). */
const QUIET_MS = 2000
const READ_BYTES = 1 << 20
const NO_LINKS = ['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK']

/** Partial files of this process, and whether they may be continued. The others go when it goes, however it goes (but for SIGKILL). */
const alive = new Map<string, boolean>()
process.on('exit', () => {
  for (const [path, resumable] of alive) {
    try {
      if (!resumable) unlinkSync(path)
    } catch {
      // Whatever it is now, it is still called `.part`.
    }
  }
})

/** Throws a {@link Fault} unless files can be put into the folder. */
export async function checkFolder(folder: string): Promise<void> {
  const expected = 'expected --out to be a folder that can be written to'
  const stats = await stat(folder).catch((error: unknown) => {
    throw new Fault(`${expected}, got ${folder}: ${meaning(error)}${systemCode(error) === 'ENOENT' ? '; make it with mkdir -p' : ''}`)
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

/** What a file is to become. */
export interface Target {
  /** Parts separated by "/". */
  readonly name: string
  readonly size: number
  /** Permissions; the umask takes from them. */
  readonly mode: number
  /** Milliseconds since 1970; 0 for now. */
  readonly changedAt: number
  readonly overwrite: boolean
  /** Whether an earlier attempt may be continued, and this one later. */
  readonly resumable: boolean
  /** Whether all of it is there in a moment, so that it need not be refused before. */
  readonly small: boolean
}

/** What the system says of a partial file. */
interface Found {
  readonly ino: bigint
  readonly size: bigint
  readonly mode: bigint
}

/** A file that is called `.part` until its bytes are complete, verified and on the disk. */
export class PartialFile {
  readonly #path: string
  readonly #target: string
  readonly #handle: FileHandle
  readonly #wanted: Target
  readonly #found: Found
  #position: number
  #closed = false

  private constructor(path: string, target: string, handle: FileHandle, wanted: Target, found: Found) {
    this.#path = path
    this.#target = target
    this.#handle = handle
    this.#wanted = wanted
    this.#found = found
    this.#position = Number(found.size)
  }

  /** Refuses what can be refused before a hundred megabytes have travelled: a name that is taken, a disk that is too small. */
  static async create(folder: string, wanted: Target): Promise<PartialFile> {
    const { name, size: bytes, overwrite, resumable, small } = wanted
    const parts = name.split('/')
    const parent = await makeParents(folder, parts.slice(0, -1))
    const target = join(parent, parts.at(-1) ?? '')
    // A small one that is not to replace anything is refused where it gets its name.
    const there = small && !overwrite ? undefined : await lstat(target).catch(() => undefined)
    // A folder is never replaced by a file; a dangling link is a name that is taken, too.
    if (there !== undefined && (!overwrite || there.isDirectory())) throw taken(name)
    const earlier = resumable ? await claim(target, bytes) : undefined
    const [path, handle] = earlier === undefined ? await createNew(target, wanted) : [earlier, await openOld(earlier)]
    alive.set(path, resumable)
    try {
      // Of an open file the system knows all of this by itself.
      const stats = fstatSync(handle.fd, { bigint: true })
      const free = small ? Number.POSITIVE_INFINITY : await freeBytes(parent)
      if (bytes - Number(stats.size) > free) {
        throw new DiskError(`expected room for ${size(bytes)} in ${parent}, got ${size(free)}: ENOSPC (the disk is full)`)
      }
      return new PartialFile(path, target, handle, wanted, stats)
    } catch (error) {
      await handle.close().catch(() => {})
      alive.delete(path)
      if (earlier === undefined) await unlink(path).catch(() => {})
      throw error
    }
  }

  get target(): string {
    return this.#target
  }

  /** Bytes of an earlier attempt; what is written follows them. */
  get length(): number {
    return this.#position
  }

  /** Its bytes so far, for a hash. */
  async *read(): AsyncGenerator<Buffer> {
    const buffer = Buffer.allocUnsafeSlow(READ_BYTES)
    for (let at = 0; at < this.#position; ) {
      const { bytesRead } = await this.#handle.read(buffer, 0, Math.min(READ_BYTES, this.#position - at), at)
      if (bytesRead === 0) return
      at += bytesRead
      yield buffer.subarray(0, bytesRead)
    }
  }

  /** Throws away what an earlier attempt left. */
  async restart(): Promise<void> {
    await this.#handle.truncate(0)
    this.#position = 0
  }

  /** Appends all of it. The chunks must not change until this resolves. */
  async write(chunks: readonly Uint8Array[]): Promise<void> {
    try {
      await this.#mustBeOurs()
      const total = chunks.reduce((sum, chunk) => sum + chunk.length, 0)
      let { bytesWritten } = await this.#handle.writev([...chunks], this.#position)
      if (bytesWritten < total) {
        // A signal or a nearly full disk cuts a write short; what is left goes again, and then says why it cannot.
        const rest = Buffer.concat(chunks)
        while (bytesWritten < total) bytesWritten += (await this.#handle.write(rest, bytesWritten, total - bytesWritten, this.#position + bytesWritten)).bytesWritten
      }
      this.#position += total
    } catch (error) {
      if (error instanceof ProtocolError) throw error
      throw new DiskError(`cannot write ${this.#path}: ${meaning(error)}`, { cause: error })
    }
  }

  /** Another receiver may have claimed it, if we did not write for long: then it must not see our bytes. */
  async #mustBeOurs(): Promise<void> {
    if (!this.#wanted.resumable) return
    const stats = await stat(this.#path, { bigint: true }).catch(() => undefined)
    if (stats?.ino === this.#found.ino) return
    alive.delete(this.#path)
    throw new ProtocolError(`expected ${printable(this.#wanted.name)} to be received once, got another receiver that goes on with it`, Verdict.Exists)
  }

  /** On the disk first, then under its name, in one step that never replaces what somebody else put there meanwhile. */
  async commit(): Promise<void> {
    try {
      await this.#mustBeOurs()
      await this.#dress()
      await this.#handle.sync()
      await this.#close()
      if (this.#wanted.overwrite) await rename(this.#path, this.#target)
      else await this.#linkOrRename()
      alive.delete(this.#path)
      await syncFolder(dirname(this.#target))
    } catch (error) {
      if (systemCode(error) === 'EEXIST') throw taken(this.#wanted.name)
      if (error instanceof ProtocolError) throw error
      throw new DiskError(`cannot finish ${this.#target}: ${meaning(error)}`, { cause: error })
    }
  }

  /** Permissions and time as the sender has them. A file system that has none is good enough. */
  async #dress(): Promise<void> {
    const { mode, changedAt } = this.#wanted
    const found = Number(this.#found.mode & 0o777n)
    if ((found & mode) !== found) await this.#handle.chmod(found & mode).catch(() => {})
    if (changedAt > 0) await this.#handle.utimes(new Date(), new Date(changedAt)).catch(() => {})
  }

  async #linkOrRename(): Promise<void> {
    try {
      await link(this.#path, this.#target)
    } catch (error) {
      // FAT and some network file systems have no links: there, looking first is the best there is.
      if (!NO_LINKS.includes(rawCode(error) ?? '')) throw error
      if (await exists(this.#target)) throw taken(basename(this.#target))
      await rename(this.#path, this.#target)
      return
    }
    await unlink(this.#path)
  }

  async #close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await this.#handle.close()
  }

  /** Removes it, if it is not whole yet. */
  async discard(): Promise<void> {
    await this.#close().catch(() => {})
    if (!alive.delete(this.#path)) return
    await unlink(this.#path).catch(() => {})
  }

  /** Leaves it to be continued by the next attempt, if it is not whole yet; returns its name then. */
  async keep(): Promise<string | undefined> {
    if (!this.#wanted.resumable || this.#position === 0) {
      await this.discard()
      return undefined
    }
    if (!alive.has(this.#path)) {
      await this.#close().catch(() => {})
      return undefined
    }
    // Nobody writes to it any more: the next attempt need not wait to be sure of that.
    const past = new Date(Date.now() - 2 * QUIET_MS)
    await this.#handle.utimes(past, past).catch(() => {})
    await this.#close().catch(() => {})
    alive.delete(this.#path)
    const usual = `${this.#target}.part`
    if (this.#path === usual || !(await moved(this.#path, usual))) return basename(this.#path)
    return basename(usual)
  }
}

/** An earlier attempt's file of at most so many bytes, under a name that is ours now. */
async function claim(target: string, most: number): Promise<string | undefined> {
  let best: { path: string; size: number } | undefined
  for (const path of names(target, MAX_ATTEMPTS)) {
    if (alive.has(path)) continue
    const stats = await lstat(path).catch(() => undefined)
    if (stats === undefined || !stats.isFile() || stats.size === 0 || stats.size > most) continue
    // Somebody else may be writing to it at this moment.
    if (Date.now() - stats.mtimeMs < QUIET_MS) continue
    if (best === undefined || stats.size > best.size) best = { path, size: stats.size }
  }
  if (best === undefined) return undefined
  for (const path of names(target, MAX_LEFTOVERS)) {
    if (await moved(best.path, path)) return path
    if (!(await exists(path))) return undefined
  }
  return undefined
}

/** Renames, but never onto a file; only one of several that try the same succeeds. */
async function moved(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to)
  } catch {
    return false
  }
  try {
    await unlink(from)
    return true
  } catch {
    await unlink(to).catch(() => {})
    return false
  }
}

function* names(target: string, count: number): Generator<string> {
  for (let nth = 0; nth < count; nth++) yield `${target}${nth === 0 ? '' : `.${nth}`}.part`
}

/** Exclusive: two receivers in one folder never write into one file. */
async function createNew(target: string, { name, mode }: Target): Promise<[path: string, handle: FileHandle]> {
  for (const path of names(target, MAX_LEFTOVERS)) {
    try {
      return [path, await open(path, 'wx+', mode | 0o600)]
    } catch (error) {
      if (systemCode(error) !== 'EEXIST') throw new DiskError(`cannot create ${path}: ${meaning(error)}`, { cause: error })
    }
  }
  throw new DiskError(`expected fewer than ${MAX_LEFTOVERS} leftovers "${printable(name)}.*.part", got more: remove them`)
}

async function openOld(path: string): Promise<FileHandle> {
  return open(path, 'r+').catch((error: unknown) => {
    throw new DiskError(`cannot go on with ${path}: ${meaning(error)}`, { cause: error })
  })
}

/** Folders below `folder`, made where they are missing. Links are not followed: they might lead elsewhere. */
async function makeParents(folder: string, parts: readonly string[]): Promise<string> {
  let path = folder
  for (const part of parts) {
    path = join(path, part)
    await makeFolder(path)
  }
  return path
}

async function makeFolder(path: string): Promise<void> {
  // Mostly it is there, and a look costs less than a call that fails.
  if ((await lstat(path).catch(() => undefined))?.isDirectory() === true) return
  await mkdir(path).catch(async (error: unknown) => {
    if (systemCode(error) !== 'EEXIST') throw new DiskError(`cannot create ${path}: ${meaning(error)}`, { cause: error })
    const stats = await lstat(path)
    if (!stats.isDirectory()) throw new ProtocolError(`expected a folder, got ${printable(path)}, which is ${stats.isSymbolicLink() ? 'a link' : 'a file'}`, Verdict.Exists)
  })
}

/** A folder with the sender's permissions and time; what is in it stays. */
export async function dressFolder(folder: string, { name, mode, changedAt }: Pick<Target, 'name' | 'mode' | 'changedAt'>): Promise<string> {
  const path = await makeParents(folder, name.split('/'))
  try {
    const stats = await lstat(path)
    if ((stats.mode & mode & 0o777) !== (stats.mode & 0o777)) await chmod(path, stats.mode & mode & 0o777)
    if (changedAt > 0) await utimes(path, stats.atime, new Date(changedAt))
  } catch {
    // Not ours, or a file system without them.
  }
  return path
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

/** Folders that are being synced, and those whose next sync waits for that. */
const syncing = new Map<string, Promise<void>>()
const waiting = new Map<string, Promise<void>>()

/** The new name must survive a power cut as well. One sync stands for all names that were there when it began. */
function syncFolder(folder: string): Promise<void> {
  const begin = (): Promise<void> => {
    waiting.delete(folder)
    const sync = syncNow(folder).finally(() => {
      if (syncing.get(folder) === sync) syncing.delete(folder)
    })
    syncing.set(folder, sync)
    return sync
  }
  const under = syncing.get(folder)
  if (under === undefined) return begin()
  const next = waiting.get(folder) ?? under.then(begin, begin)
  waiting.set(folder, next)
  return next
}

/** Windows cannot sync a folder. */
async function syncNow(folder: string): Promise<void> {
  const handle = await open(folder, 'r').catch(() => undefined)
  await handle?.sync().catch(() => {})
  await handle?.close()
}

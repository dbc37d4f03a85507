/** Exit codes of every command; docs/cli.md has the same list. */
export const ExitCode = { Ok: 0, Failed: 1, Usage: 2, Slow: 3, Interrupted: 130, Terminated: 143 } as const

/** The command line itself is wrong. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
  constructor(
    message: string,
    /** The command whose `--help` would help. */
    readonly command?: string,
  ) {
    super(message)
  }
}

/** Something outside is not as it must be; the message is complete, one line, and names what was expected and what came. */
export class Fault extends Error {
  override readonly name = 'Fault'
}

/** What a system error means to somebody who never saw its name. */
const MEANINGS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EADDRINUSE: 'another program uses it',
  EADDRNOTAVAIL: 'this machine does not have that address',
  EDQUOT: 'the disk quota is used up',
  EFBIG: 'the file would be too large for this file system, or for ulimit -f',
  EIO: 'the disk failed',
  EISDIR: 'it is a directory',
  ELOOP: 'too many symbolic links',
  EMFILE: 'too many open files',
  ENAMETOOLONG: 'the name is too long',
  ENETUNREACH: 'no route to that network',
  EHOSTUNREACH: 'no route to that host',
  EEXIST: 'it exists already',
  ENOENT: 'it does not exist',
  ENOSPC: 'the disk is full',
  ENOTDIR: 'a part of the path is not a directory',
  ENOTFOUND: 'the name is unknown',
  EAI_AGAIN: 'the name could not be looked up',
  EPERM: 'not permitted',
  EROFS: 'the file system is read-only',
  ETXTBSY: 'the file is being executed',
}

/** The system's name for what happened (`ENOENT`), wherever in a chain of causes it stands. */
export function systemCode(error: unknown): string | undefined {
  for (let cause = error, depth = 0; cause instanceof Error && depth < 5; cause = cause.cause, depth++) {
    const code = 'code' in cause ? cause.code : undefined
    if (typeof code === 'string' && Object.hasOwn(MEANINGS, code)) return code
    const named = /\bE[A-Z_]{3,}\b/.exec(cause.message)?.[0]
    if (named !== undefined && Object.hasOwn(MEANINGS, named)) return named
  }
  return undefined
}

/** `ENOSPC (the disk is full)`, or the error's own words where the system gave none. */
export function meaning(error: unknown): string {
  const code = systemCode(error)
  if (code !== undefined) return `${code} (${MEANINGS[code]})`
  return oneLine(error)
}

/** An error's words on one line. */
export function oneLine(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error)
  return text.replace(/\s*\n\s*/g, ' ').trim()
}

/** An error of the library as whoever runs a command wants to hear it. `other`: who is at the other end. */
export function told(error: unknown, other = 'the other side'): string {
  if (pacelineCode(error) === 'ERR_PACELINE_STREAM_RESET') return `${other} broke off`
  if (pacelineCode(error) === 'ERR_PACELINE_IDLE_TIMEOUT') return `${other} fell silent`
  return oneLine(error)
}

/** The stable `ERR_PACELINE_*` code of an error of the library. */
export function pacelineCode(error: unknown): string | undefined {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  return typeof code === 'string' && code.startsWith('ERR_PACELINE_') ? code : undefined
}

/** Errors of our own disk: they will hit the next file, too. */
export function isLocalDisk(error: unknown): boolean {
  return ['ENOSPC', 'EDQUOT', 'EROFS', 'EIO', 'EACCES', 'EPERM', 'ENOTDIR', 'EMFILE'].includes(systemCode(error) ?? '')
}

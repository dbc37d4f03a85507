import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'

type Need = 'tcpdump' | 'mount' | 'linux' | 'script'

/** What a test cannot do without, and whether it is here. */
const has: Record<Need, () => boolean> = {
  linux: () => process.platform === 'linux',
  script: () => process.platform === 'linux' && spawnSync('script', ['--version']).error === undefined,
  tcpdump: () => process.getuid?.() === 0 && spawnSync('tcpdump', ['--version']).error === undefined,
  mount: () => {
    if (process.platform !== 'linux' || process.getuid?.() !== 0) return false
    const folder = mkdtempSync(join(tmpdir(), 'paceline-mount-'))
    const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'none', folder]).status === 0
    if (mounted) spawnSync('umount', [folder])
    rmSync(folder, { recursive: true, force: true })
    return mounted
  },
}

/** A test that is skipped, and says why in its title, where the machine lacks something. */
export function testWith(needs: readonly Need[], title: string, implementation: (t: ExecutionContext) => Promise<void>): void {
  const missing = needs.filter((need) => !has[need]())
  if (missing.length === 0) test.serial(title, implementation)
  else test.skip(`${title} (needs ${missing.map((need) => (need === 'linux' ? 'Linux' : need === 'script' ? 'script of util-linux' : `${need} as root`)).join(' and ')})`, implementation)
}

/** A small disk of its own, below `folder`. */
export function smallDisk(t: ExecutionContext, folder: string, bytes: number): string {
  const disk = join(folder, 'disk')
  mkdirSync(disk)
  const { status, stderr } = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'none', disk], { encoding: 'utf8' })
  if (status !== 0) throw new Error(`mount failed: ${stderr}`)
  t.teardown(() => void spawnSync('umount', ['-l', disk]))
  return disk
}

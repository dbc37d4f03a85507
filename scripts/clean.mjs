// Removes what setup made, so that the next command starts like a fresh clone (Rust's target folder stays: it is big and never stale).
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './run.mjs'

for (const path of ['.stamps', 'node_modules', 'packages/paceline/dist', 'packages/paceline/binding']) {
  rmSync(join(root, path), { recursive: true, force: true })
}

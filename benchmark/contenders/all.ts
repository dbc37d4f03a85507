import { existsSync } from 'node:fs'
import type { Contender } from './contender.ts'
import { paceline } from './paceline.ts'
import { net, tls } from './sockets.ts'
import { udxNative } from './udx.ts'

/** udx-native only where it is installed, which `npm run bench -- bulk --udx` does. */
export const contenders: readonly Contender[] = [paceline, tls, net, ...(existsSync('tools/node_modules/udx-native') ? [udxNative] : [])]

import type { Contender } from './contender.ts'
import { paceline } from './paceline.ts'
import { net, tls } from './sockets.ts'

export const contenders: readonly Contender[] = [paceline, tls, net]

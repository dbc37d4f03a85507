import { constants } from 'node:os'

/** Ctrl-C promises an end within one second; what is not done by then is left to the operating system. */
const GRACE_MS = 800

/** SIGINT or SIGTERM came. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted'
  constructor(readonly exitCode: number) {
    super('interrupted')
  }
}

/** A signal that aborts when the user or the system asks us to end. The second time, the process ends at once. */
export function onInterrupt(): AbortSignal {
  const controller = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    const exitCode = 128 + constants.signals[name]
    process.on(name, () => {
      if (controller.signal.aborted) process.exit(exitCode)
      setTimeout(() => process.exit(exitCode), GRACE_MS).unref()
      controller.abort(new Interrupted(exitCode))
    })
  }
  // Started with a channel (`npm start`): when it breaks, our parent was killed, and nobody else will stop us.
  process.once('disconnect', () => process.exit(1))
  process.channel?.unref()
  return controller.signal
}

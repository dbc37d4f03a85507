import type { Endpoint, Stream } from '../index.js'

/**
 * Takes the streams of an endpoint until it is closed or `stop` is aborted, the next one when `take` has resolved. `announce` is called
 * once streams are let in: they are refused until somebody waits for them, and who reads the announcement may open one at once.
 */
export async function takeStreams(endpoint: Endpoint, stop: AbortSignal, announce: () => void, take: (stream: Stream) => Promise<void> | void): Promise<void> {
  const streams = endpoint.streams({ signal: stop })
  let next = streams.next()
  try {
    await Promise.race([next, new Promise(setImmediate)])
    announce()
    for (;;) {
      const { value: stream, done } = await next
      if (done === true) return
      await take(stream)
      next = streams.next()
    }
  } catch (error) {
    if (!stop.aborted) throw error
  }
}

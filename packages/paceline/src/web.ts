import type { Chunks } from './chunks.js'
import { wrongOption } from './options.js'
import type { Writer } from './writer.js'

// ReadableStream and WritableStream are the globals: to import node:stream/web would cost whoever imports this package 1.6 ms.

/** What is needed of a stream. */
export interface WebSource {
  readonly readableEncoding: BufferEncoding | null
  readonly writer: Writer
  chunks(): Chunks
  stopReading(): void
  /** Calls when the stream fails; never keeps it. */
  _whenFailed(run: (error: Error) => void): void
  /** Whether everything has arrived that there will be. */
  readonly _complete: boolean
}

/** Both halves of a stream, each of which ends by itself. */
export interface WebStreams {
  readable: ReadableStream<Uint8Array>
  writable: WritableStream<Uint8Array>
}

/**
 * Web Streams over a stream.
 *
 * Not `Duplex.toWeb()`, whose readable side is closed only when the writable one has ended, too: no server could read a
 * request to its end and then reply. Chunks are copies: whoever transfers one must not take the slab it lay in.
 */
export function webStreams(stream: WebSource): WebStreams {
  const { writer } = stream
  mustBeBytes(stream)
  const chunks = stream.chunks()
  const readable = new ReadableStream<Uint8Array>(
    {
      start(controller) {
        stream._whenFailed((error) => {
          if (!stream._complete) controller.error(error)
        })
      },
      async pull(controller) {
        const { done, value } = await chunks.next()
        if (done === true) controller.close()
        else {
          // setEncoding() may have come later.
          if (typeof value === 'string') mustBeBytes(stream)
          controller.enqueue(new Uint8Array(value))
        }
      },
      cancel() {
        stream.stopReading()
      },
    },
    { highWaterMark: 0 },
  )
  const writable = new WritableStream<Uint8Array>({
    start(controller) {
      stream._whenFailed((error) => {
        controller.error(error)
      })
    },
    write: (chunk) => writer.write(chunk),
    async close() {
      await writer.end()
    },
    abort(reason) {
      writer.fail(reason)
    },
  })
  return { readable, writable }
}

/** Of text nothing would be left but its length. */
function mustBeBytes({ readableEncoding }: WebSource): void {
  if (readableEncoding !== null) throw wrongOption('readableEncoding', 'null for toWeb() (no setEncoding(); decode with a TextDecoderStream)', readableEncoding)
}

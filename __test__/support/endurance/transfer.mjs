// An endless transfer between two endpoints of one environment, and a way to end it in the middle.
// usage: node transfer.mjs exit|throw|rejects MILLISECONDS; as a worker: workerData = { milliseconds }
import { writeSync } from 'node:fs'
import { isMainThread, parentPort, workerData } from 'node:worker_threads'
import { pair } from './common.mjs'

const [how = 'go on', milliseconds = '5'] = isMainThread ? process.argv.slice(2) : ['tell', String(workerData)]
const { peer, accepted } = await pair()
let begun = 0

/** Says that it ends now, on a way that is not buffered. */
const say = () => writeSync(1, `${Date.now()}\n`)

void (async () => {
  for await (const stream of accepted) {
    stream.on('data', (chunk) => {
      begun ||= performance.now()
      if (chunk.length === 0 || performance.now() - begun < Number(milliseconds)) return
      if (how === 'exit') {
        say()
        process.exit(7)
      } else if (how === 'throw') {
        say()
        throw new Error('on purpose')
      } else if (how === 'tell') {
        parentPort.postMessage('running')
        begun = Infinity
      }
    })
  }
})()
const chunk = Buffer.alloc(32 * 1024)
for (const stream of [peer.openStream(), peer.openStream()]) {
  stream.completions()
  void (async () => {
    for (;;) await stream.writer.write(chunk)
  })()
}

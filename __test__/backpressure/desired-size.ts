import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import type { Stream } from '../../packages/paceline/src/index.js'
import { joinSockets } from '../support/endpoints.js'

test('desiredSize comes back for a writer that only asks and never waits', async (t) => {
  let received = 0
  let reading: Promise<unknown> | undefined
  const take = async (stream: Stream) => {
    for await (const chunk of stream) received += chunk.length
    await stream.close()
  }
  const { peer } = await joinSockets(t, (stream) => (reading = take(stream)), { bind: { sendBufferBytes: 64 << 10 } })
  const stream = peer.openStream()
  const line = Buffer.alloc(1000)
  let written = 0
  for (const deadline = performance.now() + 60_000; written < 500 && performance.now() < deadline; ) {
    if ((stream.writer.desiredSize ?? 0) >= line.length) {
      written += 1
      void stream.writer.write(line)
    } else await sleep(1)
  }
  t.is(written, 500, 'seven send buffers of lines')
  t.is((await stream.close()).undelivered, 0)
  await reading
  t.is(received, 500_000)
})

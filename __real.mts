import { Endpoint, generateSecret } from '/work/main/packages/paceline/src/index.js'
const secret = generateSecret()
const native = await import('/work/main/packages/paceline/binding/index.js')
const live = native.nativeLiveness
await (async () => {
  const receiver = await Endpoint.listen({ host: '127.0.0.1', port: 0, secret })
  const sender = await Endpoint.bind({ host: '127.0.0.1' })
  const p = await sender.connect('127.0.0.1', receiver.address.port, { secret })
  const s = p.openStream(); s.write('x')
  for await (const _ of s) ;
})().catch((e) => console.log(e.code))
console.log(live?.())
for (let i = 0; i < 20; i++) { (globalThis as any).gc(); await new Promise((r) => setTimeout(r, 20)) }
console.log(live?.())

import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import type { ExecutionContext } from 'ava'

/** What goes on to the receiver in place of a datagram: nothing, itself, itself and others. */
export type Forward = (datagram: Buffer) => Buffer[]

/**
 * Stands between a sender and a receiver. Its sockets have no UDP_GRO, so the kernel takes every GSO burst apart and
 * each datagram is seen alone, as a network card would send it.
 */
export class Proxy {
  readonly port: number
  /** Every datagram from the sender, in order. */
  readonly fromSender: Buffer[] = []
  /** Every datagram from the receiver, in order. */
  readonly fromReceiver: Buffer[] = []
  readonly #front: Socket
  readonly #back: Socket

  private constructor(front: Socket, back: Socket, receiverPort: number, forward: Forward) {
    this.#front = front
    this.#back = back
    this.port = front.address().port
    let sender: { port: number; address: string } | undefined
    front.on('message', (datagram, from) => {
      sender = from
      this.fromSender.push(datagram)
      for (const each of forward(datagram)) back.send(each, receiverPort, '127.0.0.1')
    })
    back.on('message', (datagram) => {
      this.fromReceiver.push(datagram)
      if (sender !== undefined) front.send(datagram, sender.port, sender.address)
    })
  }

  static async start(t: ExecutionContext, receiverPort: number, forward: Forward = (datagram) => [datagram]): Promise<Proxy> {
    const sockets = [createSocket('udp4'), createSocket('udp4')] as const
    for (const socket of sockets) {
      socket.bind(0, '127.0.0.1')
      await once(socket, 'listening')
      socket.setRecvBufferSize(4 << 20)
      socket.setSendBufferSize(4 << 20)
    }
    const proxy = new Proxy(...sockets, receiverPort, forward)
    t.teardown(() => proxy.#close())
    return proxy
  }

  #close(): void {
    this.#front.close()
    this.#back.close()
  }
}

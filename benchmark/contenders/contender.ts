/** One way to bring bytes from one process to another. */
export interface Contender {
  readonly name: string
  /** Listens on a free port of 127.0.0.1. `received` gets every chunk; `reply` answers once, and then everything ends. */
  listen(received: (chunk: Uint8Array, reply: () => Promise<void>) => void): Promise<Listening>
  connect(address: Address): Promise<Connection>
}

export interface Address {
  readonly port: number
  /** What the other side needs to know: a secret, a certificate. Passed between the processes, never as an argument. */
  readonly token: string
}

export interface Listening extends Address {
  close(): Promise<void>
}

export interface Connection {
  /** Resolves when there is room for more. */
  write(chunk: Uint8Array): Promise<void> | void
  /** Everything is handed over; resolves with the receiver's answer. */
  answered(): Promise<void>
  close(): Promise<void>
}

/** What a process reports about its part of the measured transfer. */
export interface Measured {
  readonly seconds: number
  readonly cpuSeconds: number
}

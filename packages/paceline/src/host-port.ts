/** An address and a port as people and URLs write them: `10.0.0.2:4433`, `[::1]:4433`. */
export function hostPort({ address, port }: { readonly address: string; readonly port: number }): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}

export class TapReader {
  constructor(options?: { print?: (text: string) => void; paint?: (code: number, text: string) => string })
  readonly failures: string[]
  write: (text: string) => void
}
export function plain(text: string): string
export function saidAgain(failures: readonly string[], output: string, most?: number): string

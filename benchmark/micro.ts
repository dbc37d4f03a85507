import { add, complete, suite } from 'benny'
import { formatSecret, generateSecret, parseSecret } from 'paceline'
import type { Options, Printer } from './results.ts'

/** Calls whose cost is that of JavaScript alone; what crosses into native code is measured by whole transfers. */
export async function micro(_options: Options, print: Printer): Promise<void> {
  // benny announces its suites on stdout, which belongs to results.
  console.log = console.error
  const text = formatSecret(generateSecret())
  const secret = generateSecret()
  await suite(
    'micro',
    add('paceline parseSecret', () => parseSecret(text)),
    add('paceline formatSecret', () => formatSecret(secret)),
    complete(({ results }) => {
      for (const { name, ops, margin, samples } of results) {
        print.result({ name, value: ops, unit: 'calls/s', min: ops * (1 - margin / 100), max: ops * (1 + margin / 100), runs: samples })
      }
    }),
  )
}

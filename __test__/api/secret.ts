import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { once } from 'node:events'
import test from 'ava'
import { formatSecret, generateSecret, OptionError, parseSecret, readSecretFile } from '../../packages/paceline/src/index.js'
import { checkSecret } from '../../packages/paceline/src/secret.js'

const refusal = { instanceOf: OptionError, code: 'ERR_PACELINE_SECRET' } as const

test('the text form goes there and back', (t) => {
  const secret = generateSecret()
  t.is(secret.length, 32)
  const text = formatSecret(secret)
  t.regex(text, /^paceline1:[A-Za-z0-9_-]{43}$/)
  t.deepEqual(parseSecret(text), [secret])
})

test('a line per rotation entry, in order; empty lines and line ends of any system', (t) => {
  const [first, second] = [generateSecret(), generateSecret()]
  t.deepEqual(parseSecret(`\n${formatSecret(first)}\r\n\n  ${formatSecret(second)}  \n`), [first, second])
})

test('two secrets are two secrets', (t) => {
  t.notDeepEqual(generateSecret(), generateSecret())
})

const text = formatSecret(generateSecret())
for (const [name, wrong, message] of [
  ['a password', 'correct horse battery staple', /expected paceline1:.*got text without that prefix/],
  ['nothing', '', /got no entry/],
  ['another version', text.replace('paceline1:', 'paceline2:'), /without that prefix/],
  ['hex', `paceline1:${'ab'.repeat(32)}`, /64 characters/],
  ['one character less', text.slice(0, -1), /42 characters/],
  ['one character more', `${text}A`, /44 characters/],
  ['padding', `${text}=`, /44 characters/],
  ['stray bits in the last character', `${text.slice(0, -1)}${text.at(-1) === 'B' ? 'D' : 'B'}`, /43 characters/],
  ['a placeholder', `paceline1:${'A'.repeat(43)}`, /placeholder with 1 different/],
  ['a comment', `# mine\n${text}`, /\(line 1\)/],
] as const) {
  test(`text that is refused: ${name}`, (t) => {
    const error = t.throws(() => parseSecret(wrong, 'PACELINE_SECRET'), { ...refusal, message })
    t.regex(error?.message ?? '', /^PACELINE_SECRET.*: expected .*, got .* \(make one with/)
    // A secret, or what somebody thinks is one, is never shown.
    if (wrong.length > 20) t.false(error?.message.includes(wrong.slice(-20)))
  })
}

test('bytes: 32 to 1024, random, never a string', (t) => {
  t.is(checkSecret('secret', Buffer.from(Array.from({ length: 1024 }, (_, at) => at & 0xff))).length, 1)
  t.throws(() => checkSecret('options.secret', 'x'.repeat(32)), { ...refusal, message: /^options\.secret: expected .*, got a string/ })
  t.throws(() => checkSecret('s', generateSecret().subarray(1)), { ...refusal, message: /got 31 bytes/ })
  t.throws(() => checkSecret('s', Buffer.alloc(1025, 'abcdefghijklmnop')), { ...refusal, message: /got 1025 bytes/ })
  t.throws(() => checkSecret('s', Buffer.alloc(32)), { ...refusal, message: /placeholder/ })
  t.throws(() => checkSecret('s', Buffer.from('0123456780123456780123456780123456')), { ...refusal, message: /9 different/ })
  t.throws(() => checkSecret('s', undefined), { ...refusal, message: /got undefined/ })
  t.throws(() => checkSecret('s', null), { ...refusal, message: /got null/ })
  t.throws(() => checkSecret('s', []), { ...refusal, message: /empty list/ })
  t.throws(() => checkSecret('s', [generateSecret(), 'y']), { ...refusal, message: /^s\[1\]/ })
  t.throws(() => formatSecret(Buffer.from(Array.from({ length: 33 }, (_, at) => at))), { ...refusal, message: /got 33 bytes/ })
})

test('a copy is kept: what the caller does with the bytes later does not matter', (t) => {
  const secret = generateSecret()
  const [copy] = checkSecret('secret', secret)
  secret.fill(0)
  t.true(new Set(copy).size > 9)
})

test.serial('a secret file; others who may read it cause a warning', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'paceline-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const path = join(folder, 'secret')
  const secret = generateSecret()
  await writeFile(path, `${formatSecret(secret)}\n`, { mode: 0o600 })
  const warnings: Error[] = []
  const listener = (warning: Error): void => void warnings.push(warning)
  process.on('warning', listener)
  t.teardown(() => process.off('warning', listener))
  t.deepEqual(await readSecretFile(path), [secret])
  if (process.platform === 'win32') return
  t.is(warnings.length, 0)
  await chmod(path, 0o644)
  const warned = once(process, 'warning') as Promise<[Error]>
  await readSecretFile(path)
  t.like((await warned)[0], { code: 'PACELINE_SECRET_READABLE' })
})

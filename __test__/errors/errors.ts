import { spawnSync } from 'node:child_process'
import { readFileSync, readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { inspect } from 'node:util'
import test from 'ava'
import { FailureNumber } from '../../packages/paceline/src/driver.js'
import { driverError, failureError, resetCodeOf } from '../../packages/paceline/src/errors.js'
import { AbortError, EndpointError, ERROR_CODES, OptionError, PacelineError, PeerError, StreamError } from '../../packages/paceline/src/index.js'

test('every failure of the driver has a code of its own and an error class', (t) => {
  const codes = Object.values(FailureNumber).map((failure) => failureError(failure, 0).code)
  t.is(new Set(codes).size, codes.length)
  for (const code of codes) t.true(code in ERROR_CODES)
})

test('the numbers are those of the Rust side', (t) => {
  const rust = readFileSync(new URL('../../crates/transport/src/error.rs', import.meta.url), 'utf8')
  const numbers = Object.fromEntries(
    [...rust.matchAll(/Self::(\w+)(?:\(_\))? => (\d+),/g)].map(([, name, number]) => [name, Number(number)]),
  )
  t.deepEqual(numbers, { ...FailureNumber })
})

test('details go where they belong', (t) => {
  const peer = { address: '10.0.0.2', port: 4433 }
  t.like(failureError(FailureNumber.PeerReset, 300, peer), {
    name: 'StreamError', code: 'ERR_PACELINE_STREAM_RESET', errorCode: 300, address: '10.0.0.2', port: 4433,
    message: '10.0.0.2:4433: the peer reset the stream with code 300',
  })
  t.like(failureError(FailureNumber.Send, 1, peer), { code: 'ERR_PACELINE_SEND', errno: -1, syscall: 'sendmsg', message: '10.0.0.2:4433: sending failed: EPERM' })
  t.like(failureError(FailureNumber.HandshakeRefused, 5), { errorCode: 5 })
  t.is(failureError(FailureNumber.IdleTimeout, 0).errorCode, undefined)
  t.is(failureError(999, 0).name, 'PacelineError')
})

test('every code says what happened, whose fault it is, and what to do', (t) => {
  for (const [code, { fault, says, remedy }] of Object.entries(ERROR_CODES)) {
    t.regex(code, /^ERR_PACELINE_[A-Z_]+$|^ABORT_ERR$/)
    t.true(['application', 'system', 'peer', 'network'].includes(fault))
    t.true(says.length > 10 && remedy.length > 10, code)
  }
})

test('every code that is thrown stands in the table', (t) => {
  const src = new URL('../../packages/paceline/src/', import.meta.url)
  const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'))
  const used = new Set(files.flatMap((file) => readFileSync(new URL(file, src), 'utf8').match(/ERR_PACELINE_[A-Z_]+[A-Z]/g) ?? []))
  t.true(used.size > 20)
  t.deepEqual([...used].filter((code) => !(code in ERROR_CODES)), [])
})

test('docs/errors.md is made from the table', (t) => {
  const root = fileURLToPath(new URL('../..', import.meta.url))
  const { status, stderr } = spawnSync(process.execPath, ['scripts/docs.mjs', '--check'], { cwd: root, encoding: 'utf8' })
  t.is(status, 0, stderr)
})

test('instanceof knows the classes apart, and those of another copy of the package', async (t) => {
  const error = new StreamError('ERR_PACELINE_STREAM_RESET')
  t.true(error instanceof StreamError && error instanceof PacelineError && error instanceof Error)
  t.false((error as unknown) instanceof PeerError)
  t.false(new Error('x') instanceof PacelineError)
  t.false((null as unknown) instanceof PacelineError)
  const specifier: string = '../../packages/paceline/src/errors.js?copy'
  const copy = (await import(specifier)) as typeof import('../../packages/paceline/src/errors.js')
  t.not(copy.StreamError, StreamError)
  const foreign = new copy.StreamError('ERR_PACELINE_STREAM_RESET')
  t.false(foreign.constructor === StreamError)
  t.true(foreign instanceof StreamError && foreign instanceof PacelineError)
  t.false((foreign as unknown) instanceof EndpointError)
  class Mine extends PeerError {}
  t.true(new Mine('ERR_PACELINE_PEER_CLOSED') instanceof Mine)
  t.true(new Mine('ERR_PACELINE_PEER_CLOSED') instanceof PeerError)
  t.false(new PeerError('ERR_PACELINE_PEER_CLOSED') instanceof Mine)
})

test('name, stack and what is shown', (t) => {
  const error = new OptionError('ERR_PACELINE_OPTION', 'options.port: expected a, got b')
  t.is(error.name, 'OptionError')
  t.regex(error.stack ?? '', /^OptionError: options\.port/)
  t.deepEqual(Object.keys(error), ['code'])
  t.regex(inspect(new PeerError('ERR_PACELINE_SEND', undefined, { errno: -1 })), /errno: -1/)
})

test('AbortError carries reason and code', (t) => {
  const reason = { errorCode: 300 }
  t.like(new AbortError(reason), { name: 'AbortError', code: 'ABORT_ERR', cause: reason, errorCode: 300 })
})

test('the code of a reset: integers an application may send, else 256', (t) => {
  t.is(resetCodeOf({ errorCode: 256 }), 256)
  t.is(resetCodeOf({ errorCode: 2 ** 53 - 1 }), 2 ** 53 - 1)
  for (const reason of [undefined, null, 'x', 7, {}, { errorCode: 255 }, { errorCode: 1.5 }, { errorCode: '300' }, { errorCode: 2 ** 60 }]) {
    t.is(resetCodeOf(reason), 256)
  }
})

test('errors of the addon become errors of the package', (t) => {
  const where = { address: '127.0.0.1', port: 80, syscall: 'bind' }
  const cause = Object.assign(new Error('EACCES: no'), { code: 'EACCES', errno: -13, syscall: 'bind', address: '127.0.0.2', port: 81 })
  t.like(driverError(cause, 'ERR_PACELINE_BIND', where), {
    name: 'EndpointError', code: 'ERR_PACELINE_BIND', errno: -13, syscall: 'bind', address: '127.0.0.2', port: 81, cause, message: 'EACCES: no',
  })
  t.like(driverError(Object.assign(new Error('no'), { code: 'ERR_PACELINE_SECRET' }), 'ERR_PACELINE_BIND', where), {
    name: 'OptionError', code: 'ERR_PACELINE_SECRET', message: 'no', syscall: undefined,
  })
  t.like(driverError('text', 'ERR_PACELINE_BIND', where), { code: 'ERR_PACELINE_BIND', message: 'text', address: '127.0.0.1', port: 80 })
  const own = new PeerError('ERR_PACELINE_SEND')
  t.is(driverError(own, 'ERR_PACELINE_BIND'), own)
})

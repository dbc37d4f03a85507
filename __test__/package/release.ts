import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { ROOT, run, temporaryFolder } from '../e2e/helpers/cli.ts'
import { testWith } from '../e2e/helpers/needs.ts'

const PLATFORMS = ['darwin-arm64', 'darwin-x64', 'linux-arm64-gnu', 'linux-arm64-musl', 'linux-x64-gnu', 'linux-x64-musl', 'win32-arm64-msvc', 'win32-x64-msvc']

function tarballs(t: ExecutionContext, names: readonly string[]): string {
  const folder = temporaryFolder(t)
  for (const name of names) writeFileSync(join(folder, `${name}.tgz`), '')
  return folder
}
const publish = async (t: ExecutionContext, folder: string, tag: string) => run(t, process.execPath, ['scripts/publish.mjs', folder, '--tag', tag, '--dry-run']).ended

test('publishing: platforms first, the main package last, all with provenance', async (t) => {
  const names = PLATFORMS.map((platform) => `paceline-${platform}-1.2.3`)
  const { code, stdout, stderr } = await publish(t, tarballs(t, ['paceline-1.2.3', ...names]), 'v1.2.3')
  t.is(code, 0, stderr)
  const lines = stdout.trim().split('\n')
  t.is(lines.length, 9)
  t.true(lines.every((line) => line.includes(' --provenance --access public --tag latest')))
  t.true(lines.at(-1)?.startsWith('npm publish paceline-1.2.3.tgz '))
})

test('publishing: a missing platform, another version, a wrong tag', async (t) => {
  const all = ['paceline-1.2.3', ...PLATFORMS.map((platform) => `paceline-${platform}-1.2.3`)]
  for (const [names, tag, says] of [
    [all.slice(0, -1), 'v1.2.3', /expected 8 platforms, got 7/],
    [all.slice(1), 'v1.2.3', /expected paceline-1\.2\.3\.tgz, found none/],
    [all, 'v1.2.4', /expected version 1\.2\.4 everywhere, got paceline-1\.2\.3\.tgz/],
    [all, '1.2.3', /expected FOLDER --tag/],
  ] as const) {
    const { code, stderr, stdout } = await publish(t, tarballs(t, names), tag)
    t.is(code, 1)
    t.is(stdout, '', 'nothing is published')
    t.regex(stderr, says)
  }
})

test('a release has every platform, or fails', async (t) => {
  const folder = temporaryFolder(t)
  mkdirSync(join(folder, 'addons'))
  const ended = await run(t, process.execPath, ['scripts/pack.mjs', '--all', '--artifacts', join(folder, 'addons')]).ended
  t.not(ended.code, 0)
  t.regex(ended.stderr, /expected .*paceline\.darwin-arm64\.node for a release, found none/)
})

test('release-build refuses a machine of another platform', async (t) => {
  const other = process.platform === 'darwin' ? 'x86_64-unknown-linux-gnu' : 'aarch64-apple-darwin'
  const { code, stderr } = await run(t, process.execPath, ['scripts/release-build.mjs', other, 'nowhere']).ended
  t.is(code, 1)
  t.regex(stderr, /expected a machine of .*, got one of /)
})

testWith(['linux'], 'release-container: only an image with its digest, the repository in it, and the same exit code', async (t) => {
  const folder = temporaryFolder(t)
  writeFileSync(join(folder, 'docker'), '#!/bin/sh\nprintf "%s\\n" "$@"\nexit 7\n', { mode: 0o755 })
  const container = (...args: string[]) => run(t, process.execPath, ['scripts/release-container.mjs', ...args], { PATH: `${folder}:${process.env['PATH']}` }).ended
  const image = `node:20-alpine@sha256:${'0'.repeat(64)}`
  const { code, stdout } = await container(image, 'x86_64-unknown-linux-musl', 'addons')
  t.is(code, 7)
  const args = stdout.split('\n')
  t.true(args.includes(`${ROOT}:/paceline`) && args.includes(image))
  t.deepEqual(args.slice(-4), ['release-build', 'x86_64-unknown-linux-musl', 'addons', ''])
  t.regex(stdout, /apk add .* && exec node scripts\/release-build\.mjs "\$@"/)
  for (const wrong of [['node:20-alpine', 'x86_64-unknown-linux-musl', 'addons'], [image, 'x86_64-unknown-linux-musl', '../addons'], [image, 'x86_64-unknown-linux-musl', '.'], [image]]) {
    t.is((await container(...wrong)).code, 2, wrong.join(' '))
  }
})

const range = (median: number) => ({ median, least: median - 0.1, most: median + 0.1 })
const side = (gbit: number) => ({ gbit: range(gbit), cpu: range(2), tls: range(gbit / 6) })
const comparison = (ratio: number) => ({
  rounds: 3, bytes: 1e9, limit: 0.85, ratio: range(ratio), tls: side(6), base: side(5), head: side(5 * ratio), title: '[a link](http://example.com)',
})

/** As much of GitHub as the comment needs. */
async function github(t: ExecutionContext, sha: string) {
  const comments: { id: number; body: string; user: { type: string } }[] = []
  const calls: string[] = []
  const server = createServer((request, response) => {
    void (async () => {
      let text = ''
      for await (const chunk of request) text += String(chunk)
      const { method = '', url = '' } = request
      calls.push(`${method} ${url.split('?')[0] ?? ''}`)
      let answer: unknown = {}
      if (url.includes('/pulls?')) answer = [{ number: 7, head: { sha } }]
      else if (method === 'GET') answer = comments
      else {
        const { body } = JSON.parse(text) as { body: string }
        const known = comments.find(({ id }) => url.endsWith(`/comments/${id}`))
        if (known !== undefined) known.body = body
        else comments.push({ id: comments.length + 1, body, user: { type: 'Bot' } })
      }
      response.setHeader('content-type', 'application/json').end(JSON.stringify(answer))
    })()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => void server.close())
  return { comments, calls, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
}

test('the comment of a benchmark is written once and then renewed, from numbers alone', async (t) => {
  const sha = 'a'.repeat(40)
  const { comments, calls, url } = await github(t, sha)
  const folder = temporaryFolder(t)
  const comment = async (content: unknown, head = sha) => {
    if (content !== undefined) writeFileSync(join(folder, 'comparison.json'), JSON.stringify(content))
    const env = { GITHUB_API_URL: url, GITHUB_REPOSITORY: 'a/b', GITHUB_TOKEN: 'none', HEAD_SHA: head, RUN_URL: 'https://github.com/a/b/actions/runs/1' }
    return run(t, process.execPath, ['scripts/bench-comment.mjs', folder], env).ended
  }
  t.is((await comment(undefined)).stdout, 'wrote the comment under #7\n', 'a benchmark that broke off is no error of the comment')
  t.is(comments[0]?.body, '<!-- paceline bench -->\n**Bulk transfer: no figures.** The benchmark broke off: [its log](https://github.com/a/b/actions/runs/1).\n')
  t.is((await comment(comparison(1.01))).stdout, 'renewed the comment under #7\n')
  t.regex(comments[0]?.body ?? '', /head ÷ base: 1\.01 \[0\.91 – 1\.11\]\*\*, as it should be/)
  t.regex(comments[0]?.body ?? '', /^\| head \| 5\.05 \[[^|]*\] \| 0\.84 \[[^|]*\] \| 2\.00 \[[^|]*\] \|$/m)
  t.is((await comment(comparison(0.7))).stdout, 'renewed the comment under #7\n')
  t.is(comments.length, 1)
  t.regex(comments[0]?.body ?? '', /less than 0\.85: slower/)
  t.notRegex(comments[0]?.body ?? '', /example\.com/)
  const before = calls.length
  const bad = await comment({ ...comparison(1), ratio: { median: '1 <img>', least: 1, most: 1 } })
  t.is(bad.code, 1)
  t.regex(bad.stderr, /expected numbers/)
  t.is(calls.length, before, 'nothing was asked of GitHub')
  t.regex((await comment(comparison(1), 'b'.repeat(40))).stdout, /no open pull request/)
})

test('two clones are compared in turns, beside node:tls; other words are refused', async (t) => {
  const folder = temporaryFolder(t)
  const compare = (...args: string[]) => run(t, process.execPath, ['scripts/bench-compare.mjs', ...args]).ended
  // One clone in both places, and a limit that nobody misses: the figures of so little say nothing.
  const one = await compare('.', '.', '--rounds', '1', '--bytes', '1000000', '--least', '0.000001', '--out', folder)
  t.is(one.code, 0, one.stderr)
  t.regex(one.stdout, /^head \/ base: .*at least 0\.000001 is wanted$/m)
  const written: unknown = JSON.parse(readFileSync(join(folder, 'comparison.json'), 'utf8'))
  t.like(written, { rounds: 1, bytes: 1_000_000, ok: true, tls: { tls: { median: 1 } } })
  const slower = await compare('.', '.', '--rounds', '1', '--bytes', '1000000', '--least', '1000000')
  t.is(slower.code, 1, 'nobody is a million times as fast')
  for (const [args, expected] of [
    [['.'], /expected two folders, got 1/],
    [['.', folder], /expected a clone of paceline, got/],
    [['.', '.', '--rounds', '1.5'], /expected --rounds to be a positive number, got 1\.5/],
    [['.', '.', '--round', '1'], /--round/],
  ] as const) {
    const refused = await compare(...args)
    t.is(refused.code, 2, refused.stderr)
    t.regex(refused.stderr, expected)
  }
})

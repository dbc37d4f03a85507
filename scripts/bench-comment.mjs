// Writes what scripts/bench-compare.mjs measured under the pull request, or renews what it wrote there before. The file
// comes from a stranger's code: only its numbers are used. Without a file the benchmark broke off, and the comment says so.
// usage: GITHUB_TOKEN=… GITHUB_REPOSITORY=… HEAD_SHA=… RUN_URL=… node scripts/bench-comment.mjs FOLDER
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const MARK = '<!-- paceline bench -->'
const { GITHUB_API_URL = 'https://api.github.com', GITHUB_REPOSITORY, GITHUB_TOKEN, HEAD_SHA, RUN_URL } = process.env
const [folder] = process.argv.slice(2)

function stop(message) {
  process.stderr.write(`bench-comment: ${message}\n`)
  process.exit(1)
}
if (folder === undefined || !GITHUB_REPOSITORY || !GITHUB_TOKEN || !/^[0-9a-f]{40}$/.test(HEAD_SHA ?? '') || !RUN_URL) stop('expected a folder, and GITHUB_REPOSITORY, GITHUB_TOKEN, HEAD_SHA and RUN_URL in the environment')

const number = (value) => (typeof value === 'number' && Number.isFinite(value) ? value : stop('expected numbers in comparison.json'))
const range = ({ median, least, most } = {}) => `${number(median).toFixed(2)} [${number(least).toFixed(2)} – ${number(most).toFixed(2)}]`

/** The comment about figures. */
function compared(given) {
  const ok = number(given.ratio?.median) >= number(given.limit)
  return `**Bulk transfer, head ÷ base: ${range(given.ratio)}**, ${ok ? 'as it should be' : `less than ${number(given.limit)}: slower`}

| | Gbit/s | ÷ node:tls | CPU, both sides, s/GB |
|---|---|---|---|
${['tls', 'base', 'head'].map((name) => `| ${name} | ${range(given[name]?.gbit)} | ${range(given[name]?.tls)} | ${range(given[name]?.cpu)} |`).join('\n')}

${number(given.rounds)} interleaved rounds of ${(number(given.bytes) / 1e9).toFixed(1)} GB on one runner; median, least and most. Read the ratio.
`
}

const file = join(folder, 'comparison.json')
const body = `${MARK}\n${existsSync(file) ? compared(JSON.parse(readFileSync(file, 'utf8'))) : `**Bulk transfer: no figures.** The benchmark broke off: [its log](${RUN_URL}).\n`}`

async function api(method, path, content) {
  const response = await fetch(`${GITHUB_API_URL}${path}`, {
    method,
    headers: { accept: 'application/vnd.github+json', authorization: `Bearer ${GITHUB_TOKEN}`, 'content-type': 'application/json' },
    ...(content !== undefined && { body: JSON.stringify(content) }),
  })
  if (!response.ok) stop(`${method} ${path}: ${response.status}`)
  return response.json()
}

const repository = `/repos/${GITHUB_REPOSITORY}`
const open = await api('GET', `${repository}/pulls?state=open&sort=updated&direction=desc&per_page=100`)
const pull = open.find(({ head }) => head.sha === HEAD_SHA)
if (pull === undefined) process.stdout.write('no open pull request has this commit any more\n')
else {
  const comments = await api('GET', `${repository}/issues/${pull.number}/comments?per_page=100`)
  const own = comments.find((comment) => comment.user?.type === 'Bot' && comment.body.startsWith(MARK))
  if (own === undefined) await api('POST', `${repository}/issues/${pull.number}/comments`, { body })
  else await api('PATCH', `${repository}/issues/comments/${own.id}`, { body })
  process.stdout.write(`${own === undefined ? 'wrote' : 'renewed'} the comment under #${pull.number}\n`)
}

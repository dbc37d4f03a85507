import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { bestOf, run, temporaryFolder } from '../e2e/helpers/cli.ts'

const figures = (svg: string) => svg.replaceAll(/-?\d[\d,.]*/g, '#')

test.serial('the pictures can be drawn again, from transfers that are made now', async (t) => {
  const draw = async () => {
    const folder = temporaryFolder(t)
    const ended = await run(t, process.execPath, ['scripts/pictures.mjs', '--out', folder]).ended
    t.is(ended.code, 0, ended.stderr)
    const drawn = readdirSync(folder).sort()
    t.deepEqual(drawn, readdirSync(join('docs', 'pictures')).sort())
    t.deepEqual(drawn, ['event-loop-blocked.svg', 'scheduled-and-sent.svg', 'train-lengths.svg'])
    for (const file of drawn) {
      const svg = readFileSync(join(folder, file), 'utf8')
      t.notRegex(svg, /NaN|undefined|Infinity/, file)
      t.true(svg.startsWith('<svg ') && svg.endsWith('</svg>\n'))
      // Same words, other figures: the committed ones come from the same program.
      const title = /aria-label="([^":]*)/
      t.is(figures(title.exec(svg)?.[1] ?? ''), figures(title.exec(readFileSync(join('docs', 'pictures', file), 'utf8'))?.[1] ?? ''), file)
    }
    const [, left = ''] = /blocked for 300 ms: ([\d,]+) transmissions/.exec(readFileSync(join(folder, 'event-loop-blocked.svg'), 'utf8')) ?? []
    return Number(left.replaceAll(',', ''))
  }
  // Also the sender's thread may be kept from running for a while, by others.
  const left = await bestOf(draw, (transmissions) => transmissions > 100)
  t.log(`${left} transmissions left meanwhile`)
  t.true(left > 100, 'the stream went on while JavaScript was blocked')
})

import { availableParallelism } from 'node:os'
import { loadSimulator, type PathReport, type SimMode, type SimOptions, type Verdict } from '../simulator.js'
import { ExitCode, UsageError } from './faults.js'
import { onInterrupt } from './interrupt.js'
import { integer, parseOptions, type OptionSpecs } from './options.js'
import { paint, say, sayJson } from './output.js'
import { Progress } from './progress.js'
import { count, render, SimTotals } from './sim-totals.js'
import { SimWorkers, type News } from './sim-workers.js'
import type { Job } from './sim-worker.js'

const DEFAULT_SEEDS = 1000
const MAX_SEEDS = 1e9
/** Seeds stay whole numbers in JSON. */
const MAX_SEED = 1e15 - 1
const MAX_JOBS = 256
/** Seeds a thread takes at a time: many enough that asking costs nothing, few enough that all end at about the same time. */
const CHUNK_SEEDS = 8
/** Failures told one by one; the others are counted. */
const MAX_TOLD = 10
const SHRINK_MS = 20_000
/** Written to stdout at a time. */
const SLICE_CHARACTERS = 1 << 16

export const simOptions: OptionSpecs = {
  seeds: { value: 'N', help: `so many worlds (default ${DEFAULT_SEEDS})` },
  from: { value: 'S', help: 'the first seed (default 0)' },
  seed: { value: 'S', help: 'this world only' },
  trace: { help: 'with --seed: print every packet, virtual time first' },
  mode: { value: 'MODE', help: 'safety (faults never stop) or liveness (they do); default: as the seed says' },
  paths: { help: 'instead of worlds: transfers over named paths, each with a ceiling' },
  jobs: { value: 'N', help: 'threads (default: available cores)' },
  json: { help: 'print one JSON object with the result as the last line of stdout' },
  quiet: { help: 'no progress' },
  help: { help: 'this text' },
}

export const simUsage = 'paceline sim [--seeds N] [--from S] | --seed S [--trace] | --paths'

interface Settings {
  readonly from: number
  readonly seeds: number
  readonly options: SimOptions
  readonly jobs: number
  readonly json: boolean
  readonly quiet: boolean
  /** For tests: `KIND:SEED` makes that world fail. */
  readonly plant: { readonly kind: string; readonly seed: number } | undefined
}

export async function runSim(args: readonly string[]): Promise<number> {
  const { switches, values, positionals } = parseOptions('sim', simOptions, args)
  if (positionals.length > 0) throw new UsageError(`expected no arguments, got ${positionals.join(' ')}`, 'sim')
  const number = (name: string, fallback: number, minimum: number, maximum: number) => {
    const text = values.get(name)
    return text === undefined ? fallback : integer('sim', name, text, minimum, maximum)
  }
  refuseTogether(new Set([...switches, ...values.keys()]))
  const single = values.has('seed')
  const mode = values.get('mode')
  if (mode !== undefined && mode !== 'safety' && mode !== 'liveness') throw new UsageError(`expected --mode safety or liveness, got "${mode}"`, 'sim')
  const settings: Settings = {
    from: single ? number('seed', 0, 0, MAX_SEED) : number('from', 0, 0, MAX_SEED - MAX_SEEDS),
    seeds: single ? 1 : number('seeds', DEFAULT_SEEDS, 1, MAX_SEEDS),
    options: { ...(mode !== undefined && { mode: mode satisfies SimMode }), trace: switches.has('trace') },
    jobs: number('jobs', availableParallelism(), 1, MAX_JOBS),
    json: switches.has('json'),
    quiet: switches.has('quiet') || !process.stderr.isTTY,
    plant: planted(),
  }
  // Here and not in a thread first: one line, should there be no addon.
  const simulator = await loadSimulator()
  const interrupt = onInterrupt()
  return switches.has('paths') ? runPaths(simulator.simPaths(), settings, interrupt) : new Campaign(settings, interrupt).run()
}

/** Options that say different things about what to run. */
function refuseTogether(given: ReadonlySet<string>): void {
  const both = (one: string, ...others: string[]) => {
    const other = others.find((name) => given.has(name))
    if (given.has(one) && other !== undefined) throw new UsageError(`expected --${one} or --${other}, got both`, 'sim')
  }
  both('paths', 'seeds', 'from', 'seed', 'trace', 'mode')
  both('seed', 'seeds', 'from')
  if (given.has('trace') && !given.has('seed')) throw new UsageError('expected --seed S beside --trace, got none', 'sim')
}

function planted(): Settings['plant'] {
  const match = /^([a-z]+):(\d+)$/.exec(process.env['PACELINE_SIM_PLANT'] ?? '')
  return match === null ? undefined : { kind: match[1] ?? '', seed: Number(match[2]) }
}

class Campaign {
  readonly #settings: Settings
  readonly #interrupt: AbortSignal
  readonly #totals = new SimTotals()
  readonly #progress: Progress
  readonly #complaints: [seed: number, what: string][] = []
  #told = 0
  #trace: string | undefined

  constructor(settings: Settings, interrupt: AbortSignal) {
    this.#settings = settings
    this.#interrupt = interrupt
    this.#progress = new Progress('sim', settings.seeds, settings.quiet, (done, total, rate) => {
      const { failures } = this.#totals
      const failed = `${count(failures)} failed`
      return `${count(done)} of ${count(total)} worlds  ${rate.toFixed(1)}/s  ${failures > 0 ? paint('red', failed) : failed}`
    })
  }

  async run(): Promise<number> {
    const { seeds, jobs, options } = this.#settings
    const workers = new SimWorkers(Math.min(jobs, seeds))
    let shrunk: string | undefined
    try {
      this.#progress.update(0)
      await workers.run(this.#chunks(), (news) => this.#take(news), this.#interrupt)
      this.#progress.clear()
      if (options.trace !== true) shrunk = await this.#shrink(workers)
    } catch (error) {
      this.#progress.clear()
      // Told before the threads are ended: a world takes its time.
      if (this.#interrupt.aborted) this.#conclude(true)
      throw error
    } finally {
      await workers.end()
    }
    if (shrunk !== undefined) say(shrunk)
    if (this.#trace !== undefined) await writeOut(this.#trace)
    this.#complain()
    this.#conclude(false)
    return this.#totals.failures === 0 ? ExitCode.Ok : ExitCode.Failed
  }

  /** The seeds in order, few at a time; a planted failure alone. */
  *#chunks(): Generator<Job> {
    const { from, seeds, jobs, plant } = this.#settings
    const end = from + seeds
    for (let at = from; at < end; ) {
      const fair = Math.max(1, Math.min(CHUNK_SEEDS, Math.ceil((end - at) / (jobs * 2))))
      let count = Math.min(fair, end - at)
      if (plant !== undefined && at < plant.seed) count = Math.min(count, plant.seed - at)
      const strikes = plant?.seed === at
      if (strikes) count = 1
      yield { run: 'seeds', from: at, count, options: this.#optionsOf(strikes) }
      at += count
    }
  }

  #optionsOf(strikes: boolean): SimOptions {
    const { options, plant } = this.#settings
    return strikes && plant !== undefined ? { ...options, plant: plant.kind } : options
  }

  #take(news: News): void {
    if (news.kind !== 'world') return
    const { failure, ...told } = JSON.parse(news.verdict) as Verdict
    // Its own last line is the replay, but it cannot know of --mode.
    const verdict = { ...told, failure: failure?.replace(/\nreplay: .*$/, '') ?? null }
    this.#totals.add(verdict)
    if (news.log !== undefined) this.#trace = news.log
    if (verdict.failure !== null) this.#complaints.push([verdict.seed, verdict.failure])
    // A trace comes first: who looks at its end wants to see how it ended.
    if (this.#settings.options.trace !== true) this.#complain()
    this.#progress.update(this.#totals.seeds)
  }

  #complain(): void {
    for (const [seed, what] of this.#complaints.splice(0)) {
      this.#progress.clear()
      this.#told++
      if (this.#told <= MAX_TOLD) {
        const mode = this.#settings.options.mode
        say(`${paint('red', 'paceline:')} expected every promise kept, got: ${what}`)
        say(`  replay: npx paceline sim --seed ${seed} --trace${mode === undefined ? '' : ` --mode ${mode}`}`)
      } else if (this.#told === MAX_TOLD + 1) say('paceline: there are more failures; they are counted')
    }
  }

  /** The first failure as small as it gets in a short time. */
  async #shrink(workers: SimWorkers): Promise<string | undefined> {
    const seed = this.#totals.firstFailed
    if (seed === undefined) return undefined
    if (!this.#settings.quiet) say(paint('dim', `shrinking seed ${seed}, at most ${SHRINK_MS / 1000} s`))
    let text: string | null = null
    const job: Job = { run: 'shrink', seed, options: this.#optionsOf(this.#settings.plant?.seed === seed), milliseconds: SHRINK_MS }
    const take = (news: News) => {
      if (news.kind === 'shrunk') text = news.text
    }
    await workers.run([job], take, this.#interrupt)
    // Assigned in a callback, which the compiler does not see.
    const found = text as string | null
    if (found === null) return `seed ${seed} does not fail a second time: it was not shrunk`
    return `seed ${seed}, shrunk:\n${found.replace(/\n?replay: .*$/, '').replace(/^(?=.)/gm, '  ')}`
  }

  #conclude(interrupted: boolean): void {
    const report = this.#totals.report(interrupted)
    if (this.#settings.json) sayJson(report)
    // After a trace, a table would be in its way.
    else if (this.#trace === undefined) process.stdout.write(render(report))
  }
}

/** Waits for a slow reader, and stops for one that has gone. */
async function writeOut(text: string): Promise<void> {
  for (let at = 0; at < text.length && process.stdout.writable; at += SLICE_CHARACTERS) {
    if (process.stdout.write(text.slice(at, at + SLICE_CHARACTERS))) continue
    await new Promise<void>((resume) => {
      const done = () => {
        process.stdout.off('drain', done).off('error', done).off('close', done)
        resume()
      }
      process.stdout.on('drain', done).on('error', done).on('close', done)
    })
  }
}

async function runPaths(names: readonly string[], settings: Settings, interrupt: AbortSignal): Promise<number> {
  const begin = performance.now()
  const reports: PathReport[] = []
  const progress = new Progress('paths', names.length, settings.quiet, (done, total) => `${done} of ${total}`)
  const workers = new SimWorkers(Math.min(settings.jobs, names.length))
  const conclude = (interrupted: boolean): number => {
    reports.sort((a, b) => names.indexOf(a.path) - names.indexOf(b.path))
    const failures = reports.filter((report) => !report.ok).length
    const wallSeconds = Math.round(performance.now() - begin) / 1000
    if (settings.json) sayJson({ paths: reports, failures, wallSeconds, ...(interrupted && { interrupted }) })
    else process.stdout.write(renderPaths(reports, failures))
    return failures === 0 ? ExitCode.Ok : ExitCode.Failed
  }
  try {
    progress.update(0)
    const jobs = names.map((name): Job => ({ run: 'path', name }))
    const take = (news: News) => {
      if (news.kind !== 'path') return
      reports.push(JSON.parse(news.report) as PathReport)
      progress.update(reports.length)
    }
    await workers.run(jobs, take, interrupt)
    progress.clear()
  } catch (error) {
    progress.clear()
    if (interrupt.aborted) conclude(true)
    throw error
  } finally {
    await workers.end()
  }
  return conclude(false)
}

function renderPaths(reports: readonly PathReport[], failures: number): string {
  const width = Math.max(4, ...reports.map(({ path }) => path.length))
  const row = (path: string, took: string, ceiling: string, limit: string, verdict: string) =>
    `${path.padEnd(width)}${took.padStart(12)}${ceiling.padStart(12)}${limit.padStart(12)}${verdict === '' ? '' : `  ${verdict}`}\n`
  const ms = (value: number | undefined) => (value === undefined ? '?' : `${count(value)} ms`)
  const rows = reports.map(({ path, completionMs, ceilingMs, percentOfLimit, ok, what }) => {
    const verdict = ok ? paint('green', 'ok', process.stdout) : paint('red', what ?? 'too slow', process.stdout)
    return row(path, ms(completionMs), ms(ceilingMs), percentOfLimit === undefined ? '?' : `${percentOfLimit.toFixed(1)} %`, verdict)
  })
  return `${row('path', 'took', 'ceiling', 'of its rate', '')}${rows.join('')}${count(reports.length)} paths, ${count(failures)} ${failures === 1 ? 'failure' : 'failures'}\n`
}

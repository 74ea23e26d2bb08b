import { setTimeout as sleep } from 'node:timers/promises';
import { formatDuration } from '../api/duration.ts';
import { Cache } from '../cache/pass.ts';
import type { PassProgress, PassReport, PurgeReport } from '../cache/report.ts';
import type { ExitCode } from './exit.ts';
import { isStop, tellStopped } from './exit.ts';
import { demandsOn, freeSpace } from './free-space.ts';
import type { Io } from './io.ts';
import { outJson } from './io.ts';
import { tellNotes } from './notes.ts';
import type { PolicyOptions } from './options.ts';
import type { Outcome } from './outcome.ts';
import type { Work } from './passes.ts';
import { attempt, exitCodeOf, look, passOver } from './passes.ts';
import { ProgressLine } from './progress.ts';
import { pruneJson, pruneText } from './prune-output.ts';
import { count } from './table.ts';
import type { Target } from './targets.ts';
import { openTargets, titleOf } from './targets.ts';

export interface PruneOptions extends PolicyOptions {
  readonly dryRun?: boolean;
  /** ms */
  readonly rest: number;
  /** ms */
  readonly settle: number;
}

/** Applies the limits of every policy once, and deletes what was evicted. */
export async function prune(options: PruneOptions, io: Io): Promise<ExitCode> {
  const { targets, policies } = await openTargets(options);
  tellNotes(policies, { scheduleIgnored: true }, io);
  const signal = io.stopSignal();
  const settings = { allowedRoots: options.allowedRoot, settleMs: options.settle, restMs: options.rest };
  using progress = new ProgressLine(io);
  using scope = new DisposableStack();
  // The same one evicts and purges: it knows which items are its own, and cuts no other's rest short.
  const caches = new Map<Target, Cache>();
  const evict: Work = (_, target) => {
    const cache = scope.use(new Cache(target.cache, settings));
    caches.set(target, cache);
    return cache.pass({ mode: 'Enforce', trigger: 'Manual', signal, onProgress: (at) => show(progress, target.cache.name, at) });
  };
  const demands = await demandsOn(targets.filter((target) => !mayEvict(target, options)), settings);
  const evicted: Outcome[] = [];
  for (const target of targets) {
    const work = mayEvict(target, options) ? evict : look(signal, demands);
    if (!signal.aborted) evicted.push(...(await untilStopped(() => passOver([target], settings, work)) ?? []));
  }
  const rested: Outcome[] = [];
  // What is told to stop while it rests or is deleted has been evicted all the same; the next run deletes it.
  for (const outcome of evicted) {
    const purged = signal.aborted ? outcome : await untilStopped(() => purge(outcome, caches.get(outcome.target), { restMs: options.rest, signal, progress }));
    rested.push(purged ?? outcome);
  }
  const outcomes = await freeSpace(rested, caches, { signal, onProgress: ({ cache: { name } }, at) => show(progress, name, at) });
  progress.clear();
  if (options.output === 'json') outJson(io, { caches: outcomes.map(pruneJson) });
  else io.out(outcomes.map((outcome) => pruneText(outcome, { title: titleOf(outcome.target, targets), mayEvict: mayEvict(outcome.target, options) })).join('\n'));
  return signal.aborted ? tellStopped(io) : exitCodeOf(outcomes);
}

/** Undefined where it was told to stop before there was anything to tell. */
async function untilStopped<T>(act: () => Promise<T>): Promise<T | undefined> {
  try {
    return await act();
  } catch (error) {
    if (!isStop(error)) throw error;
    return undefined;
  }
}

function mayEvict({ mode }: Target, { dryRun = false }: PruneOptions): boolean {
  return mode === 'Enforce' && !dryRun;
}

/** Waits as long as what was evicted has to rest, deletes it, and looks once more, so that what is shown is what is there. */
async function purge(outcome: Outcome, cache: Cache | undefined, { restMs, signal, progress }: { restMs: number; signal: AbortSignal; progress: ProgressLine }): Promise<Outcome> {
  const { report, target } = outcome;
  if (cache === undefined || report === undefined || report.purgeDueAtMs === null) return outcome;
  const { name } = target.cache;
  // Until the last that was evicted has rested; `purgeDueAtMs` is when the first has.
  await rest(report.finishedAtMs + restMs, name, signal, progress);
  return await attempt(outcome, async () => {
    const purged = await cache.purge({ signal, onProgress: (at) => show(progress, name, at) });
    const after = await cache.scan(signal);
    return { ...outcome, report: { ...withoutRevived(report, purged), after }, purged, errors: [...outcome.errors, ...purged.errors] };
  });
}

/** What came back while it rested was not evicted in the end. */
function withoutRevived(report: PassReport, { revived, revivedNames }: PurgeReport): PassReport {
  const back = new Set([...report.plan.evict].filter(({ entry }) => revivedNames.includes(entry.name)).map(({ entry }) => entry.key));
  return { ...report, evicted: report.evicted.filter(({ key }) => !back.has(key)), revived: report.revived + revived };
}

async function rest(untilMs: number, name: string, signal: AbortSignal, progress: ProgressLine): Promise<void> {
  const fromMs = Date.now();
  for (let nowMs = fromMs; nowMs < untilMs; nowMs = Date.now()) {
    progress.show(`${name}: evicted entries rest for ${formatDuration(untilMs - fromMs + 999)}`, (nowMs - fromMs) / (untilMs - fromMs));
    await sleep(Math.min(200, untilMs - nowMs), undefined, { signal });
  }
}

function show(progress: ProgressLine, name: string, { step, done, total, waitMs = 0 }: PassProgress): void {
  const entries = count(total, 'entry', 'entries');
  if (step === 'Settle' && waitMs === 0) return;
  if (step === 'Settle') progress.show(`${name}: waiting ${formatDuration(waitMs)} for a sign that any of ${entries} is wanted`);
  else progress.show(`${name}: ${step === 'Evict' ? 'evicting' : 'deleting'} ${entries}`, total === 0 ? 1 : done / total);
}

import { formatDuration } from '../api/duration.ts';
import { byFilesystem, SpaceKeeper } from '../cache/free-space.ts';
import type { PassProgress } from '../cache/report.ts';
import type { ExitCode } from './exit.ts';
import { isStop, tellStopped } from './exit.ts';
import type { Io } from './io.ts';
import { outJson } from './io.ts';
import { showMeasuring } from './measuring.ts';
import { tellNotes } from './notes.ts';
import { withOthers } from './on-disk.ts';
import type { PolicyOptions } from './options.ts';
import { exitCodeOfLimits, planAll } from './passes.ts';
import { ProgressLine } from './progress.ts';
import { pruneJson, pruneText } from './prune-output.ts';
import type { PruneSettings, RestProgress } from './pruned-cache.ts';
import { PrunedCache } from './pruned-cache.ts';
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

/** So many passes over one cache at most. Each that is followed by another took something out, so more are hardly ever needed. */
const mostRounds = 10;

/** Applies the limits of every policy once, and deletes what was evicted. */
export async function prune(options: PruneOptions, io: Io): Promise<ExitCode> {
  const { targets, policies } = await openTargets(options);
  tellNotes(policies, { scheduleIgnored: true }, io);
  const signal = io.stopSignal();
  using progress = new ProgressLine(io);
  using scope = new DisposableStack();
  const settings = { allowedRoots: options.allowedRoot, settleMs: options.settle, restMs: options.rest };
  const pruneSettings = { ...settings, signal, onProgress: (target: Target, at: PassProgress | RestProgress) => show(progress, target.cache.name, at), onMeasured: (target: Target) => showMeasuring(progress, target.cache.name) };
  const caches = targets.filter((target) => mayEvict(target, options)).map((target) => scope.use(new PrunedCache(target, pruneSettings)));
  const shown = targets.filter((target) => !mayEvict(target, options));
  const looked = await untilStopped(() => planAll(shown, settings, { io, signal })) ?? [];
  await enforce(caches, pruneSettings);
  for (const cache of caches) await cache.addLeaving();
  progress.clear();
  const ended = targets.flatMap((target) => caches.find((cache) => cache.target === target)?.outcome ?? looked.find((outcome) => outcome.target === target) ?? []);
  const outcomes = await untilStopped(() => withOthers(ended, { allowedRoots: options.allowedRoot, signal })) ?? ended;
  if (options.output === 'json') outJson(io, { caches: outcomes.map(pruneJson) });
  else io.out(outcomes.map((outcome) => pruneText(outcome, { title: titleOf(outcome.target, targets), mayEvict: mayEvict(outcome.target, options) })).join('\n'));
  return signal.aborted ? tellStopped(io) : exitCodeOfLimits(outcomes);
}

/** The limits of the caches first, until they hold or nothing more comes of it; then those of their filesystems. */
async function enforce(caches: readonly PrunedCache[], { signal }: PruneSettings): Promise<void> {
  let due = caches;
  for (let round = 1; due.length > 0 && round <= mostRounds; round += 1) {
    // All of them before any rests: they rest at the same time.
    for (const cache of due) await cache.pass();
    for (const cache of due) await cache.finishPass();
    due = due.filter((cache) => cache.needsAnother);
  }
  for (const { caches: together } of byFilesystem(caches.filter(({ outcome }) => outcome?.report !== undefined))) {
    const keeper = new SpaceKeeper<PrunedCache>();
    await untilStopped(() => keeper.run(together, Date.now, signal));
    for (const cache of together) await cache.finishFreeSpace(keeper.unmetOf(cache));
  }
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

function show(progress: ProgressLine, name: string, at: PassProgress | RestProgress): void {
  if (at.step === 'Rest') {
    const { fromMs, untilMs } = at;
    progress.show(`${name}: evicted entries rest for ${formatDuration(untilMs - fromMs + 999)}`, (Date.now() - fromMs) / (untilMs - fromMs));
    return;
  }
  const { step, done, total, waitMs = 0 } = at;
  const entries = count(total, 'entry', 'entries');
  if (step === 'Settle' && waitMs === 0) return;
  if (step === 'Settle') progress.show(`${name}: waiting ${formatDuration(waitMs)} for a sign that any of ${entries} is wanted`);
  else progress.show(`${name}: ${step === 'Evict' ? 'evicting' : 'deleting'} ${entries}`, total === 0 ? 1 : done / total);
}

import { setTimeout as sleep } from 'node:timers/promises';
import { stopSignal } from '../agent/stop-signal.ts';
import type { PassReport } from '../cache/report.ts';
import { formatBytes } from '../api/quantity.ts';
import { headingText, heldText, limitsText, oddText, shortKey, tallyText } from './cache-text.ts';
import type { ExitCode } from './exit.ts';
import type { Io } from './io.ts';
import { outJson } from './io.ts';
import { tellNotes } from './notes.ts';
import type { PolicyOptions } from './options.ts';
import type { Outcome } from './outcome.ts';
import { tallyOf } from './outcome.ts';
import type { Work } from './passes.ts';
import { exitCodeOf, look, passOver } from './passes.ts';
import { planJson, planText } from './plan.ts';
import { ProgressLine } from './progress.ts';
import { table } from './table.ts';
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
  const signal = stopSignal();
  const settings = { allowedRoots: options.allowedRoot, settleMs: options.settle, restMs: options.rest };
  using progress = new ProgressLine(io);
  const evict = enforce(signal, progress);
  const outcomes = await passOver(targets, settings, (cache, target) => (mayEvict(target, options) ? evict : look(signal))(cache, target));
  progress.clear();
  if (options.output === 'json') outJson(io, { caches: outcomes.map(planJson) });
  else io.out(outcomes.map((outcome) => pruneText(outcome, titleOf(outcome.target, targets), options)).join('\n'));
  return exitCodeOf(outcomes);
}

function mayEvict({ mode }: Target, { dryRun = false }: PruneOptions): boolean {
  return mode === 'Enforce' && !dryRun;
}

/** Evicts, waits as long as what was evicted has to rest, and deletes it. */
function enforce(signal: AbortSignal, progress: ProgressLine): Work {
  return async (cache, { cache: { name } }) => {
    const report = await cache.pass({ mode: 'Enforce', trigger: 'Manual', signal, onProgress: (at) => progress.show(`${name}: ${at}`) });
    return report;
  };
}

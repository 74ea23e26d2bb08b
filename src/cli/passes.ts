import { Cache } from '../cache/pass.ts';
import type { PassReport } from '../cache/report.ts';
import { OperatorError } from '../errors.ts';
import type { Mode } from '../policy/compiled.ts';
import type { Demand } from '../policy/free-space.ts';
import type { ExitCode } from './exit.ts';
import { exitCodes } from './exit.ts';
import type { Outcome } from './outcome.ts';
import type { Target } from './targets.ts';

/** What a command does with one cache while it is open. */
export type Work = (cache: Cache, target: Target) => Promise<PassReport>;

export interface CacheSettings {
  readonly allowedRoots: readonly string[];
  readonly settleMs?: number;
  readonly restMs?: number;
}

/** Works on one cache after another. What fails in one is told in its outcome and hinders no other. */
export async function passOver(targets: readonly Target[], settings: CacheSettings, work: Work): Promise<readonly Outcome[]> {
  const outcomes: Outcome[] = [];
  for (const target of targets) outcomes.push(await outcomeOf(target, settings, work));
  return outcomes;
}

async function outcomeOf(target: Target, settings: CacheSettings, work: Work): Promise<Outcome> {
  return await attempt({ target, report: undefined, errors: [] }, async () => {
    using cache = new Cache(target.cache, settings);
    const report = await work(cache, target);
    return { target, report, errors: report.errors };
  });
}

/** What `act` comes to, or what was known before and the error that ended it. */
export async function attempt(before: Outcome, act: () => Outcome | Promise<Outcome>): Promise<Outcome> {
  try {
    return await act();
  } catch (error) {
    if (!(error instanceof OperatorError)) throw error;
    return { ...before, errors: [...before.errors, { code: error.code, message: error.message }] };
  }
}

/** A look that changes nothing, whatever the policy's mode. */
export function look(signal: AbortSignal, demands: ReadonlyMap<Target, Demand>): Work {
  return (cache, target) => cache.pass({ mode: 'DryRun' satisfies Mode, trigger: 'Manual', demand: demands.get(target), signal });
}

export function exitCodeOf(outcomes: readonly Outcome[]): ExitCode {
  return outcomes.some(({ errors }) => errors.length > 0) ? exitCodes.failed : exitCodes.done;
}

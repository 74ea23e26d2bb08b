import { byFilesystem, isShort, planTogether } from '../cache/free-space.ts';
import { leavingFrom } from '../cache/leaving.ts';
import type { Outlook } from '../cache/outlook.ts';
import { Cache } from '../cache/pass.ts';
import { OperatorError } from '../errors.ts';
import type { ExitCode } from './exit.ts';
import { exitCodes } from './exit.ts';
import type { Io } from './io.ts';
import { showMeasuring } from './measuring.ts';
import type { Outcome } from './outcome.ts';
import { unmetIn } from './outcome.ts';
import { ProgressLine } from './progress.ts';
import type { Target } from './targets.ts';

export interface CacheSettings {
  readonly allowedRoots: readonly string[];
  readonly settleMs?: number;
  readonly restMs?: number;
}

/** Plans every cache, those of one filesystem together, and changes nothing. What fails in one is part of its outcome, and hinders no other. */
export async function planAll(targets: readonly Target[], settings: CacheSettings, { io, signal = io.stopSignal() }: { io: Io; signal?: AbortSignal }): Promise<readonly Outcome[]> {
  using progress = new ProgressLine(io);
  using scope = new DisposableStack();
  const caches = targets.map((target) => scope.use(new Cache(target.cache, { ...settings, onMeasured: showMeasuring(progress, target.cache.name) })));
  const together = new Map<Cache, Outlook>();
  for (const group of byFilesystem(caches)) {
    if (!isShort(group)) continue;
    for (const [cache, { outlook }] of (await planTogether(group, { signal })).shares) together.set(cache, outlook);
  }
  const outcomes: Outcome[] = [];
  for (const [i, target] of targets.entries()) {
    const cache = caches[i]!;
    outcomes.push(await attempt({ target, report: undefined, errors: [] }, async () => {
      const report = await cache.pass({ mode: 'DryRun', trigger: 'Manual', planned: together.get(cache), signal });
      return { target, report, errors: report.errors, leaving: await leavingFrom(target.cache, { ...settings, signal }) };
    }));
  }
  return outcomes;
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

export function exitCodeOf(outcomes: readonly Outcome[]): ExitCode {
  return outcomes.some(({ errors }) => errors.length > 0) ? exitCodes.failed : exitCodes.done;
}

/** The same for commands that apply limits, or say what that would come to. */
export function exitCodeOfLimits(outcomes: readonly Outcome[]): ExitCode {
  const code = exitCodeOf(outcomes);
  return code === exitCodes.done && outcomes.some((outcome) => unmetIn(outcome).length > 0) ? exitCodes.unmet : code;
}

import { idleMsOf } from './lru-order.ts';
import type { LimitName, Limits, UnreachableLimit } from './limits.ts';
import type { Plan } from './plan.ts';
import type { Snapshot } from './snapshot.ts';
import { statsOf } from './snapshot.ts';

/**
 * Why a limit is not met. `Protected`: what is over it is in use, kept or recent. `HeldAlone`, `NotReclaimable`, `BeyondCapacity`: see
 * UnreachableLimit. `Failed`: an entry could not be taken out. `Stopped`: the run ended before. `Meanwhile`: what had to go was used,
 * or something was added, while the run went on.
 */
export type UnmetReason = NonNullable<UnreachableLimit['because']> | 'Protected' | 'Failed' | 'Stopped' | 'Meanwhile';

/** A limit that does not hold; `allowed` and `remaining` as in UnreachableLimit. */
export interface UnmetLimit extends Omit<UnreachableLimit, 'because'> {
  readonly because: UnmetReason;
}

/** What a run left. */
export interface Run {
  readonly plan: Plan;
  readonly limits: Limits;
  readonly after: Snapshot;
  readonly nowMs: number;
  /** Entries that could not be taken out. */
  readonly failed: number;
  readonly stopped: boolean;
}

/** The limits that stay exceeded when everything has gone that a plan evicts. */
export function unmetByPlan({ unreachable, held }: Pick<Plan, 'unreachable' | 'held'>): readonly UnmetLimit[] {
  const nothingHeld = Object.values(held).every(({ entries }) => entries === 0);
  return unreachable.map((each) => ({ ...each, because: each.because ?? (nothingHeld ? 'NotReclaimable' : 'Protected') }));
}

/** The limits that are exceeded after a run: by the figures of the cache as it then is, for a plan only expects what will go. */
export function unmetAfter(run: Run): readonly UnmetLimit[] {
  const planned = unmetByPlan(run.plan);
  const exceeded = exceededAfter(run).map((gap) => {
    const expected = planned.find(({ limit }) => limit === gap.limit);
    // With HeldAlone the plan counts what is protected alone, and evicts nothing else for the limit either.
    if (expected?.because === 'HeldAlone') return expected;
    return expected !== undefined && gap.remaining <= expected.remaining ? { ...expected, remaining: gap.remaining } : { ...gap, because: reasonBeyondPlan(run) };
  });
  const isForeseen = ({ limit }: UnmetLimit) => limit !== 'MaxEntries' && limit !== 'MaxBytes' && exceeded.every((each) => each.limit !== limit);
  return [...exceeded, ...planned.filter(isForeseen)];
}

function exceededAfter(run: Run): readonly Omit<UnmetLimit, 'because'>[] {
  const { maxEntries, maxBytes, maxIdleMs } = run.limits;
  const { entryCount, totalBytes } = statsOf(run.after);
  const actual: readonly (readonly [LimitName, number | null, number])[] = [
    ['MaxEntries', maxEntries, entryCount], ['MaxBytes', maxBytes, totalBytes], ['MaxIdle', maxIdleMs, longestIdleOfPlanned(run)],
  ];
  return actual.flatMap(([limit, allowed, remaining]) => (allowed !== null && remaining > allowed ? [{ limit, allowed, remaining }] : []));
}

function reasonBeyondPlan({ failed, stopped }: Run): UnmetReason {
  if (stopped) return 'Stopped';
  return failed > 0 ? 'Failed' : 'Meanwhile';
}

/** Of the entries that were to go and are still there, ms; 0 where all have gone. */
function longestIdleOfPlanned({ plan, after: { entries }, nowMs }: Run): number {
  let longestMs = 0;
  for (const { entry: { name } } of plan.evict) {
    const row = entries.rowOf(name);
    if (row !== -1) longestMs = Math.max(longestMs, idleMsOf(entries.at(row), nowMs));
  }
  return longestMs;
}

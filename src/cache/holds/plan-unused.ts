import type { Dir } from '../../disk/dir.ts';
import type { Slices } from '../../disk/slices.ts';
import { inSlices } from '../../disk/slices.ts';
import type { Hold } from '../../policy/holds.ts';
import { mergeHolds, noHolds } from '../../policy/holds.ts';
import type { Plan, PlanInput } from '../../policy/plan.ts';
import { planSteps } from '../../policy/plan.ts';
import type { EntryName } from '../../policy/snapshot.ts';
import type { PassError } from '../report.ts';
import type { Holders } from './holders.ts';

export interface PlanUnused {
  readonly plan: Plan;
  /** Entries that could not be asked, and stay for that. */
  readonly errors: readonly PassError[];
}

export interface Asking {
  readonly root: Dir;
  readonly holders: Holders;
  /** Of those that would go, so many are asked, and the large ones among the rest: the others will not go yet. */
  readonly most: number;
  readonly slices: Slices;
}

/** Plans, asks the trees that would go whether they are in use, and plans again around those that are, until every one that goes has said no. */
export async function planUnused(input: PlanInput, { root, holders, most, slices }: Asking): Promise<PlanUnused> {
  const found = new Map<EntryName, Hold>();
  const asked = new Set<EntryName>();
  const errors: PassError[] = [];
  const decisiveBytes = (input.limits.maxBytes ?? Infinity) / decisiveParts;
  for (let ahead = 0; ; ahead = Math.max(1, 2 * ahead)) {
    const plan = await inSlices(planSteps({ ...input, holds: mergeHolds([input.holds, { ...noHolds, entries: found }]) }), slices);
    const before = found.size;
    // Where many that would go are in use one after another, each round asks twice as many of those behind them.
    for (const name of [...going(plan, asked, { most, decisiveBytes }), ...nextInLine(plan, asked, ahead)]) {
      asked.add(name);
      const { hold, error } = await holders.probe({ parent: root, name }, slices);
      if (hold !== undefined) found.set(name, hold);
      if (error !== undefined) errors.push({ ...error, entry: name });
      if (slices.over) await slices.yield();
    }
    if (found.size === before) return { plan, errors };
  }
}

/**
 * Where more would be evicted than `most`, the large ones behind them are asked as well: if they are in use, maxBytes may be out of
 * reach, and then nothing at all is evicted for it. Entries of at least this part of maxBytes are large.
 */
const decisiveParts = 16;

function* going({ evict }: Plan, asked: ReadonlySet<EntryName>, { most, decisiveBytes }: { most: number; decisiveBytes: number }): Generator<EntryName> {
  let left = most;
  for (const { entry: { name, sizeBytes } } of evict) {
    if (left <= 0 && sizeBytes < decisiveBytes) continue;
    left -= 1;
    if (!asked.has(name)) yield name;
  }
}

function* nextInLine({ verdicts }: Plan, asked: ReadonlySet<EntryName>, count: number): Generator<EntryName> {
  if (count === 0) return;
  let left = count;
  for (const { entry: { name }, reason } of verdicts) {
    if (reason !== 'WithinLimits' || asked.has(name)) continue;
    yield name;
    left -= 1;
    if (left === 0) return;
  }
}

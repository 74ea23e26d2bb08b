import type { Slices } from '../../disk/slices.ts';
import { inSlices } from '../../disk/slices.ts';
import type { Hold } from '../../policy/holds.ts';
import { mergeHolds, noHolds } from '../../policy/holds.ts';
import type { Plan, PlanInput } from '../../policy/plan.ts';
import { planSteps } from '../../policy/plan.ts';
import type { EntryName } from '../../policy/snapshot.ts';
import type { PassError } from '../report.ts';
import type { Probed } from './holders.ts';

export interface PlanUnused {
  readonly plan: Plan;
  /** Entries that could not be asked, and stay for that. */
  readonly errors: readonly PassError[];
}

/** What a plan is made of. */
export interface Plannable {
  readonly input: PlanInput;
  /** Of those that would go, so many are asked, and the large ones among the rest: the others will not go yet. */
  readonly most: number;
  /** Asks the tree of an entry whether it is in use. */
  probe(name: EntryName, slices: Slices): Promise<Probed>;
}

/**
 * Plans caches, asks the trees that would go whether they are in use, and plans again around those that are, until every one that goes
 * has said no.
 * @param together what these caches evict beyond their own plans, for the filesystem that they share
 * @returns a plan for each cache, in their order
 */
export async function planUnused(caches: readonly Plannable[], slices: Slices, together: (plans: readonly Plan[]) => readonly Plan[] = (plans) => plans): Promise<readonly PlanUnused[]> {
  const asking = caches.map((cache) => new Asking(cache));
  for (;;) {
    const own: Plan[] = [];
    for (const each of asking) own.push(await each.ownPlan(slices));
    const plans = together(own);
    let found = 0;
    for (const [i, each] of asking.entries()) found += await each.ask(plans[i]!, slices);
    if (found === 0) return asking.map(({ errors }, i) => ({ plan: plans[i]!, errors }));
  }
}

/** One of the caches, and what its entries have answered so far. */
class Asking {
  readonly errors: PassError[] = [];
  readonly #cache: Plannable;
  readonly #found = new Map<EntryName, Hold>();
  readonly #asked = new Set<EntryName>();
  readonly #decisiveBytes: number;
  #ahead = 0;
  #plan: Plan | undefined;

  constructor(cache: Plannable) {
    this.#cache = cache;
    this.#decisiveBytes = (cache.input.limits.maxBytes ?? Infinity) / decisiveParts;
  }

  async ownPlan(slices: Slices): Promise<Plan> {
    const { input } = this.#cache;
    this.#plan ??= await inSlices(planSteps({ ...input, holds: mergeHolds([input.holds, { ...noHolds, entries: this.#found }]) }), slices);
    return this.#plan;
  }

  /** @returns how many were found to be in use */
  async ask(plan: Plan, slices: Slices): Promise<number> {
    const before = this.#found.size;
    // Where many that would go are in use one after another, each round asks twice as many of those behind them.
    for (const name of [...going(plan, this.#asked, { most: this.#cache.most, decisiveBytes: this.#decisiveBytes }), ...nextInLine(plan, this.#asked, this.#ahead)]) {
      this.#asked.add(name);
      const { hold, error } = await this.#cache.probe(name, slices);
      if (hold !== undefined) this.#found.set(name, hold);
      if (error !== undefined) this.errors.push({ ...error, entry: name });
      if (slices.over) await slices.yield();
    }
    const found = this.#found.size - before;
    if (found === 0) return 0;
    this.#ahead = Math.max(1, 2 * this.#ahead);
    this.#plan = undefined;
    return found;
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

import type { FilesystemView, Tenant } from '../cache/free-space.ts';
import { byFilesystem, shortageOf, SpaceKeeper } from '../cache/free-space.ts';
import type { Outlook } from '../cache/outlook.ts';
import { Cache } from '../cache/pass.ts';
import type { PassProgress, PassReport, PurgeReport } from '../cache/report.ts';
import { evictedTally } from '../cache/report.ts';
import type { Demand } from '../policy/free-space.ts';
import type { Limits } from '../policy/limits.ts';
import type { Tally } from '../policy/plan.ts';
import { isStop } from './exit.ts';
import type { Outcome } from './outcome.ts';
import { attempt } from './passes.ts';
import type { CacheSettings } from './passes.ts';
import type { Target } from './targets.ts';

/** What free space wants of each cache, as it would be enforced now. Reads only. */
export async function demandsOn(targets: readonly Target[], settings: CacheSettings): Promise<ReadonlyMap<Target, Demand>> {
  using scope = new DisposableStack();
  const onlookers = targets.map((target) => new Onlooker(target, scope.use(new Cache(target.cache, settings))));
  const demands = new Map<Target, Demand>();
  for (const { tenants: together } of byFilesystem(onlookers)) {
    const shortage = await shortageOf(together, Date.now());
    for (const [{ target }, demand] of shortage?.demands ?? []) demands.set(target, demand);
  }
  return demands;
}

/** A cache that is looked at. */
class Onlooker implements Tenant {
  readonly target: Target;
  protected readonly cache: Cache;

  constructor(target: Target, cache: Cache) {
    this.target = target;
    this.cache = cache;
  }

  get limits(): Limits {
    return this.target.cache.limits;
  }

  filesystem(): FilesystemView {
    return this.cache.filesystem();
  }

  outlook(): Promise<Outlook> {
    return this.cache.plan();
  }

  restingBytes(): Promise<number> {
    return this.cache.restingBytes();
  }

  free(_demand: Demand): Promise<Tally> {
    return Promise.resolve({ entries: 0, bytes: 0 });
  }

  purge(): Promise<void> {
    return Promise.resolve();
  }
}

export interface FreeingOptions {
  readonly signal: AbortSignal;
  readonly onProgress: (target: Target, progress: PassProgress) => void;
}

/** Evicts until the filesystems are as free as the policies want them, or nothing more comes of it. @returns the outcomes with what that took */
export async function freeSpace(outcomes: readonly Outcome[], caches: ReadonlyMap<Target, Cache>, options: FreeingOptions): Promise<readonly Outcome[]> {
  const pruners = outcomes.flatMap((outcome) => {
    const cache = caches.get(outcome.target);
    return cache === undefined || outcome.report === undefined ? [] : [new Pruner(outcome, cache, options)];
  });
  for (const { tenants: together } of byFilesystem(pruners)) {
    const keeper = new SpaceKeeper<Pruner>();
    try {
      while (await keeper.round(together, Date.now, options.signal)) if (!keeper.isDue(Date.now())) break;
    } catch (error) {
      if (!isStop(error)) throw error;
      break;
    }
    for (const pruner of together) await pruner.tell(keeper.unmetOf(pruner));
  }
  return outcomes.map((outcome) => pruners.find(({ target }) => target === outcome.target)?.outcome ?? outcome);
}

/** A cache that is pruned, and what came of it so far. */
class Pruner extends Onlooker {
  outcome: Outcome;
  readonly #options: FreeingOptions;

  constructor(outcome: Outcome, cache: Cache, options: FreeingOptions) {
    super(outcome.target, cache);
    this.outcome = outcome;
    this.#options = options;
  }

  /** All other limits have been applied before. */
  override outlook(): Promise<Outlook> {
    return this.cache.plan({ trigger: 'FreeSpace', signal: this.#options.signal });
  }

  override async free(demand: Demand): Promise<Tally> {
    const { signal } = this.#options;
    let gone = { entries: 0, bytes: 0 };
    this.outcome = await attempt(this.outcome, async () => {
      const report = await this.cache.pass({ mode: 'Enforce', trigger: 'FreeSpace', demand, signal, onProgress: this.#progress });
      gone = evictedTally(report);
      return { ...this.outcome, report: joined(this.outcome.report ?? report, report), errors: [...this.outcome.errors, ...report.errors] };
    });
    await this.purge();
    return gone;
  }

  override async purge(): Promise<void> {
    this.outcome = await attempt(this.outcome, async () => {
      const purged = await this.cache.purge({ signal: this.#options.signal, now: true, onProgress: this.#progress });
      return { ...this.outcome, purged: added(this.outcome.purged, purged), errors: [...this.outcome.errors, ...purged.errors] };
    });
  }

  /** What stays short. */
  async tell(unmet: Demand | undefined): Promise<void> {
    this.outcome = await attempt(this.outcome, () => {
      const { report } = this.outcome;
      if (report === undefined) return this.outcome;
      const plan = { ...report.plan, unreachable: [...report.plan.unreachable, ...(unmet?.unmet ?? [])] };
      return { ...this.outcome, report: { ...report, plan, filesystem: this.filesystem() } };
    });
  }

  readonly #progress = (progress: PassProgress) => this.#options.onProgress(this.target, progress);
}

/** The plan stays that of all limits; what free space took stands among what was evicted. */
function joined(first: PassReport, then: PassReport): PassReport {
  return {
    ...first, after: then.after, evicted: [...first.evicted, ...then.evicted], revived: first.revived + then.revived, raced: first.raced + then.raced,
    leftoversRemoved: first.leftoversRemoved + then.leftoversRemoved, errors: [...first.errors, ...then.errors],
  };
}

function added(first: PurgeReport | undefined, then: PurgeReport): PurgeReport {
  if (first === undefined) return then;
  return {
    ...then, purgedEntries: first.purgedEntries + then.purgedEntries, purgedBytes: first.purgedBytes + then.purgedBytes,
    revived: first.revived + then.revived, revivedNames: [...first.revivedNames, ...then.revivedNames],
  };
}

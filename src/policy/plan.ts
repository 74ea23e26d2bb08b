import type { Hold, Holds } from './holds.ts';
import type { LimitName, Limits, Protect } from './limits.ts';
import type { CacheStats, Entry, Snapshot } from './snapshot.ts';

/** Every fate an entry can have. The same words stand in `explain`, in JSON, in metrics and in the docs. */
export type EvictReason = LimitName;
export type KeepReason = 'InUse' | 'Recent' | 'WithinLimits';

export type Verdict =
  | { readonly entry: Entry; readonly verdict: 'evict'; readonly reason: EvictReason; readonly detail: string }
  | { readonly entry: Entry; readonly verdict: 'keep'; readonly reason: KeepReason; readonly detail: string; readonly hold?: Hold };

export interface Tally {
  readonly entries: number;
  readonly bytes: number;
}

/** A limit that stays exceeded because what is over it is protected. */
export interface UnreachableLimit {
  readonly limit: LimitName;
  readonly allowed: number;
  /** What is left after everything that may go has gone, in the unit of the limit. */
  readonly remaining: number;
}

export interface Plan {
  readonly before: CacheStats;
  readonly after: CacheStats;
  /** One verdict an entry, least recently used first. */
  readonly verdicts: readonly Verdict[];
  readonly evict: readonly Extract<Verdict, { verdict: 'evict' }>[];
  readonly held: { readonly inUse: Tally; readonly kept: Tally; readonly recent: Tally };
  readonly unreachable: readonly UnreachableLimit[];
}

export interface PlanInput {
  readonly snapshot: Snapshot;
  readonly limits: Limits;
  readonly protect: Protect;
  readonly holds: Holds;
  readonly nowMs: number;
}

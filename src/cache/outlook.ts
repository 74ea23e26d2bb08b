import type { CompiledCache } from '../policy/compiled.ts';
import type { Filesystem } from '../policy/filesystem.ts';
import type { Holds } from '../policy/holds.ts';
import type { Limits } from '../policy/limits.ts';
import type { Plan } from '../policy/plan.ts';
import type { Snapshot } from '../policy/snapshot.ts';
import type { PassError, PassReport } from './report.ts';

/** What would happen to a cache, and why. */
export interface Outlook {
  readonly snapshot: Snapshot;
  readonly holds: Holds;
  readonly plan: Plan;
  readonly filesystem: Filesystem;
  /** What could not be asked whether it is in use. */
  readonly errors: readonly PassError[];
}

/** What a pass came to, without when and where. */
export type PassOutcome = Omit<PassReport, 'cacheName' | 'root' | 'trigger' | 'mode' | 'startedAtMs' | 'finishedAtMs' | 'filesystem' | 'clockDoubt'>;

/** A pass that ends with its plan. */
export function lookedAt({ snapshot, holds, plan, errors }: Outlook): PassOutcome {
  return {
    before: snapshot, after: snapshot, plan, evicted: [], stopped: false, unfinished: false, revived: 0, raced: 0, failed: 0, longestLockMs: 0, holdSources: holds.sources,
    leftoversRemoved: 0, errors, purgeDueAtMs: null,
  };
}

/** While the clock is not trusted: nothing goes for its age, and no pin expires. */
export function withoutTime({ limits, protect }: CompiledCache): Pick<CompiledCache, 'limits' | 'protect'> {
  return { limits: { ...limits, maxIdleMs: null }, protect: { ...protect, keep: protect.keep.map((pin) => ({ ...pin, untilMs: null })) } };
}

/** Free space alone: all other limits have their own time. */
export function freeSpaceOnly(limits: Limits): Limits {
  return { ...limits, maxEntries: null, maxBytes: null, maxIdleMs: null };
}

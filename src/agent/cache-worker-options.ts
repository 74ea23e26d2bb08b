import type { Room } from '../cache/room.ts';
import type { Log } from '../observe/log.ts';
import type { CompiledCache, CompiledPolicy } from '../policy/compiled.ts';
import type { CacheState, Totals } from '../policy/node-report.ts';
import type { Witness } from './metrics.ts';

export interface CacheWorkerOptions {
  readonly policy: CompiledPolicy;
  readonly spec: CompiledCache;
  readonly allowedRoots: readonly string[];
  readonly settleMs?: number | undefined;
  readonly restMs?: number | undefined;
  /** How many entries one pass takes out at most. Default: all that have to go. */
  readonly mostAtOnce?: number | undefined;
  /** What the caches of one agent have to fit in. Default: nothing. */
  readonly room?: Room | undefined;
  readonly log: Log;
  readonly tickMs?: number | undefined;
  /** When the policy's schedule is next due on this node after a moment; null without a schedule. */
  readonly nextDueAtMs: (afterMs: number) => number | null;
  /** Copy: it is not known whether a later policy has been told here. */
  readonly origin?: 'Source' | 'Copy' | undefined;
  /** What was known of the cache under the policy before, so that a change of limits leaves no gap in the reports. */
  readonly previous: CacheState | undefined;
  /** What a report says was counted here, where the disk no longer does. */
  readonly knownTotals: Totals | undefined;
  readonly witness?: Witness | undefined;
}

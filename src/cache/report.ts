import type { ErrorCode } from '../errors.ts';
import type { Mode } from '../policy/compiled.ts';
import type { Filesystem } from '../policy/filesystem.ts';
import type { HoldSource } from '../policy/holds.ts';
import type { Plan, Tally } from '../policy/plan.ts';
import type { EvictReason } from '../policy/reasons.ts';
import type { EntryName, Snapshot } from '../policy/snapshot.ts';

/** Why a pass ran. */
export const triggers = ['Start', 'Change', 'Schedule', 'Manual', 'FreeSpace'] as const;

export type Trigger = (typeof triggers)[number];

export interface EvictedEntry {
  readonly name: EntryName;
  readonly key: string;
  readonly description: string;
  /** Its share, where it has hard links outside of it. */
  readonly sizeBytes: number;
  /** What the filesystem gets back from it when it is deleted, after those that went before it. */
  readonly freedBytes: number;
  readonly reason: EvictReason;
  /** The reason in words. */
  readonly detail: string;
}

/** Something that failed while all else went on. */
export interface PassError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly entry?: string;
}

/** What one pass over one cache saw and did. */
export interface PassReport {
  readonly cacheName: string;
  readonly root: string;
  readonly trigger: Trigger;
  readonly mode: Mode;
  readonly startedAtMs: number;
  readonly finishedAtMs: number;
  /** As scanned at the start of the pass. */
  readonly before: Snapshot;
  /** As it stands after the pass: entries that went are gone, entries that came back are there. */
  readonly after: Snapshot;
  /** What was decided. In a dry run this is all that happens. */
  readonly plan: Plan;
  readonly evicted: readonly EvictedEntry[];
  /** Told to stop once evicting had begun: what had not left by then is back. */
  readonly stopped: boolean;
  /** More had to go than one pass takes out: the next goes on. */
  readonly unfinished: boolean;
  /** Taken out, by this pass or one before, then found wanted by the runtime, and put back. */
  readonly revived: number;
  /** Planned, then found changed or locked by another process, and left alone. */
  readonly raced: number;
  /** Planned, and could not be taken out, now or by a pass before; `errors` names each. It is tried again after a backoff. */
  readonly failed: number;
  /** The longest that one entry was locked against its users. */
  readonly longestLockMs: number;
  readonly holdSources: readonly HoldSource[];
  readonly filesystem: Filesystem;
  /** Why the wall clock is not trusted, so that nothing goes for its age and no pin expires; undefined where it is. */
  readonly clockDoubt: string | undefined;
  readonly leftoversRemoved: number;
  readonly errors: readonly PassError[];
  /** When the trash of this pass may be purged, or null when there is none. */
  readonly purgeDueAtMs: number | null;
}

/** For who has read a report of a pass that evicted, and keeps it no longer: the rows of what is left are a copy, whose memory goes now. */
export function releaseAfter({ before, after }: Pick<PassReport, 'before' | 'after'>): void {
  if (after.entries !== before.entries) after.entries.release();
}

/** How much went. Bytes are what the filesystem gets back of it. */
export function evictedTally({ evicted }: Pick<PassReport, 'evicted'>): Tally {
  return { entries: evicted.length, bytes: evicted.reduce((sum, { freedBytes }) => sum + freedBytes, 0) };
}

/** Where a pass or a purge is. Counts are of entries. */
export interface PassProgress {
  readonly step: 'Settle' | 'Evict' | 'Purge';
  readonly done: number;
  readonly total: number;
  /** How long this step waits, for who shows it; only with Settle. */
  readonly waitMs?: number;
}

/** What a purge deleted of what had been evicted before. */
export interface PurgeReport {
  readonly purgedEntries: number;
  /** As the metadata of the entries said; of a file with several links nothing, until its last one. */
  readonly purgedBytes: number;
  /** Evicted before, then found wanted by the runtime, and put back instead. */
  readonly revived: number;
  /** Which these were, by the names of their directories. */
  readonly revivedNames: readonly EntryName[];
  /** When there will be something to purge again, or null. */
  readonly nextDueAtMs: number | null;
  readonly errors: readonly PassError[];
}

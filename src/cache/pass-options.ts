import type { Fault } from '../disk/dir.ts';
import type { Mode } from '../policy/compiled.ts';
import type { Outlook } from './outlook.ts';
import type { PassProgress, Trigger } from './report.ts';
import type { Room } from './room.ts';
import type { Clock } from './site.ts';

/** How a cache is worked on, for as long as it is. */
export interface CacheOptions {
  readonly allowedRoots: readonly string[];
  /** How long whoever has just looked at an entry has to show it; waited for twice a batch. Default 2,000 ms. */
  readonly settleMs?: number;
  /** How long what this one evicted rests in the trash, in case it is wanted after all. Default 60,000 ms, which is the least for all else there. */
  readonly restMs?: number;
  /** How long nothing may have changed in what a put left behind before it goes. Default a day. */
  readonly leftoverAgeMs?: number;
  /** How many entries one pass takes out at most: each is kept in mind until it rests. Default: all that have to go. */
  readonly mostAtOnce?: number;
  /** What has to hold all that is found in this cache, and in others that share it. Default: nothing has to. */
  readonly room?: Room | undefined;
  readonly clock?: Clock;
  /**
   * For a process that scans again and again: it keeps in memory what it found, so that the next scan reads only what changed, and measures
   * the entries of a `directory` in turns, starting from saved measures. Without it the first scan measures every entry. Default false.
   */
  readonly remembers?: boolean;
  /** Called for each entry that a scan measures, with how many it has measured and how many it will: where that may take long. */
  readonly onMeasured?: ((done: number, total: number) => void) | undefined;
  /** For tests: called before every step that changes the disk. */
  readonly fault?: Fault;
}

export interface WorkOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: PassProgress) => void) | undefined;
}

export interface PassOptions extends WorkOptions {
  /** Only Enforce writes anything below the root. */
  readonly mode: Mode;
  /** With FreeSpace a plan leaves all limits of the cache to their own time. */
  readonly trigger: Trigger;
  /** What was planned a moment ago. Default: plans under the lock. Whatever has changed since is left alone. */
  readonly planned?: Outlook | undefined;
}

/** Which limits a plan is made by. */
export type PlanOptions = Pick<PassOptions, 'trigger' | 'signal'>;

export interface PurgeOptions extends WorkOptions {
  /** Free space is short: nothing rests. */
  readonly now?: boolean;
}

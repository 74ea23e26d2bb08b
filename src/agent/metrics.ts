import type { PassReport, PurgeReport } from '../cache/report.ts';
import type { Metrics } from '../observe/metrics.ts';
import type { CompiledPolicy } from '../policy/compiled.ts';
import type { CacheState } from '../policy/node-report.ts';
import { wantedFree } from '../policy/filesystem.ts';
import type { Tally } from '../policy/plan.ts';
import type { EvictReason } from '../policy/reasons.ts';
import { usageOf } from '../policy/usage.ts';
import type { ReportSink } from './loop.ts';

/** What happened to a cache. Said by the worker at once, whatever becomes of the report. */
export interface Witness {
  passed(cacheName: string, report: PassReport): void;
  purged(cacheName: string, report: PurgeReport): void;
}

type Labels = Readonly<Record<string, string>>;
type Sample = readonly [value: number | null | undefined, labels?: Labels];

/** Read at each scrape from what is known of the caches then. What is not known, or has no limit, is not there. */
interface CacheGauge {
  readonly name: string;
  readonly help: string;
  readonly labels?: readonly string[];
  readonly samples: (state: CacheState) => readonly Sample[];
}

const gauges: readonly CacheGauge[] = [
  { name: 'cache_entries', help: 'Entries that are whole.', samples: ({ look }) => [[look?.stats.entryCount]] },
  { name: 'cache_bytes', help: 'Sum of the sizes of these entries.', samples: ({ look }) => [[look?.stats.totalBytes]] },
  { name: 'cache_limit_entries', help: 'limits.maxEntries.', samples: ({ limits }) => [[limits.maxEntries]] },
  { name: 'cache_limit_bytes', help: 'limits.maxBytes.', samples: ({ limits }) => [[limits.maxBytes]] },
  { name: 'cache_limit_idle_seconds', help: 'limits.maxIdle.', samples: ({ limits }) => [[limits.maxIdleMs === null ? null : limits.maxIdleMs / 1000]] },
  { name: 'cache_limit_free_bytes', help: 'limits.minFree, as bytes of this filesystem.', samples: ({ look, limits }) => [[limits.minFree && look && wantedFree(limits, look.filesystem).bytes]] },
  { name: 'cache_limit_free_inodes', help: 'limits.minFreeInodes, as a number of them; absent where they are not counted.', samples: ({ look, limits }) => [[limits.minFreeInodes && look?.filesystem.inodes && wantedFree(limits, look.filesystem).inodes]] },
  { name: 'cache_usage_ratio', help: 'How full the cache is against its tightest limit; 1 is exactly at the limit.', samples: ({ look, limits }) => [[look && usageOf(look.stats, limits, look.filesystem)]] },
  {
    name: 'cache_held_entries', help: 'Entries that may not be evicted, by what holds them.', labels: ['source'],
    samples: (state) => heldBy(state).map(([source, { entries }]) => [entries, { source }]),
  },
  {
    name: 'cache_held_bytes', help: 'Their sizes.', labels: ['source'],
    samples: (state) => heldBy(state).map(([source, { bytes }]) => [bytes, { source }]),
  },
  { name: 'cache_would_evict_entries', help: 'Entries over a limit and free to go, as of the last look.', samples: ({ look }) => [[look?.wouldEvict.entries]] },
  { name: 'cache_would_evict_bytes', help: 'What the filesystem would get back from them.', samples: ({ look }) => [[look?.wouldEvict.bytes]] },
  {
    name: 'cache_limit_unreachable', help: '1 for each limit that stays exceeded, whatever goes.', labels: ['limit'],
    samples: ({ look }) => (look?.unreachable ?? []).map(({ limit }) => [1, { limit }]),
  },
  { name: 'cache_damaged_entries', help: 'Entries whose metadata or directory makes no sense; never evicted.', samples: ({ look }) => [[look?.damaged]] },
  { name: 'cache_leftovers', help: 'What puts and crashes left behind.', samples: ({ look }) => [[look?.leftovers]] },
  { name: 'cache_unrecognised_names', help: 'Names that the format does not know; never touched.', samples: ({ look }) => [[look?.unrecognised]] },
  {
    name: 'cache_measured_timestamp_seconds', help: 'Since when the entries of a large directory were measured, a part of them at each look; absent where all were within a minute of it.',
    samples: ({ look }) => [[look?.measuredSinceMs === undefined ? undefined : look.measuredSinceMs / 1000]],
  },
  { name: 'cache_filesystem_capacity_bytes', help: 'Size of the filesystem the cache lies on.', samples: ({ look }) => [[look?.filesystem.capacityBytes]] },
  { name: 'cache_filesystem_available_bytes', help: 'What is free there.', samples: ({ look }) => [[look?.filesystem.availableBytes]] },
  { name: 'cache_filesystem_inodes', help: 'Inodes there; absent where they are not counted.', samples: ({ look }) => [[look?.filesystem.inodes]] },
  { name: 'cache_filesystem_inodes_free', help: 'Inodes free there.', samples: ({ look }) => [[look?.filesystem.inodesFree]] },
  {
    name: 'cache_problem', help: '1 while the cache cannot be read or enforced, with the reason.', labels: ['reason'],
    samples: ({ problem }) => (problem === undefined ? [] : [[1, { reason: problem.reason }]]),
  },
  {
    name: 'cache_last_run_timestamp_seconds', help: 'When the limits were last applied.',
    samples: ({ lastRun }) => [[lastRun && lastRun.finishedAtMs / 1000]],
  },
];

function heldBy({ look }: CacheState): (readonly [source: string, { entries: number; bytes: number }])[] {
  return look === undefined ? [] : [...look.inUseBy, ['Kept', look.held.kept], ['Recent', look.held.recent]];
}

function talliesByReason(evicted: PassReport['evicted']): ReadonlyMap<EvictReason, Tally> {
  const tallies = new Map<EvictReason, { entries: number; bytes: number }>();
  for (const { reason, freedBytes } of evicted) {
    const tally = tallies.get(reason) ?? { entries: 0, bytes: 0 };
    tally.entries += 1;
    tally.bytes += freedBytes;
    tallies.set(reason, tally);
  }
  return tallies;
}

/** Seconds. A look takes milliseconds, a run that evicts at least two settles. */
const passBuckets = [0.005, 0.02, 0.1, 0.5, 2, 5, 10, 30, 120];

/** The agent's metrics of its caches. What belongs to a cache that has left the policy is forgotten. docs/metrics.md explains each. */
export class AgentMetrics implements ReportSink, Witness {
  readonly #metrics: Metrics;
  readonly #count;
  readonly #longestLockMs = new Map<string, number>();
  #states: readonly CacheState[] = [];

  constructor(metrics: Metrics) {
    this.#metrics = metrics;
    for (const gauge of gauges) this.#declare(gauge);
    this.#declare({
      name: 'cache_longest_lock_hold_seconds', help: 'The longest that a lock of an entry was held since the agent started.',
      samples: ({ name }) => [[(this.#longestLockMs.get(name) ?? 0) / 1000]],
    });
    const counter = (name: string, help: string, labels: readonly string[] = []) => metrics.counter({ name, help, labels: ['cache', ...labels] });
    this.#count = {
      evictedEntries: counter('cache_evicted_entries_total', 'Entries evicted.', ['reason', 'trigger']),
      evictedBytes: counter('cache_evicted_bytes_total', 'What the filesystem gets back from them: files with hard links elsewhere give nothing until the last one.', ['reason', 'trigger']),
      revived: counter('cache_revived_entries_total', 'Entries taken out, then found wanted, and put back.'),
      raced: counter('cache_raced_entries_total', 'Entries planned to go, then found changed or locked, and left alone.'),
      purgedEntries: counter('cache_purged_entries_total', 'Evicted entries that were deleted for good.'),
      purgedBytes: counter('cache_purged_bytes_total', 'Their sizes.'),
      errors: counter('cache_errors_total', 'What failed for single entries while all else went on, by the code of docs/errors.md.', ['code']),
      filesRead: counter('cache_files_read_total', 'Files opened by scans; divided by the number of passes, files read per scan.'),
      passes: metrics.histogram({ name: 'cache_pass_duration_seconds', help: 'Time of a look (look) or of applying the limits (run), with the settles that it waits for.', labels: ['cache', 'act'] }, passBuckets),
    };
  }

  report(_: CompiledPolicy, states: readonly CacheState[]): void {
    const left = this.#states.filter(({ name }) => !states.some((state) => state.name === name));
    this.#states = states;
    for (const { name } of left) this.#forget(name);
  }

  passed(cache: string, report: PassReport): void {
    const { trigger, evicted, revived, raced, errors, before, startedAtMs, finishedAtMs, longestLockMs, mode } = report;
    this.#count.passes.observe({ cache, act: mode === 'Enforce' ? 'run' : 'look' }, Math.max(0, finishedAtMs - startedAtMs) / 1000);
    this.#count.filesRead.inc({ cache }, before.filesRead);
    this.#longestLockMs.set(cache, Math.max(longestLockMs, this.#longestLockMs.get(cache) ?? 0));
    for (const [reason, { entries, bytes }] of talliesByReason(evicted)) {
      this.#count.evictedEntries.inc({ cache, reason, trigger }, entries);
      this.#count.evictedBytes.inc({ cache, reason, trigger }, bytes);
    }
    this.#count.revived.inc({ cache }, revived);
    this.#count.raced.inc({ cache }, raced);
    this.#countErrors(cache, errors);
  }

  purged(cache: string, { purgedEntries, purgedBytes, revived, errors }: PurgeReport): void {
    this.#count.purgedEntries.inc({ cache }, purgedEntries);
    this.#count.purgedBytes.inc({ cache }, purgedBytes);
    this.#count.revived.inc({ cache }, revived);
    this.#countErrors(cache, errors);
  }

  #countErrors(cache: string, errors: PassReport['errors']): void {
    for (const { code } of errors) this.#count.errors.inc({ cache, code });
  }

  #declare({ name, help, labels = [], samples }: CacheGauge): void {
    this.#metrics.gauge({ name, help, labels: ['cache', ...labels] }, (gauge) => {
      gauge.reset();
      for (const state of this.#states) {
        for (const [value, more] of samples(state)) if (value !== null && value !== undefined) gauge.set({ cache: state.name, ...more }, value);
      }
    });
  }

  #forget(cache: string): void {
    this.#longestLockMs.delete(cache);
    this.#metrics.forget('cache', cache);
  }
}

import type { Leaving } from '../cache/leaving.ts';
import type { OtherBytes } from '../cache/other-bytes.ts';
import type { PassError, PassReport, PurgeReport } from '../cache/report.ts';
import { isoSeconds } from '../policy/node-report.ts';
import type { Plan, Tally } from '../policy/plan.ts';
import type { CacheStats, Leftover } from '../policy/snapshot.ts';
import { statsOf } from '../policy/snapshot.ts';
import type { UnmetLimit } from '../policy/unmet-limits.ts';
import { unmetAfter, unmetByPlan } from '../policy/unmet-limits.ts';
import { formatUsage, usageOf } from '../policy/usage.ts';
import type { Target } from './targets.ts';

/** What a command did in one cache. */
export interface Outcome {
  readonly target: Target;
  /** Undefined where the cache could not be read at all; then `errors` says why. */
  readonly report: PassReport | undefined;
  readonly errors: readonly PassError[];
  /** What was deleted for good; undefined where there was nothing to delete. */
  readonly purged?: PurgeReport;
  /** What is on its way out as things stand; undefined where it was not read. */
  readonly leaving?: Leaving;
  /** What takes space besides entries; undefined where it was not measured. */
  readonly others?: OtherBytes;
}

/** The part of JSON output that every command shares. The names are those of the NodeCache's status where it has the same. */
export interface CacheJson {
  readonly name: string;
  readonly policy: string;
  readonly root: string;
  readonly mode: string;
  /** Null where the cache could not be read. */
  readonly stats: CacheStats | null;
  readonly usage: string;
  /** Null where the cache could not be read. */
  readonly held: Plan['held'] | null;
  readonly expiredPins: readonly { readonly by: string; readonly pattern: string; readonly until: string; readonly reason: string }[];
  readonly damaged: readonly { readonly name: string; readonly reason: string; readonly message: string }[];
  /** On the way out: evicted and not deleted yet, or half way out because a run was killed. Null where the cache could not be read. */
  readonly leaving: Tally | null;
  readonly leftovers: readonly Pick<Leftover, 'name' | 'kind'>[];
  readonly unrecognised: readonly string[];
  /** Why the wall clock is not trusted; null where it is. */
  readonly clockDoubt: string | null;
  readonly errors: readonly PassError[];
}

export function cacheJson({ target, report, errors, leaving }: Outcome): CacheJson {
  const { cache, policyName, mode } = target;
  const stats = report && statsOf(report.after);
  return {
    name: cache.name,
    policy: policyName,
    root: cache.root,
    mode,
    stats: stats ?? null,
    usage: usageText(target, report),
    held: report?.plan.held ?? null,
    expiredPins: (report?.plan.expiredPins ?? []).map(({ by, pattern, untilMs, reason }) => ({ by, pattern, until: isoSeconds(untilMs ?? 0), reason })),
    damaged: report?.after.damaged ?? [],
    leaving: leaving === undefined ? null : { entries: leaving.entries, bytes: leaving.bytes },
    leftovers: (report?.after.leftovers ?? []).map(({ name, kind }) => ({ name, kind })),
    unrecognised: report?.after.unrecognised ?? [],
    clockDoubt: report?.clockDoubt ?? null,
    errors,
  };
}

/** Entries that go with a key, a size and the limit they break: evicted, or to be evicted. */
export function goingJson(entries: readonly { readonly key: string; readonly sizeBytes: number; readonly freedBytes: number; readonly reason: string }[]) {
  return entries.map(({ key, sizeBytes, freedBytes, reason }) => ({ key, sizeBytes, freedBytes, reason }));
}

export function usageText({ cache }: Target, report: PassReport | undefined): string {
  return formatUsage(report && usageOf(statsOf(report.after), cache.limits, report.filesystem));
}

/** Bytes are what the filesystem gets back of them. */
export function tallyOf(entries: readonly { readonly freedBytes: number }[]): Tally {
  return { entries: entries.length, bytes: entries.reduce((sum, { freedBytes }) => sum + freedBytes, 0) };
}

/** The limits that stay exceeded: after a run as the cache is then, else as far as the plan can foresee. */
export function unmetIn({ report, target: { cache: { limits } } }: Outcome): readonly UnmetLimit[] {
  if (report === undefined) return [];
  return report.mode === 'Enforce' ? unmetAfter({ ...report, limits, nowMs: report.finishedAtMs }) : unmetByPlan(report.plan);
}

/** Of the planned evictions those that have not happened. */
export function notEvicted(report: PassReport) {
  const gone = new Set(report.evicted.map(({ key }) => key));
  return [...report.plan.evict].filter(({ entry }) => !gone.has(entry.key)).map(({ entry, freedBytes, reason, detail }) => ({ ...entry, freedBytes, reason, detail }));
}

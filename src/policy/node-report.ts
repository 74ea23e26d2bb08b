import type { Finding } from '../api/conditions.ts';
import { formatDuration } from '../api/duration.ts';
import { plainText } from '../api/plain-text.ts';
import { formatBytes } from '../api/quantity.ts';
import type { ErrorCode } from '../errors.ts';
import type { Filesystem } from './filesystem.ts';
import { figuresOf, isWithinCapacity } from './filesystem.ts';
import type { Limits, UnreachableLimit } from './limits.ts';
import type { Plan, Tally } from './plan.ts';
import type { CacheStats } from './snapshot.ts';
import { formatUsage, usageOf } from './usage.ts';

/** What one look at a cache found: all that a report needs, and nothing that grows with its entries. */
export interface CacheLook {
  readonly stats: CacheStats;
  readonly held: Plan['held'];
  readonly inUseBy: Plan['inUseBy'];
  /** Over a limit and free to go, as of this look. */
  readonly wouldEvict: Tally;
  /** Of these the entries that could not be taken out, and are tried again after a backoff. */
  readonly failed: number;
  readonly unreachable: Plan['unreachable'];
  readonly expiredPins: number;
  /** Why all of it counts as in use; undefined where it is known what is. */
  readonly allHeldBy: string | undefined;
  readonly damaged: number;
  readonly leftovers: number;
  readonly unrecognised: number;
  readonly clockAhead: number;
  readonly holdSources: readonly string[];
  readonly filesystem: Filesystem;
  /** Since when the figures of a large directory were measured, a part of it at each look. Absent where all are of this look or hardly older. */
  readonly measuredSinceMs?: number;
}

export interface RunSummary {
  readonly finishedAtMs: number;
  readonly trigger: string;
  readonly evictedEntries: number;
  readonly evictedBytes: number;
  readonly errors: number;
}

/** Counted since the first run on this node, over restarts. */
export interface Totals {
  readonly evictedEntries: number;
  readonly evictedBytes: number;
  readonly revived: number;
  readonly raced: number;
  readonly lastEvictionAtMs: number | null;
}

export const noTotals: Totals = { evictedEntries: 0, evictedBytes: 0, revived: 0, raced: 0, lastEvictionAtMs: null };

/** Why a cache cannot be read or enforced. */
export interface Problem {
  /** CamelCase of the error code: `RootMissing`. */
  readonly reason: string;
  readonly message: string;
}

/** `ERR_ROOT_MISSING` → `RootMissing` */
export function problemReason(code: ErrorCode): string {
  return code.split('_').slice(1).map((word) => word.charAt(0) + word.slice(1).toLowerCase()).join('');
}

export interface CacheState {
  readonly name: string;
  readonly limits: Limits;
  /** Undefined while nothing is known, or no longer. */
  readonly look: CacheLook | undefined;
  readonly lastRun: RunSummary | undefined;
  readonly totals: Totals;
  /** The part of the totals that was counted before this agent took up the cache. Absent: none. */
  readonly countedBefore?: Totals;
  readonly problem: Problem | undefined;
}

/**
 * The part of a NodeCache's status that the caches decide; who and when is added by the one that publishes it.
 * @param refused why the policy in force is not the latest: that one cannot be read, or it is gone
 */
export function nodeReport(states: readonly CacheState[], refused?: RefusedPolicy) {
  const looks = states.map((state) => state.look);
  const stats = looks.every((look) => look !== undefined) ? sumStats(looks.map((look) => look.stats)) : undefined;
  const usages = states.map((state) => (state.look ? usageIn(state.look, state.limits) : undefined)).filter((usage) => usage !== undefined);
  const lastEvictionAtMs = Math.max(0, ...states.map((state) => state.totals.lastEvictionAtMs ?? 0));
  return {
    ...(stats && { stats }),
    entries: stats ? String(stats.entryCount) : '-',
    size: stats ? formatBytes(stats.totalBytes) : '-',
    usage: formatUsage(usages.length > 0 ? Math.max(...usages) : undefined),
    evictedEntries: sum(states, (state) => state.totals.evictedEntries),
    evictedBytes: sum(states, (state) => state.totals.evictedBytes),
    ...(lastEvictionAtMs > 0 && { lastEvictionTime: isoSeconds(lastEvictionAtMs) }),
    caches: states.map(cacheStatus),
    findings: findings(states, refused),
  };
}

export interface RefusedPolicy {
  readonly reason: 'PolicyFormat' | 'PolicyGone';
  readonly message: string;
}

export type NodeReport = ReturnType<typeof nodeReport>;

/** As the CRD bounds it. */
const mostProblemWords = 256;

function cacheStatus(state: CacheState) {
  const { look, lastRun, totals } = state;
  const { lastEvictionAtMs: _, ...counts } = totals;
  return {
    name: state.name,
    size: look ? formatBytes(look.stats.totalBytes) : '-',
    usage: look ? formatUsage(usageIn(look, state.limits)) : '-',
    ...(look && {
      stats: look.stats,
      overLimit: isOverLimit(state),
      protected: look.held,
      ...(look.expiredPins > 0 && { expiredPins: look.expiredPins }),
      damaged: look.damaged,
      leftovers: look.leftovers,
      unrecognised: look.unrecognised,
      clockAhead: look.clockAhead,
      holdSources: [...look.holdSources],
      filesystem: figuresOf(look.filesystem),
      wouldEvict: look.wouldEvict,
      ...(look.measuredSinceMs !== undefined && { measuredSince: isoSeconds(look.measuredSinceMs) }),
    }),
    ...(lastRun && {
      lastRun: {
        time: isoSeconds(lastRun.finishedAtMs), trigger: lastRun.trigger,
        evictedEntries: lastRun.evictedEntries, evictedBytes: lastRun.evictedBytes, errors: lastRun.errors,
      },
    }),
    totals: counts,
    ...(state.problem && { problem: { reason: state.problem.reason, message: plainText(state.problem.message, mostProblemWords) } }),
  };
}

function usageIn({ stats, filesystem }: CacheLook, limits: Limits): number | undefined {
  return usageOf(stats, limits, filesystem);
}

/** Something has to go, or would have to if it were not protected. */
export function isOverLimit({ look, limits }: CacheState): boolean {
  if (look === undefined) return false;
  return (usageIn(look, limits) ?? 0) > 1 || look.wouldEvict.entries > 0 || look.unreachable.length > 0;
}

function findings(states: readonly CacheState[], refused: RefusedPolicy | undefined): readonly Finding[] {
  const failing = states.filter((state) => state.problem !== undefined);
  const over = states.filter(isOverLimit);
  const unreachable = over.filter((state) => (state.look?.unreachable.length ?? 0) > 0);
  const problems = [...(refused === undefined ? [] : [refused.message]), ...failing.map((state) => `${state.name}: ${state.problem?.message}`)].join('; ');
  const blind = refused !== undefined && states.every((state) => state.look === undefined);
  const ready: Finding =
    failing.length > 0 || blind ? { type: 'Ready', status: 'False', reason: 'CacheFailing', message: problems }
    : over.length > 0 ? { type: 'Ready', status: 'False', reason: 'OverLimit', message: over.map(overLimitMessage).join('; ') }
    : { type: 'Ready', status: 'True', reason: 'Ready', message: 'every cache is within its limits' };
  return [
    ready,
    ...(problems !== '' ? [{ type: 'Degraded', status: 'True', reason: refused?.reason ?? 'CacheFailing', message: problems } as const] : []),
    ...(unreachable.length > 0
      ? [{ type: 'LimitUnreachable', status: 'True', reason: heldReason(unreachable), message: unreachable.map(unreachableMessage).join('; ') } as const]
      : []),
  ];
}

function overLimitMessage(state: CacheState): string {
  const would = state.look?.wouldEvict ?? { entries: 0, bytes: 0 };
  const failed = state.look?.failed ?? 0;
  const failedText = failed === 0 ? '' : `, of which ${failed} could not be evicted: the agent's log names them and says why`;
  return `${state.name} is at ${formatUsage(state.look && usageIn(state.look, state.limits))}; ${would.entries} entries (${formatBytes(would.bytes)}) may go${failedText}`;
}

type HeldReason = Extract<Finding, { type: 'LimitUnreachable' }>['reason'];

const heldReasons: Readonly<Record<keyof Plan['held'], HeldReason>> = { inUse: 'HeldInUse', kept: 'HeldKept', recent: 'HeldRecent' };

/** What holds most; of two that hold as much, the one that stands first. Where nothing is held, what is short is taken by something else. */
function heldReason(states: readonly CacheState[]): HeldReason {
  const bytes = (kind: keyof Plan['held']) => sum(states, (state) => state.look?.held[kind].bytes ?? 0);
  const kinds = Object.keys(heldReasons) as (keyof Plan['held'])[];
  // The policy alone can mend that, so it goes before all else.
  if (!states.every(({ look }) => look?.unreachable.every(isWithinCapacity) ?? true)) return 'BeyondCapacity';
  if (states.every(isTakenElsewhere)) return 'NotReclaimable';
  return heldReasons[kinds.reduce((most, kind) => (bytes(kind) > bytes(most) ? kind : most))];
}

/** Free space alone is short, and either nothing is held, or what went gave none back. */
function isTakenElsewhere({ look }: CacheState): boolean {
  const { unreachable = [], held = undefined } = look ?? {};
  const nothingHeld = held === undefined || Object.values(held).every(({ entries }) => entries === 0);
  return unreachable.every(({ limit, because }) => because === 'NotReclaimable' || because === 'BeyondCapacity' || (nothingHeld && (limit === 'MinFree' || limit === 'MinFreeInodes')));
}

/** `models: 408.9Gi of 400Gi; in use 310.2Gi (9 entries), kept 98Gi (6), recent 0.7Gi (2)` */
function unreachableMessage(state: CacheState): string {
  const { look, limits } = state;
  if (look === undefined) return state.name;
  const figures = look.unreachable.map((gap) =>
    !isWithinCapacity(gap) ? beyondCapacityText(gap)
    : gap.limit === 'MinFree' ? `${formatBytes(gap.remaining)} free of ${formatBytes(gap.allowed)} wanted`
    : gap.limit === 'MinFreeInodes' ? `${gap.remaining} inodes free of ${gap.allowed} wanted`
    : gap.limit === 'MaxBytes' ? `${formatBytes(gap.remaining)} of ${formatBytes(limits.maxBytes ?? 0)}${gap.because === 'HeldAlone' ? ', and nothing is evicted for it' : ''}`
    : gap.limit === 'MaxEntries' ? `${gap.remaining} of ${limits.maxEntries ?? 0} entries`
    : `idle for ${formatDuration(gap.remaining)} of ${formatDuration(gap.allowed)}`);
  const { inUse, kept, recent } = look.held;
  return `${state.name}: ${figures.join(', ')}; in use ${formatBytes(inUse.bytes)} (${inUse.entries} entries), kept ${formatBytes(kept.bytes)} (${kept.entries}), recent ${formatBytes(recent.bytes)} (${recent.entries})${look.allHeldBy === undefined ? '' : `; all of it counts as in use because of ${look.allHeldBy}`}`;
}

/** `minFree wants 500Gi to be free where at most 95Gi can be: nothing is evicted for it; lower it` */
export function beyondCapacityText({ limit, allowed, remaining }: Pick<UnreachableLimit, 'limit' | 'allowed' | 'remaining'>): string {
  const [field, format] = limit === 'MinFree' ? ['minFree', formatBytes] as const : ['minFreeInodes', String] as const;
  return `${field} wants ${format(allowed)} to be free where at most ${format(remaining)} can be: nothing is evicted for it; lower it`;
}

function sumStats(all: readonly CacheStats[]): CacheStats {
  return { entryCount: sum(all, (stats) => stats.entryCount), totalBytes: sum(all, (stats) => stats.totalBytes) };
}

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0);
}

/** Kubernetes times carry whole seconds. */
export function isoSeconds(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d{3}Z$/, 'Z');
}

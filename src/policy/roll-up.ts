import type { Condition } from '../api/conditions.ts';
import { settleConditions } from '../api/conditions.ts';
import type { CachePolicyStatus } from '../api/status.ts';
import { formatBytes } from '../api/quantity.ts';
import type { Departed } from './departed.ts';
import { isPast } from './fleet.ts';
import { isoSeconds } from './node-report.ts';
import type { FindingsInput } from './policy-findings.ts';
import { findings, standingOf } from './policy-findings.ts';
import type { CacheSums, ReportSums } from './report-sums.ts';
import { byUsage, fullestKept, saturated } from './report-sums.ts';
import { formatUsage } from './usage.ts';

export interface RollUpInput extends FindingsInput {
  readonly policy: FindingsInput['policy'] & { readonly uid: string; readonly cacheNames: readonly string[] };
  /** Other than desired nodes that have an agent's pod, as Kubernetes counts them. */
  readonly misscheduled?: number | undefined;
  /** What the status says of NodeCaches that the controller removed. */
  readonly departed: Departed;
  readonly nowMs: number;
}

/** The whole status of a CachePolicy, from the sums of its fleet: costs the same for ten nodes and for a hundred thousand. */
export function rollUp(given: RollUpInput): CachePolicyStatus {
  const { policy, previous, fleet, nowMs } = given;
  fleet.look({ policyUID: policy.uid, podless: isPodless(given), nowMs });
  const { fresh } = fleet;
  const { desired, misscheduled } = countNodes(given);
  const input = { ...given, desired };
  const standing = standingOf(input);
  const nodes = {
    ...(desired !== undefined && { desired }),
    misscheduled,
    reporting: fresh.size,
    stale: fleet.stale.size,
    overLimit: standing.overLimit.size,
    failing: standing.failing.size,
  };
  const perCache = policy.cacheNames.map((name) => rollUpCache(name, fresh.caches.get(name)));
  const stats = perCache.every((cache) => cache.stats) && fresh.size > 0 ? sumOf(perCache.map((cache) => cache.stats)) : undefined;
  const evicted = evictedSoFar(input);
  const lastEvictionTime = latest([previous?.lastEvictionTime, fleet.lastEvictionTime].filter((time) => isPast(time, nowMs)));
  const fullest = fullestNodes(fresh, policy.cacheNames);
  return {
    observedGeneration: policy.generation,
    ...(stats && { stats }),
    entries: stats ? String(stats.entryCount) : '-',
    size: stats ? formatBytes(stats.totalBytes) : '-',
    usage: fullest[0]?.usage ?? '-',
    nodes,
    reporting: `${fresh.size}/${desired ?? '-'}`,
    caches: perCache,
    ...evicted,
    reclaimed: formatBytes(evicted.evictedBytes),
    ...(lastEvictionTime !== undefined && { lastEvictionTime }),
    fullestNodes: fullest,
    conditions: settleConditions(findings(input, standing, nodes), (previous?.conditions ?? []) as Partial<Condition>[], policy.generation, isoSeconds(nowMs)),
  };
}

/** Nobody has counted the nodes, and no agent has a pod: as on a control plane without its controllers. Then the pods that are missing say nothing. */
export function isPodless({ desired, previous, fleet }: Pick<RollUpInput, 'fleet' | 'desired' | 'previous'>): boolean {
  return (desired ?? previous?.nodes?.desired) === undefined && fleet.agents === 0;
}

/**
 * Nodes that should run an agent, and those that run one although they no longer match, such as after a taint: Kubernetes does not always count these, so
 * the agents' pods are counted too, once each is old enough for the other count to include it. Kubernetes counts within seconds what was changed; until
 * then the last count stands, or every change would look like an outage.
 */
function countNodes({ desired, lacking, misscheduled = 0, previous, fleet }: RollUpInput): { readonly desired: number | undefined; readonly misscheduled: number } {
  const last = { desired: previous?.nodes?.desired, misscheduled: previous?.nodes?.misscheduled ?? 0 };
  if (desired === undefined) return { ...last, desired: last.desired === undefined ? undefined : Math.max(last.desired, fleet.fresh.size) };
  const others = Math.max(misscheduled, lacking === undefined ? 0 : lacking + fleet.settledAgents - desired);
  return { desired: Math.max(desired + others, fleet.fresh.size), misscheduled: others };
}

function rollUpCache(name: string, sums: CacheSums | undefined) {
  const total = (key: Parameters<CacheSums['sum']>[0]) => sums?.sum(key) ?? 0;
  // A node whose cache cannot be read is missing from the sum and counted as failing; the sum is of what is known.
  const known = sums !== undefined && sums.known > 0;
  return {
    name,
    ...(known && { stats: { entryCount: total('entryCount'), totalBytes: total('totalBytes') } }),
    size: known ? formatBytes(total('totalBytes')) : '-',
    usage: formatUsage(sums?.fullest.first()[0]?.usage),
    evictedEntries: total('evictedEntries'),
    evictedBytes: total('evictedBytes'),
    ...(known && {
      protectedBytes: total('protectedBytes'),
      wouldEvictEntries: total('wouldEvictEntries'),
      wouldEvictBytes: total('wouldEvictBytes'),
    }),
  };
}

function sumOf(all: readonly ({ entryCount?: number; totalBytes?: number } | undefined)[]) {
  return {
    entryCount: saturated(all.reduce((sum, stats) => sum + (stats?.entryCount ?? 0), 0)),
    totalBytes: saturated(all.reduce((sum, stats) => sum + (stats?.totalBytes ?? 0), 0)),
  };
}

/** By every report of this policy that is there, fresh or not, and by those that the controller removed. */
function evictedSoFar({ fleet, departed }: RollUpInput) {
  const total = (key: 'evictedEntries' | 'evictedBytes') => saturated((departed[key] ?? 0) + fleet.evicted[key]);
  return { evictedEntries: total('evictedEntries'), evictedBytes: total('evictedBytes'), departed };
}

function latest(times: readonly (string | undefined)[]): string | undefined {
  return times.filter((time) => time !== undefined).sort().at(-1);
}

function fullestNodes({ caches }: ReportSums, cacheNames: readonly string[]) {
  const fullest = cacheNames.flatMap((name) => caches.get(name)?.fullest.first() ?? []).sort(byUsage).slice(0, fullestKept);
  return fullest.map(({ nodeName, name, usage }) => ({ nodeName, cacheName: name, usage: formatUsage(usage) }));
}

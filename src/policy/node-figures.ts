import { plainText } from '../api/plain-text.ts';
import type { NodeCacheStatus } from '../api/status.ts';
import { parseUsage } from './usage.ts';

/** What the roll-up reads of one node's report. Kept for every node of a cluster: numbers, and words only where something is wrong. */
export interface NodeFigures {
  readonly nodeName: string;
  readonly policyUID: string;
  readonly podUID: string;
  /** Ms since the epoch; NaN where the report does not say. */
  readonly reportedAtMs: number;
  readonly observedGeneration: number;
  readonly evictedEntries: number;
  readonly evictedBytes: number;
  readonly lastEvictionTime: string | undefined;
  readonly caches: readonly CacheFigures[];
  /** In the words of the node: what fails, what is over its limit, what cannot be met. Undefined where nothing is. */
  readonly failing: string | undefined;
  readonly overLimit: string | undefined;
  readonly unreachable: { readonly reason: string; readonly message: string } | undefined;
}

export interface CacheFigures {
  readonly nodeName: string;
  readonly name: string;
  /** False where the cache cannot be read: then it has neither entries nor usage. */
  readonly known: boolean;
  readonly usage: number | undefined;
  readonly entryCount: number;
  readonly totalBytes: number;
  readonly evictedEntries: number;
  readonly evictedBytes: number;
  readonly protectedBytes: number;
  readonly wouldEvictEntries: number;
  readonly wouldEvictBytes: number;
}

/** No node has more of anything: a larger figure in a report is a fault or an attack. */
const mostOnNode = Number.MAX_SAFE_INTEGER;
/** Of the words of one node so many stand in a condition of the policy, which names three nodes in 1,024 characters. */
const mostWords = 256;

function figure(reported: number | undefined): number {
  return Math.min(reported ?? 0, mostOnNode);
}

function words(text: string): string {
  return plainText(text, mostWords);
}

type CacheStatus = NonNullable<NodeCacheStatus['caches']>[number];

/** @param intern gives one copy of a text that many nodes have */
export function nodeFigures(nodeName: string, status: NodeCacheStatus, intern: (text: string) => string = (text) => text): NodeFigures {
  const { caches = [], conditions = [] } = status;
  const [ready, degraded, unreachable] = ['Ready', 'Degraded', 'LimitUnreachable'].map((type) => conditions.find((condition) => condition.type === type));
  const overLimit = caches.some((cache) => cache.overLimit);
  const failing = degraded?.status === 'True' || caches.some((cache) => cache.problem !== undefined);
  return {
    nodeName,
    policyUID: intern(status.policyUID ?? ''),
    podUID: status.podUID ?? '',
    reportedAtMs: Date.parse(status.reportTime ?? ''),
    observedGeneration: status.observedGeneration ?? 0,
    evictedEntries: figure(status.evictedEntries),
    evictedBytes: figure(status.evictedBytes),
    lastEvictionTime: status.lastEvictionTime,
    caches: caches.map((cache) => cacheFigures(nodeName, cache, intern)),
    failing: failing ? words(degraded?.message ?? 'failing') : undefined,
    overLimit: overLimit ? words(ready?.message ?? 'over its limits') : undefined,
    unreachable: unreachable?.status === 'True' ? { reason: intern(unreachable.reason ?? ''), message: words(unreachable.message ?? '') } : undefined,
  };
}

function cacheFigures(nodeName: string, cache: CacheStatus, intern: (text: string) => string): CacheFigures {
  const known = cache.stats !== undefined;
  return {
    nodeName,
    name: intern(cache.name),
    known,
    usage: known ? parseUsage(cache.usage) : undefined,
    entryCount: figure(cache.stats?.entryCount),
    totalBytes: figure(cache.stats?.totalBytes),
    evictedEntries: figure(cache.totals?.evictedEntries),
    evictedBytes: figure(cache.totals?.evictedBytes),
    protectedBytes: figure(Object.values(cache.protected ?? {}).reduce((sum, tally) => sum + (tally?.bytes ?? 0), 0)),
    wouldEvictEntries: figure(cache.wouldEvict?.entries),
    wouldEvictBytes: figure(cache.wouldEvict?.bytes),
  };
}

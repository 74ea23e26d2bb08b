import type { Condition, Finding } from '../api/conditions.ts';
import { conditionReasons, settleConditions } from '../api/conditions.ts';
import type { CachePolicyStatus } from '../api/status.ts';
import { formatBytes } from '../api/quantity.ts';
import type { Departed } from './departed.ts';
import { isPast } from './fleet.ts';
import type { Fleet } from './fleet.ts';
import type { Foremost } from './foremost.ts';
import type { NodeFigures } from './node-figures.ts';
import { isoSeconds } from './node-report.ts';
import type { AgentPod } from './node-verdict.ts';
import type { CacheSums, ReportSums } from './report-sums.ts';
import { byNodeName, byUsage, fullestKept, namedNodes, saturated } from './report-sums.ts';
import { formatUsage } from './usage.ts';

export interface RollUpInput {
  readonly policy: { readonly uid: string; readonly generation: number; readonly cacheNames: readonly string[]; readonly maxUnavailable: number | string };
  readonly accepted: Finding<'Accepted'>;
  /** Why the API server does not take the ConfigMap or the DaemonSet; undefined where it does. What does not last is no news. */
  readonly unapplied?: { readonly words: string; readonly lasts: boolean } | undefined;
  /** How the admission policies differ from what the controller goes by; undefined where they do not. */
  readonly admissionDifference?: string | undefined;
  /** Nodes that should run an agent; undefined while a DaemonSet that changed is not counted again. */
  readonly desired: number | undefined;
  readonly fleet: Fleet;
  readonly previous: CachePolicyStatus | undefined;
  /** What the status says of NodeCaches that the controller removed. */
  readonly departed: Departed;
  readonly nowMs: number;
}

/** The whole status of a CachePolicy, from the sums of its fleet: costs the same for ten nodes and for a hundred thousand. */
export function rollUp(given: RollUpInput): CachePolicyStatus {
  const { policy, previous, fleet, nowMs } = given;
  const desired = lastCounted(given);
  const input = { ...given, desired };
  fleet.look({ policyUID: policy.uid, podless: isPodless(input), nowMs });
  const { fresh } = fleet;
  const standing = standingOf(input);
  const nodes = {
    ...(desired !== undefined && { desired }),
    reporting: fresh.size,
    stale: fleet.stale,
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
export function isPodless(input: Pick<RollUpInput, 'fleet' | 'desired' | 'previous'>): boolean {
  return lastCounted(input) === undefined && input.fleet.agents === 0;
}

/** Kubernetes counts within seconds what was changed: until then the last count stands, or every change would look like an outage. */
function lastCounted({ desired, previous }: Pick<RollUpInput, 'desired' | 'previous'>): number | undefined {
  return desired ?? previous?.nodes?.desired;
}

type Nodes = { desired?: number; reporting: number; stale: number; overLimit: number; failing: number };

/** Some nodes: how many, and the first few by name. */
interface Named {
  readonly size: number;
  readonly first: readonly NodeFigures[];
}

/** The nodes that the conditions speak of. */
interface Standing {
  readonly size: number;
  readonly outdated: Named;
  readonly failing: Named;
  readonly overLimit: Named;
  readonly unreachable: Named;
  readonly unreachableReasons: ReadonlySet<string>;
}

/** Those with a fresh report and, while there are fewer than there should be, those between two agents. */
function standingOf({ fleet, policy, desired = 0 }: RollUpInput): Standing {
  const parts = fleet.fresh.size < desired ? [fleet.fresh, fleet.awaited] : [fleet.fresh];
  const named = (sets: (part: ReportSums) => readonly Foremost<NodeFigures>[]) => together(parts.flatMap(sets));
  return {
    size: parts.reduce((sum, part) => sum + part.size, 0),
    outdated: named((part) => [...part.generations].filter(([generation]) => generation !== policy.generation).map(([, nodes]) => nodes)),
    failing: named((part) => [part.failing]),
    overLimit: named((part) => [part.overLimit]),
    unreachable: named((part) => [part.unreachable]),
    unreachableReasons: new Set(parts.flatMap((part) => [...part.unreachableReasons.keys()])),
  };
}

function together(sets: readonly Foremost<NodeFigures>[]): Named {
  return {
    size: sets.reduce((sum, set) => sum + set.size, 0),
    first: sets.flatMap((set) => set.first()).sort(byNodeName).slice(0, namedNodes),
  };
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

function findings(input: RollUpInput, standing: Standing, nodes: Nodes): readonly Finding[] {
  const { failing, unreachable } = standing;
  const programmed = programmedFinding(input, standing);
  return [
    input.accepted,
    programmed,
    readyFinding(input, nodes, programmed, standing),
    ...degradedFinding(input, failing),
    ...(unreachable.size > 0
      ? [{ type: 'LimitUnreachable', status: 'True', reason: reasonOf(standing.unreachableReasons), message: naming(unreachable, (node) => node.unreachable?.message) } as const]
      : []),
    ...(nodes.stale > 0 ? [{ type: 'Stale', status: 'True', reason: 'AgentsSilent', message: `${count(nodes.stale, 'node')} without a fresh report; their figures are left out` } as const] : []),
  ];
}

/** One sentence is shown: a cache that is not enforced comes before an installation that does not fit together. */
function degradedFinding({ admissionDifference }: RollUpInput, failing: Named): readonly Finding<'Degraded'>[] {
  if (failing.size > 0) return [{ type: 'Degraded', status: 'True', reason: 'NodesFailing', message: naming(failing, (node) => node.failing) }];
  if (admissionDifference !== undefined) return [{ type: 'Degraded', status: 'True', reason: 'AdmissionDiffers', message: admissionDifference }];
  return [];
}

function programmedFinding({ accepted, desired, unapplied, policy, previous }: RollUpInput, { size, outdated }: Standing): Finding<'Programmed'> {
  const at = <S extends 'True' | 'False' | 'Unknown'>(status: S, reason: Finding<'Programmed'>['reason'], message: string) => ({ type: 'Programmed' as const, status, reason, message });
  if (accepted.status !== 'True') return at('False', 'NotAccepted', `not in force: ${accepted.message}`);
  if (unapplied?.lasts) return at('False', 'ChildrenRefused', `the API server takes no agents for this policy: ${unapplied.words}`);
  if (desired === 0) return at('Unknown', 'NoMatchingNode', 'no node matches nodeSelector and tolerations');
  if (outdated.size > 0) return at('False', 'Progressing', `${count(outdated.size, 'node')} of ${size} not yet at this generation: ${listed(outdated)}`);
  if (size === 0) return at('False', 'NoReports', 'no node has reported yet');
  if (unapplied !== undefined && !wasProgrammed(previous, policy.generation)) return at('False', 'Progressing', `the API server has not taken the agents of this generation yet: ${unapplied.words}`);
  return at('True', 'Programmed', `${count(size, 'node')} at this generation`);
}

function wasProgrammed(previous: CachePolicyStatus | undefined, generation: number): boolean {
  return previous?.conditions?.some(({ type, status, observedGeneration }) => type === 'Programmed' && status === 'True' && observedGeneration === generation) === true;
}

function readyFinding(input: RollUpInput, nodes: Nodes, programmed: Finding<'Programmed'>, standing: Standing): Finding<'Ready'> {
  const { accepted, desired, policy } = input;
  const at = <S extends 'True' | 'False' | 'Unknown'>(status: S, reason: Finding<'Ready'>['reason'], message: string) => ({ type: 'Ready' as const, status, reason, message });
  if (accepted.status !== 'True') return at('False', 'NotAccepted', accepted.message);
  if (desired === 0 && programmed.status === 'Unknown') return at('Unknown', 'NoMatchingNode', programmed.message);
  const enough = desired !== undefined && standing.size >= desired - unavailableAllowed(policy.maxUnavailable, desired);
  const waiting = enough ? undefined : notStarted(input.fleet.notStarted);
  if (waiting !== undefined) return at('False', 'AgentNotStarted', waiting);
  if (programmed.status !== 'True') return at('False', 'NotProgrammed', programmed.message);
  if (nodes.failing > 0) return at('False', 'NodesFailing', naming(standing.failing, (node) => node.failing));
  if (nodes.overLimit > 0) return at('False', 'OverLimit', naming(standing.overLimit, (node) => node.overLimit));
  if (!enough) return at('False', 'NodesNotReporting', `${nodes.reporting} of ${desired ?? 'an unknown number of'} nodes report`);
  const replaced = standing.size - nodes.reporting;
  return at('True', 'Ready', `${nodes.reporting} of ${desired} nodes report, each within its limits${replaced > 0 ? `; ${count(replaced, 'agent')} being replaced` : ''}`);
}

function notStarted(waiting: Foremost<AgentPod>): string | undefined {
  const first = waiting.first();
  if (first[0] === undefined) return undefined;
  return `the agent has not started on ${listed({ size: waiting.size, first })} (${first[0].waiting}); does every allowed root exist there?`;
}

/** A percentage is rounded down: of two nodes both have to report. */
function unavailableAllowed(maxUnavailable: number | string, desired: number): number {
  return typeof maxUnavailable === 'number' ? maxUnavailable : Math.floor((Number.parseInt(maxUnavailable, 10) / 100) * desired);
}

/** `2 nodes: node-1/rootfs: …; node-3/…` in the words of the nodes. */
function naming({ size, first }: Named, words: (node: NodeFigures) => string | undefined): string {
  return `${count(size, 'node')}: ${first.map((node) => `${node.nodeName}/${words(node)}`).join('; ')}${size > first.length ? '; …' : ''}`;
}

/** The first of the closed list that a node names. */
function reasonOf(reasons: ReadonlySet<string>) {
  return conditionReasons.LimitUnreachable.find((reason) => reasons.has(reason)) ?? 'HeldInUse';
}

function listed({ size, first }: { readonly size: number; readonly first: readonly { readonly nodeName: string }[] }): string {
  return first.map(({ nodeName }) => nodeName).join(', ') + (size > first.length ? ` and ${size - first.length} more` : '');
}

function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? '' : 's'}`;
}

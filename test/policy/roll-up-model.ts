import type { Condition, Finding } from '../../src/api/conditions.ts';
import { settleConditions } from '../../src/api/conditions.ts';
import type { CachePolicyStatus, NodeCacheStatus } from '../../src/api/status.ts';
import { formatBytes } from '../../src/api/quantity.ts';
import { isoSeconds } from '../../src/policy/node-report.ts';
import type { AgentPod } from '../../src/policy/node-verdict.ts';
import { staleAfterNotReadyMs, staleAfterReportMs, startGraceMs } from '../../src/policy/node-verdict.ts';
import { formatUsage, parseUsage } from '../../src/policy/usage.ts';

/** The roll-up as a rule book: everything from everything, every time. What src/policy/roll-up.ts keeps counted has to come to the same. */

const namedNodes = 3;
const namedSilent = 10;
const fullestNodesKept = 10;

/** One NodeCache, as far as the roll-up reads it. */
export interface Report {
  readonly nodeName: string;
  readonly status: NodeCacheStatus;
}

export interface ModelInput {
  readonly policy: { readonly uid: string; readonly generation: number; readonly cacheNames: readonly string[]; readonly maxUnavailable: number | string };
  readonly accepted: Finding<'Accepted'>;
  /** Why the API server does not take the ConfigMap or the DaemonSet; undefined where it does. */
  readonly refused?: string | undefined;
  /** Nodes that should run an agent; undefined while a DaemonSet that changed is not counted again. */
  readonly desired: number | undefined;
  readonly reports: readonly Report[];
  readonly agents: ReadonlyMap<string, AgentPod>;
  readonly previous: CachePolicyStatus | undefined;
  /** What the status says of NodeCaches that the controller removed. */
  readonly departed: { readonly evictedEntries: number; readonly evictedBytes: number };
  readonly nowMs: number;
}

/** The whole status of a CachePolicy, from the reports of its nodes. A report of another policy, pod or node of the same name counts for nothing. */
export function rollUpByTheBook(given: ModelInput): CachePolicyStatus {
  const { policy, previous } = given;
  // Kubernetes counts within seconds what was changed: until then the last count stands, or every change would look like an outage.
  const counted = given.desired ?? previous?.nodes?.desired;
  const own = given.reports.filter((report) => report.status.policyUID === policy.uid).sort((a, b) => (a.nodeName < b.nodeName ? -1 : 1));
  const fresh = own.filter((report) => isFresh(report, { ...given, desired: counted }));
  const desired = counted === undefined ? undefined : Math.max(counted, fresh.length);
  const input = { ...given, desired };
  const standing = [...fresh, ...awaited(own, fresh, input)].sort((a, b) => (a.nodeName < b.nodeName ? -1 : 1));
  const nodes = {
    ...(desired !== undefined && { desired }),
    misscheduled: 0,
    reporting: fresh.length,
    stale: staleNodes(input).length,
    overLimit: standing.filter((report) => caches(report).some((cache) => cache.overLimit)).length,
    failing: standing.filter(isFailing).length,
  };
  const perCache = policy.cacheNames.map((name) => rollUpCache(name, fresh));
  const stats = perCache.every((cache) => cache.stats) && fresh.length > 0 ? sumOf(perCache.map((cache) => cache.stats)) : undefined;
  const evicted = evictedSoFar(own, input);
  const lastEvictionTime = latest([previous?.lastEvictionTime, ...own.map((report) => report.status.lastEvictionTime)].filter((time) => time !== undefined && Date.parse(time) <= input.nowMs + 60_000));
  const fullest = fullestNodes(fresh, policy.cacheNames);
  return {
    observedGeneration: policy.generation,
    ...(stats && { stats }),
    entries: stats ? String(stats.entryCount) : '-',
    size: stats ? formatBytes(stats.totalBytes) : '-',
    usage: fullest[0]?.usage ?? '-',
    nodes,
    reporting: `${fresh.length}/${desired ?? '-'}`,
    caches: perCache,
    ...evicted,
    reclaimed: formatBytes(evicted.evictedBytes),
    ...(lastEvictionTime !== undefined && { lastEvictionTime }),
    fullestNodes: fullest,
    conditions: settleConditions(findings(input, standing, nodes), (previous?.conditions ?? []) as Partial<Condition>[], policy.generation, isoSeconds(input.nowMs)),
  };
}

type Nodes = { desired?: number; misscheduled: number; reporting: number; stale: number; overLimit: number; failing: number };

function isPodless({ agents, desired }: ModelInput): boolean {
  return desired === undefined && agents.size === 0;
}

function isFresh({ nodeName, status }: Report, input: ModelInput): boolean {
  const { agents, nowMs } = input;
  if (isPodless(input)) return isRecent(status, nowMs);
  const pod = agents.get(nodeName);
  return pod !== undefined && pod.uid === status.podUID && !isSilent(pod, nowMs) && isRecent(status, nowMs);
}

function isRecent({ reportTime }: NodeCacheStatus, nowMs: number): boolean {
  return nowMs - Date.parse(reportTime ?? '') < staleAfterReportMs;
}

function isSilent(pod: AgentPod, nowMs: number): boolean {
  return !pod.ready && nowMs - pod.notReadySinceMs >= staleAfterNotReadyMs;
}

/**
 * The last words of nodes whose agent is being replaced and has not reported yet: no condition changes because pods take turns in a rollout.
 * They count in no sum. A node that stays without an agent loses its report after a minute.
 */
function awaited(own: readonly Report[], fresh: readonly Report[], input: ModelInput): readonly Report[] {
  return fresh.length >= (input.desired ?? 0) ? [] : betweenReports(own, input);
}

function betweenReports(own: readonly Report[], { agents, nowMs }: ModelInput): readonly Report[] {
  return own.filter(({ nodeName, status }) => {
    const pod = agents.get(nodeName);
    return pod?.uid !== status.podUID && isBetweenPods(pod, nowMs) && isRecent(status, nowMs);
  });
}

/** Nodes that once reported or should, and of which nothing fresh is known; a pod that is just starting is given its time. */
function staleNodes(input: ModelInput): readonly string[] {
  const { agents, nowMs } = input;
  const { own, freshNames } = ownReports(input);
  if (isPodless(input)) return own.filter(({ nodeName }) => !freshNames.has(nodeName)).map(({ nodeName }) => nodeName);
  const stale = new Set<string>();
  for (const { nodeName } of own) if (!freshNames.has(nodeName) && !isBetweenPods(agents.get(nodeName), nowMs)) stale.add(nodeName);
  for (const [nodeName, pod] of agents) if (!freshNames.has(nodeName) && isSilent(pod, nowMs)) stale.add(nodeName);
  return [...stale];
}

/** Nodes with an agent that neither has a fresh report nor is awaited. */
function notReporting(input: ModelInput): readonly string[] {
  const { own, freshNames } = ownReports(input);
  const waited = new Set(betweenReports(own, input).map(({ nodeName }) => nodeName));
  return [...input.agents.keys()].filter((nodeName) => !freshNames.has(nodeName) && !waited.has(nodeName));
}

function ownReports(input: ModelInput) {
  const own = input.reports.filter((report) => report.status.policyUID === input.policy.uid);
  return { own, freshNames: new Set(own.filter((report) => isFresh(report, input)).map(({ nodeName }) => nodeName)) };
}

/** One agent is gone, the next is still to come or to report: the controller removes the report of a node where none comes. */
function isBetweenPods(pod: AgentPod | undefined, nowMs: number): boolean {
  return pod === undefined || nowMs - pod.notReadySinceMs < staleAfterNotReadyMs;
}

function caches(report: Report) {
  return report.status.caches ?? [];
}

function isFailing(report: Report): boolean {
  return caches(report).some((cache) => cache.problem) || conditionOf(report, 'Degraded') !== undefined;
}

function conditionOf(report: Report, type: string) {
  return report.status.conditions?.find((condition) => condition.type === type && condition.status === 'True');
}

function rollUpCache(name: string, fresh: readonly Report[]) {
  const each = fresh.map((report) => caches(report).find((cache) => cache.name === name)).filter((cache) => cache !== undefined);
  // A node whose cache cannot be read is missing from the sum and counted as failing; the sum is of what is known.
  const known = each.filter((cache) => cache.stats);
  const stats = known.length > 0 ? sumOf(known.map((cache) => cache.stats)) : undefined;
  const usages = known.map((cache) => parseUsage(cache.usage)).filter((usage) => usage !== undefined);
  const total = (of: (cache: (typeof each)[number]) => number | undefined) => each.reduce((sum, cache) => sum + (of(cache) ?? 0), 0);
  return {
    name,
    ...(stats && { stats }),
    size: stats ? formatBytes(stats.totalBytes) : '-',
    usage: formatUsage(usages.length > 0 ? Math.max(...usages) : undefined),
    evictedEntries: total((cache) => cache.totals?.evictedEntries),
    evictedBytes: total((cache) => cache.totals?.evictedBytes),
    ...(known.length > 0 && {
      protectedBytes: total((cache) => (cache.protected?.inUse?.bytes ?? 0) + (cache.protected?.recent?.bytes ?? 0)),
      wouldEvictEntries: total((cache) => cache.wouldEvict?.entries),
      wouldEvictBytes: total((cache) => cache.wouldEvict?.bytes),
    }),
  };
}

function sumOf(all: readonly ({ entryCount?: number; totalBytes?: number } | undefined)[]) {
  return {
    entryCount: all.reduce((sum, stats) => sum + (stats?.entryCount ?? 0), 0),
    totalBytes: all.reduce((sum, stats) => sum + (stats?.totalBytes ?? 0), 0),
  };
}

/** Evictions are counted by every report of this policy, fresh or not, plus those of the reports that the controller removed. */
function evictedSoFar(own: readonly Report[], { departed }: ModelInput) {
  const total = (key: 'evictedEntries' | 'evictedBytes') => own.reduce((sum, report) => sum + (report.status[key] ?? 0), departed[key]);
  return { evictedEntries: total('evictedEntries'), evictedBytes: total('evictedBytes'), departed };
}

function latest(times: readonly (string | undefined)[]): string | undefined {
  return times.filter((time) => time !== undefined).sort().at(-1);
}

function fullestNodes(fresh: readonly Report[], cacheNames: readonly string[]) {
  const all = fresh.flatMap((report) => caches(report).filter((cache) => cache.stats && cacheNames.includes(cache.name)).map((cache) => ({ nodeName: report.nodeName, cacheName: cache.name, usage: parseUsage(cache.usage) })));
  const known = all.filter((each): each is (typeof each) & { usage: number } => each.usage !== undefined);
  known.sort((a, b) => b.usage - a.usage || (a.nodeName === b.nodeName ? (a.cacheName < b.cacheName ? -1 : 1) : a.nodeName < b.nodeName ? -1 : 1));
  return known.slice(0, fullestNodesKept).map((each) => ({ ...each, usage: formatUsage(each.usage) }));
}

function findings(input: ModelInput, standing: readonly Report[], nodes: Nodes): readonly Finding[] {
  const { accepted, policy } = input;
  const outdated = standing.filter((report) => report.status.observedGeneration !== policy.generation);
  const programmed = programmedFinding(input, standing, outdated);
  const failing = standing.filter(isFailing);
  const unreachable = standing.filter((report) => conditionOf(report, 'LimitUnreachable'));
  return [
    accepted,
    programmed,
    readyFinding(input, nodes, programmed, standing),
    ...(failing.length > 0 ? [{ type: 'Degraded', status: 'True', reason: 'NodesFailing', message: naming(failing, 'Degraded') } as const] : []),
    ...(unreachable.length > 0
      ? [{ type: 'LimitUnreachable', status: 'True', reason: reasonOf(unreachable), message: naming(unreachable, 'LimitUnreachable') } as const]
      : []),
    ...(nodes.stale > 0 ? [{ type: 'Stale', status: 'True', reason: 'AgentsSilent', message: `${count(nodes.stale, 'node')} without a fresh report, whose figures are left out: ${listed(staleNodes(input), namedSilent)}` } as const] : []),
  ];
}

function programmedFinding({ accepted, desired, refused }: ModelInput, standing: readonly Report[], outdated: readonly Report[]): Finding<'Programmed'> {
  const at = <S extends 'True' | 'False' | 'Unknown'>(status: S, reason: Finding<'Programmed'>['reason'], message: string) => ({ type: 'Programmed' as const, status, reason, message });
  if (accepted.status !== 'True') return at('False', 'NotAccepted', `not in force: ${accepted.message}`);
  if (refused !== undefined) return at('False', 'ChildrenRefused', `the API server takes no agents for this policy: ${refused}`);
  if (desired === 0) return at('Unknown', 'NoMatchingNode', 'no node matches nodeSelector and tolerations');
  if (outdated.length > 0) return at('False', 'Progressing', `${count(outdated.length, 'node')} of ${standing.length} not yet at this generation: ${listed(outdated.map((report) => report.nodeName))}`);
  if (standing.length === 0) return at('False', 'NoReports', 'no node has reported yet');
  return at('True', 'Programmed', `${count(standing.length, 'node')} at this generation`);
}

function readyFinding(input: ModelInput, nodes: Nodes, programmed: Finding<'Programmed'>, standing: readonly Report[]): Finding<'Ready'> {
  const { accepted, desired, policy } = input;
  const at = <S extends 'True' | 'False' | 'Unknown'>(status: S, reason: Finding<'Ready'>['reason'], message: string) => ({ type: 'Ready' as const, status, reason, message });
  if (accepted.status !== 'True') return at('False', 'NotAccepted', accepted.message);
  if (desired === 0 && programmed.status === 'Unknown') return at('Unknown', 'NoMatchingNode', programmed.message);
  const enough = desired !== undefined && standing.length >= desired - unavailableAllowed(policy.maxUnavailable, desired);
  const waiting = notStarted(input);
  if (!enough && waiting !== undefined) return at('False', 'AgentNotStarted', waiting);
  if (programmed.status !== 'True') return at('False', 'NotProgrammed', programmed.message);
  if (nodes.failing > 0) return at('False', 'NodesFailing', naming(standing.filter(isFailing), 'Degraded'));
  if (nodes.overLimit > 0) return at('False', 'OverLimit', naming(standing.filter((report) => caches(report).some((cache) => cache.overLimit)), 'Ready', 'over its limits'));
  const silentNodes = notReporting(input);
  const silent = silentNodes.length > 0 ? [`not reporting: ${listed(silentNodes, namedSilent)}`] : [];
  if (!enough) return at('False', 'NodesNotReporting', [`${nodes.reporting} of ${desired ?? 'an unknown number of'} nodes report`, ...silent].join('; '));
  const replaced = standing.length - nodes.reporting;
  const notes = [...(replaced > 0 ? [`${count(replaced, 'agent')} being replaced`] : []), ...(waiting === undefined ? silent : [waiting])];
  return at('True', 'Ready', [`${nodes.reporting} of ${desired} nodes report, each within its limits`, ...notes].join('; '));
}

function notStarted({ agents, nowMs }: ModelInput): string | undefined {
  const waiting = [...agents].filter(([, pod]) => pod.waiting !== undefined && nowMs - pod.notReadySinceMs >= startGraceMs).sort(([a], [b]) => (a < b ? -1 : 1));
  const [first] = waiting;
  if (first === undefined) return undefined;
  return `the agent has not started on ${listed(waiting.map(([nodeName]) => nodeName))} (${first[1].waiting}); does every allowed root exist there?`;
}

/** A percentage is rounded down: of two nodes both have to report. */
function unavailableAllowed(maxUnavailable: number | string, desired: number): number {
  return typeof maxUnavailable === 'number' ? maxUnavailable : Math.floor((Number.parseInt(maxUnavailable, 10) / 100) * desired);
}

/** `2 nodes: node-1/rootfs: …; node-3/…` with the words of the nodes' own conditions. */
function naming(reports: readonly Report[], type: string, otherwise = 'failing'): string {
  const words = reports.slice(0, namedNodes).map((report) => `${report.nodeName}/${report.status.conditions?.find((condition) => condition.type === type)?.message ?? otherwise}`);
  return `${count(reports.length, 'node')}: ${words.join('; ')}${reports.length > namedNodes ? '; …' : ''}`;
}

function reasonOf(reports: readonly Report[]): 'HeldInUse' | 'HeldRecent' {
  return reports.some((report) => conditionOf(report, 'LimitUnreachable')?.reason === 'HeldInUse') ? 'HeldInUse' : 'HeldRecent';
}

function listed(names: readonly string[], most = namedNodes): string {
  const shown = [...names].sort().slice(0, most);
  return shown.join(', ') + (names.length > most ? ` and ${names.length - most} more` : '');
}

function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? '' : 's'}`;
}

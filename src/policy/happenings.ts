import type { ConditionType } from '../api/conditions.ts';
import { formatBytes } from '../api/quantity.ts';
import type { CachePolicyStatus } from '../api/status.ts';

/** What an admin would look for in `kubectl describe cachepolicy`; a repeated one shows its latest message. */
export interface PolicyHappening {
  readonly type: 'Normal' | 'Warning';
  readonly reason: string;
  readonly message: string;
}

type Rule = (before: CachePolicyStatus, now: CachePolicyStatus) => PolicyHappening | undefined;

/** Each stands for the whole cluster: never one for a node or an entry. */
const rules: readonly Rule[] = [refused, programmed, obstructed, evicted, began('Degraded'), began('LimitUnreachable'), began('Stale')];

/** What happened to a policy between two statuses that were published one after the other. Before its first one, nothing had. */
export function happeningsBetween(before: CachePolicyStatus | undefined, now: CachePolicyStatus): readonly PolicyHappening[] {
  return rules.map((rule) => rule(before ?? {}, now)).filter((happening) => happening !== undefined);
}

/** Conflicted, PathNotAllowed, InvalidSchedule, InvalidCaches; again when it is refused for something else. */
function refused(before: CachePolicyStatus, now: CachePolicyStatus): PolicyHappening | undefined {
  const [was, is] = [conditionOf(before, 'Accepted'), conditionOf(now, 'Accepted')];
  if (is?.status !== 'False' || (was?.reason === is.reason && was.message === is.message)) return undefined;
  return { type: 'Warning', reason: is.reason, message: is.message };
}

/** In force on all nodes that report: for the first time, at a new generation, or again. */
function programmed(before: CachePolicyStatus, now: CachePolicyStatus): PolicyHappening | undefined {
  const [was, is] = [conditionOf(before, 'Programmed'), conditionOf(now, 'Programmed')];
  if (is?.status !== 'True' || (was?.status === 'True' && was.observedGeneration === is.observedGeneration)) return undefined;
  return { type: 'Normal', reason: 'Programmed', message: `generation ${is.observedGeneration} is in force on ${counted(now.nodes?.reporting ?? 0, 'node', 'nodes')}` };
}

const obstacles: ReadonlySet<string> = new Set(['ChildrenRefused', 'AgentNotCreated', 'ImageNotPulled', 'AgentNotStarted', 'NodesNotReporting']);

/** Something keeps agents from running or reporting; again when it is something else. */
function obstructed(before: CachePolicyStatus, now: CachePolicyStatus): PolicyHappening | undefined {
  for (const type of ['Programmed', 'Ready'] as const) {
    const [was, is] = [conditionOf(before, type), conditionOf(now, type)];
    if (is !== undefined && obstacles.has(is.reason) && was?.reason !== is.reason) return { type: 'Warning', reason: is.reason, message: is.message };
  }
  return undefined;
}

/** With the sum so far, because of several close together only the last is shown. */
function evicted(before: CachePolicyStatus, { evictedEntries = 0, evictedBytes = 0 }: CachePolicyStatus): PolicyHappening | undefined {
  const entries = evictedEntries - (before.evictedEntries ?? 0);
  const bytes = evictedBytes - (before.evictedBytes ?? 0);
  if (entries <= 0) return undefined;
  const sum = (count: number, size: number) => `${counted(count, 'entry', 'entries')}, ${formatBytes(size)}`;
  return { type: 'Normal', reason: 'Evicted', message: `evicted ${sum(entries, bytes)}, on all nodes; ${sum(evictedEntries, evictedBytes)} so far` };
}

/** A condition that stands only while something is wrong. */
function began(type: ConditionType): Rule {
  return (before, now) => {
    const is = conditionOf(now, type);
    if (is?.status !== 'True' || conditionOf(before, type)?.status === 'True') return undefined;
    return { type: 'Warning', reason: type, message: is.message };
  };
}

function conditionOf(status: CachePolicyStatus, type: ConditionType) {
  return status.conditions?.find((condition) => condition.type === type);
}

function counted(count: number, one: string, more: string): string {
  return `${count} ${count === 1 ? one : more}`;
}

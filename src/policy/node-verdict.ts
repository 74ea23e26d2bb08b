import type { NodeFigures } from './node-figures.ts';

/** A node whose agent is not ready for this long, or whose report is this old (two missed heartbeats of 5 min and a minute), is stale. */
export const staleAfterNotReadyMs = 60_000;
export const staleAfterReportMs = 11 * 60_000;
/** An agent that has not started for this long is worth a word. */
export const startGraceMs = 30_000;

/** The agent's pod on a node, as of now. */
export interface AgentPod {
  readonly nodeName: string;
  readonly uid: string;
  readonly ready: boolean;
  /** When it last became not ready, or was created; ms since the epoch. */
  readonly notReadySinceMs: number;
  /** What keeps it from starting, as far as the pod says. */
  readonly waiting: string | undefined;
  /** The pod's words about it. */
  readonly says?: string | undefined;
}

/** Why a container's image is missing, as kubelet says. */
const imageReasons: ReadonlySet<string | undefined> = new Set(['ErrImagePull', 'ImagePullBackOff', 'InvalidImageName', 'ErrImageNeverPull', 'ImageInspectError', 'RegistryUnavailable', 'SignatureValidationFailed']);

export function lacksImage({ waiting }: AgentPod): boolean {
  return imageReasons.has(waiting);
}

/** Who asks, and when. */
export interface Vantage {
  readonly policyUID: string;
  /** Nobody has counted where agents should run, and there is no pod of one: then pods say nothing, and the age of a report says all. */
  readonly podless: boolean;
  readonly nowMs: number;
}

/** How one node counts. */
export interface NodeVerdict {
  /** It reported to this very policy, however long ago. */
  readonly reported: boolean;
  /**
   * Fresh: its figures count. Awaited: the last words of a node whose agent is being replaced and has not reported yet. No condition changes because
   * pods take turns in a rollout, but they count in no sum; a node that stays without an agent loses its report after a minute.
   */
  readonly report: 'Fresh' | 'Awaited' | 'None';
  /** Nothing fresh is known of it, though something should be. */
  readonly stale: boolean;
  /** Its agent's pod, or the pod's readiness, has not changed for a while. */
  readonly settledAgent: boolean;
  /** Its agent has not started for a while. */
  readonly notStarted: boolean;
  /** When time alone may change this; ms since the epoch. */
  readonly untilMs: number;
}

/** A report of another policy, pod or node of the same name counts for nothing. */
export function judge(report: NodeFigures | undefined, agent: AgentPod | undefined, { policyUID, podless, nowMs }: Vantage): NodeVerdict {
  const reported = report?.policyUID === policyUID;
  const recent = reported && nowMs - report.reportedAtMs < staleAfterReportMs;
  const notReadyForMs = agent === undefined || agent.ready ? 0 : nowMs - agent.notReadySinceMs;
  const silent = notReadyForMs >= staleAfterNotReadyMs;
  const itsOwn = podless || (agent !== undefined && agent.uid === report?.podUID);
  // One agent is gone, the next is still to come or to report: the controller removes the report of a node where none comes.
  const betweenPods = !podless && (agent === undefined || nowMs - agent.notReadySinceMs < staleAfterNotReadyMs);
  const fresh = recent && itsOwn && !silent;
  return {
    reported,
    report: fresh ? 'Fresh' : recent && !itsOwn && betweenPods ? 'Awaited' : 'None',
    stale: !fresh && (silent || (reported && !betweenPods)),
    settledAgent: agent !== undefined && nowMs - agent.notReadySinceMs >= staleAfterNotReadyMs,
    notStarted: agent?.waiting !== undefined && nowMs - agent.notReadySinceMs >= startGraceMs,
    untilMs: nextAfter(nowMs, [
      ...(reported ? [report.reportedAtMs + staleAfterReportMs] : []),
      ...(agent !== undefined ? [agent.notReadySinceMs + startGraceMs, agent.notReadySinceMs + staleAfterNotReadyMs] : []),
    ]),
  };
}

function nextAfter(nowMs: number, times: readonly number[]): number {
  return Math.min(...times.filter((time) => time > nowMs));
}

import { nodeCacheName, policyLabel } from '../api/names.ts';
import type { NodeCache } from '../api/nodecache.gen.ts';
import { plainText } from '../api/plain-text.ts';
import type { KubeObject } from '../kube/objects.ts';
import type { Stored } from '../kube/store.ts';
import { nodeFigures } from '../policy/node-figures.ts';
import type { NodeFigures } from '../policy/node-figures.ts';
import type { AgentPod } from '../policy/node-verdict.ts';

export type NodeCacheObject = NodeCache & KubeObject;

export interface Pod extends KubeObject {
  spec?: { nodeName?: string; affinity?: { nodeAffinity?: { requiredDuringSchedulingIgnoredDuringExecution?: { nodeSelectorTerms?: NodeSelectorTerm[] } } } };
  status?: {
    conditions?: { type: string; status: string; reason?: string; message?: string; lastTransitionTime?: string }[];
    containerStatuses?: { state?: { waiting?: Waiting } }[];
  };
}

type NodeSelectorTerm = { matchFields?: { key: string; values?: string[] }[] };
type Waiting = { reason?: string; message?: string };

/** What is kept of a NodeCache: there is one a node. */
export interface ReportRecord extends Stored {
  readonly policyName: string;
  readonly nodeName: string;
  /** Undefined before the first report. */
  readonly figures: NodeFigures | undefined;
}

/** What is kept of an agent's pod. */
export interface PodRecord extends Stored {
  readonly policyName: string;
  readonly createdAt: string;
  readonly ending: boolean;
  /** Undefined before it has a node. */
  readonly agent: AgentPod | undefined;
}

/** Of a pod's own words so many are kept. */
const mostWords = 256;

/** Texts that every node repeats: the name of the policy and of its caches, its uid. One copy of each is kept, as long as the process lives. */
const repeated = new Map<string, string>();
/** More than any cluster has policies and caches: an agent gone mad, which may write what it likes into its report, must not fill the memory. */
const mostRepeated = 10_000;

function intern(text: string): string {
  const known = repeated.get(text);
  if (known === undefined && repeated.size < mostRepeated) repeated.set(text, text);
  return known ?? text;
}

export function reportRecord({ metadata, spec, status }: NodeCacheObject): ReportRecord {
  const { nodeName } = spec;
  return { metadata: identity(metadata), policyName: intern(spec.policyName), nodeName, figures: status && nodeFigures(nodeName, status, intern) };
}

/** Agents can write no other name. What somebody else makes up under another one counts for nothing. */
export function isAgentsOwn({ metadata, policyName, nodeName }: ReportRecord): boolean {
  return metadata.name === nodeCacheName(policyName, nodeName);
}

export function podRecord({ metadata, spec, status }: Pod): PodRecord {
  const { labels, creationTimestamp = '', deletionTimestamp } = metadata;
  const ready = status?.conditions?.find((condition) => condition.type === 'Ready');
  const since = ready?.status === 'True' ? undefined : ready?.lastTransitionTime;
  const nodeName = spec?.nodeName ?? intendedNode(spec);
  const waiting = waitingOf(status);
  return {
    metadata: identity(metadata),
    policyName: intern(labels?.[policyLabel] ?? ''),
    createdAt: creationTimestamp,
    ending: deletionTimestamp !== undefined,
    agent: nodeName === undefined ? undefined : {
      nodeName,
      uid: metadata.uid ?? '',
      ready: ready?.status === 'True' && deletionTimestamp === undefined,
      notReadySinceMs: Date.parse(since ?? deletionTimestamp ?? creationTimestamp),
      waiting: waiting?.reason === undefined ? undefined : intern(waiting.reason),
      ...(waiting?.message !== undefined && { says: plainText(waiting.message, mostWords) }),
    },
  };
}

/** The pod of a DaemonSet names its node before the scheduler has put it there. */
function intendedNode(spec: Pod['spec']): string | undefined {
  const terms = spec?.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms ?? [];
  return terms.flatMap(({ matchFields = [] }) => matchFields).find(({ key }) => key === 'metadata.name')?.values?.[0];
}

/** What keeps a pod from starting. The message of a crash loop counts seconds, and says nothing else. */
function waitingOf(status: Pod['status']): Waiting | undefined {
  const unscheduled = status?.conditions?.find(({ type, status: is }) => type === 'PodScheduled' && is === 'False');
  if (unscheduled !== undefined) return { reason: unscheduled.reason ?? 'Unschedulable', ...(unscheduled.message !== undefined && { message: unscheduled.message }) };
  const waiting = status?.containerStatuses?.find(({ state }) => state?.waiting)?.state?.waiting;
  if (waiting?.reason !== 'CrashLoopBackOff') return waiting;
  return { reason: waiting.reason };
}

function identity({ name, namespace, uid, resourceVersion }: KubeObject['metadata']): Stored['metadata'] {
  return { name, ...(namespace !== undefined && { namespace }), ...(uid !== undefined && { uid }), ...(resourceVersion !== undefined && { resourceVersion }) };
}

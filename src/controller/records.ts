import { nodeCacheName, policyLabel } from '../api/names.ts';
import type { NodeCache } from '../api/nodecache.gen.ts';
import type { KubeObject } from '../kube/objects.ts';
import type { Stored } from '../kube/store.ts';
import { nodeFigures } from '../policy/node-figures.ts';
import type { NodeFigures } from '../policy/node-figures.ts';
import type { AgentPod } from '../policy/node-verdict.ts';

export type NodeCacheObject = NodeCache & KubeObject;

export interface Pod extends KubeObject {
  spec?: { nodeName?: string };
  status?: {
    conditions?: { type: string; status: string; lastTransitionTime?: string }[];
    containerStatuses?: { state?: { waiting?: { reason?: string } } }[];
  };
}

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
  const waiting = status?.containerStatuses?.find(({ state }) => state?.waiting)?.state?.waiting?.reason;
  return {
    metadata: identity(metadata),
    policyName: intern(labels?.[policyLabel] ?? ''),
    createdAt: creationTimestamp,
    ending: deletionTimestamp !== undefined,
    agent: spec?.nodeName === undefined ? undefined : {
      nodeName: spec.nodeName,
      uid: metadata.uid ?? '',
      ready: ready?.status === 'True' && deletionTimestamp === undefined,
      notReadySinceMs: Date.parse(since ?? deletionTimestamp ?? creationTimestamp),
      waiting: waiting === undefined ? undefined : intern(waiting),
    },
  };
}

function identity({ name, namespace, uid, resourceVersion }: KubeObject['metadata']): Stored['metadata'] {
  return { name, ...(namespace !== undefined && { namespace }), ...(uid !== undefined && { uid }), ...(resourceVersion !== undefined && { resourceVersion }) };
}

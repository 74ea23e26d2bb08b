import { policyLabel } from '../api/names.ts';
import type { NodeCache } from '../api/nodecache.gen.ts';
import type { KubeObject } from '../kube/objects.ts';
import type { Store } from '../kube/store.ts';
import type { AgentPod, Report } from '../policy/roll-up.ts';

export type NodeCacheObject = NodeCache & KubeObject;

export interface Pod extends KubeObject {
  spec?: { nodeName?: string };
  status?: {
    conditions?: { type: string; status: string; lastTransitionTime?: string }[];
    containerStatuses?: { state?: { waiting?: { reason?: string } } }[];
  };
}

/** The little of a pod that is kept: there is one a node. */
export function trimPod({ apiVersion, kind, metadata, spec, status }: Pod): Pod {
  const { name, namespace, uid, resourceVersion, creationTimestamp, deletionTimestamp, labels } = metadata;
  const kept = { name, namespace, uid, resourceVersion, creationTimestamp, deletionTimestamp, labels: { [policyLabel]: labels?.[policyLabel] ?? '' } };
  return {
    apiVersion, kind,
    metadata: Object.fromEntries(Object.entries(kept).filter(([, value]) => value !== undefined)) as unknown as Pod['metadata'],
    spec: spec?.nodeName === undefined ? {} : { nodeName: spec.nodeName },
    status: {
      conditions: (status?.conditions ?? []).filter((condition) => condition.type === 'Ready'),
      containerStatuses: (status?.containerStatuses ?? []).map(({ state }) => (state?.waiting?.reason === undefined ? {} : { state: { waiting: { reason: state.waiting.reason } } })),
    },
  };
}

/** Reports and agents' pods, by the policy they belong to. Kept as the stores tell, so that a look costs only the policy's own nodes. */
export class Inventory {
  readonly #reports = new Map<string, Map<string, NodeCacheObject>>();
  readonly #pods = new Map<string, Map<string, Pod>>();
  readonly #departed = new Map<string, { evictedEntries: number; evictedBytes: number }>();
  readonly #subscriptions: readonly (() => void)[];

  constructor(nodeCaches: Store<NodeCacheObject>, pods: Store<Pod>, onChange: (policyName: string) => void) {
    const put = (object: NodeCacheObject) => {
      entriesOf(this.#reports, object.spec.policyName).set(object.metadata.name, object);
      onChange(object.spec.policyName);
    };
    const ofNodeCaches = nodeCaches.subscribe({
      added: put,
      updated: put,
      deleted: (object) => {
        this.#reports.get(object.spec.policyName)?.delete(object.metadata.name);
        this.#depart(object);
        onChange(object.spec.policyName);
      },
    });
    const putPod = (pod: Pod) => {
      entriesOf(this.#pods, policyOf(pod)).set(pod.metadata.name, pod);
      onChange(policyOf(pod));
    };
    const ofPods = pods.subscribe({
      added: putPod,
      updated: putPod,
      deleted: (pod) => {
        this.#pods.get(policyOf(pod))?.delete(pod.metadata.name);
        onChange(policyOf(pod));
      },
    });
    this.#subscriptions = [ofNodeCaches, ofPods];
  }

  end(): void {
    for (const unsubscribe of this.#subscriptions) unsubscribe();
  }

  nodeCaches(policyName: string): readonly NodeCacheObject[] {
    return [...(this.#reports.get(policyName)?.values() ?? [])];
  }

  reports(policyName: string): readonly Report[] {
    return reportsOf(this.nodeCaches(policyName));
  }

  /** The agent's pod of each node. Of two on one node the one that stays counts. */
  agents(policyName: string): ReadonlyMap<string, AgentPod> {
    const agents = new Map<string, AgentPod>();
    const pods = [...(this.#pods.get(policyName)?.values() ?? [])].sort(bySettled);
    for (const pod of pods) if (pod.spec?.nodeName !== undefined) agents.set(pod.spec.nodeName, agentPod(pod));
    return agents;
  }

  /** What NodeCaches of one policy that were deleted had evicted, since it was last settled. Of another policy of the same name nothing counts. */
  departed(policyName: string, policyUID: string): { readonly evictedEntries: number; readonly evictedBytes: number } {
    return this.#departed.get(`${policyName}/${policyUID}`) ?? { evictedEntries: 0, evictedBytes: 0 };
  }

  /** The amount has been written into the policy's status. */
  settleDeparted(policyName: string, policyUID: string, written: { readonly evictedEntries: number; readonly evictedBytes: number }): void {
    const { evictedEntries, evictedBytes } = this.departed(policyName, policyUID);
    const left = { evictedEntries: evictedEntries - written.evictedEntries, evictedBytes: evictedBytes - written.evictedBytes };
    if (left.evictedEntries === 0 && left.evictedBytes === 0) this.#departed.delete(`${policyName}/${policyUID}`);
    else this.#departed.set(`${policyName}/${policyUID}`, left);
  }

  /** The policy is gone. */
  forget(policyName: string): void {
    for (const key of this.#departed.keys()) if (key.startsWith(`${policyName}/`)) this.#departed.delete(key);
  }

  #depart({ spec, status }: NodeCacheObject): void {
    if (status?.policyUID === undefined) return;
    const { evictedEntries, evictedBytes } = this.departed(spec.policyName, status.policyUID);
    this.#departed.set(`${spec.policyName}/${status.policyUID}`, {
      evictedEntries: evictedEntries + (status.evictedEntries ?? 0), evictedBytes: evictedBytes + (status.evictedBytes ?? 0),
    });
  }
}

export function reportsOf(nodeCaches: readonly NodeCacheObject[]): readonly Report[] {
  return nodeCaches.flatMap(({ spec, status }) => (status === undefined ? [] : [{ nodeName: spec.nodeName, status }]));
}

function entriesOf<T>(maps: Map<string, Map<string, T>>, key: string): Map<string, T> {
  const known = maps.get(key);
  if (known !== undefined) return known;
  const made = new Map<string, T>();
  maps.set(key, made);
  return made;
}

function policyOf(pod: Pod): string {
  return pod.metadata.labels?.[policyLabel] ?? '';
}

/** Terminating pods first, then by age: the last one set for a node is the one that stays. */
function bySettled(a: Pod, b: Pod): number {
  const ends = Number(a.metadata.deletionTimestamp === undefined) - Number(b.metadata.deletionTimestamp === undefined);
  return ends !== 0 ? ends : (a.metadata.creationTimestamp ?? '').localeCompare(b.metadata.creationTimestamp ?? '');
}

function agentPod(pod: Pod): AgentPod {
  const ready = pod.status?.conditions?.find((condition) => condition.type === 'Ready');
  const since = ready?.status === 'True' ? undefined : ready?.lastTransitionTime;
  const waiting = pod.status?.containerStatuses?.find(({ state }) => state?.waiting)?.state?.waiting?.reason;
  return {
    uid: pod.metadata.uid ?? '',
    ready: ready?.status === 'True' && pod.metadata.deletionTimestamp === undefined,
    notReadySinceMs: Date.parse(since ?? pod.metadata.deletionTimestamp ?? pod.metadata.creationTimestamp ?? ''),
    waiting,
  };
}

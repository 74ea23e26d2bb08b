import { beforeEach, describe, expect, it } from 'vitest';
import { policyLabel } from '../../src/api/names.ts';
import { Inventory } from '../../src/controller/inventory.ts';
import { podRecord, reportRecord } from '../../src/controller/records.ts';
import type { NodeCacheObject, Pod, PodRecord, ReportRecord } from '../../src/controller/records.ts';
import { Store } from '../../src/kube/store.ts';
import type { Stored } from '../../src/kube/store.ts';
import { silentLog } from '../../src/observe/log.ts';
import { SteppedClock } from '../kube/stepped-clock.ts';
import { aNodeCache, aPod } from './builders.ts';

let clock: SteppedClock;
let nodeCaches: Store<ReportRecord, NodeCacheObject>;
let pods: Store<PodRecord, Pod>;
let inventory: Inventory;
let changed: string[];

beforeEach(() => {
  clock = new SteppedClock();
  nodeCaches = new Store({ log: silentLog, trim: reportRecord });
  pods = new Store({ log: silentLog, trim: podRecord });
  changed = [];
  inventory = new Inventory(nodeCaches, pods, (name) => changed.push(name), clock);
});

let version = 1;
const shows = <T extends NodeCacheObject | Pod>(store: Store<Stored, T>, object: T, type: 'MODIFIED' | 'DELETED' = 'MODIFIED') =>
  store.apply({ type, object: { ...object, metadata: { ...object.metadata, resourceVersion: String((version += 1)) } } });
/** The nodes of a policy as they count at present. */
const counted = (name = 'a3s-box', of: Inventory = inventory) => {
  const fleet = of.fleet(name);
  fleet.look({ policyUID: 'policy-uid', podless: false, nowMs: clock.wallMs() });
  return { reporting: fleet.fresh.size, awaited: fleet.awaited.size, agents: fleet.agents, entries: fleet.fresh.caches.get('rootfs')?.sum('entryCount') ?? 0 };
};

describe('the nodes of a policy', () => {
  it('are counted by their reports and pods, and say so when these come, change and go', () => {
    shows(pods, aPod('node-1'));
    shows(nodeCaches, aNodeCache('node-1'));
    shows(nodeCaches, { ...aNodeCache('node-9'), metadata: { name: 'other.node-9', uid: 'x' }, spec: { policyName: 'other', nodeName: 'node-9' } });
    expect([counted(), counted('other'), counted('none')].map(({ reporting, awaited, agents }) => [reporting, awaited, agents])).toEqual([[1, 0, 1], [0, 1, 0], [0, 0, 0]]);
    shows(nodeCaches, aNodeCache('node-1', { caches: [{ name: 'rootfs', stats: { entryCount: 7, totalBytes: 1 } }] }));
    expect(counted().entries).toBe(7);
    shows(nodeCaches, aNodeCache('node-1'), 'DELETED');
    shows(pods, aPod('node-1'), 'DELETED');
    expect(counted()).toEqual({ reporting: 0, awaited: 0, agents: 0, entries: 0 });
    expect(changed).toEqual(['a3s-box', 'a3s-box', 'other', 'a3s-box', 'a3s-box', 'a3s-box']);
  });

  it('count for nothing where they have said nothing yet, or something else than an agent made the report up', () => {
    for (const node of ['node-1', 'node-2']) shows(pods, aPod(node));
    const { status: _, ...silent } = aNodeCache('node-1');
    shows(nodeCaches, silent);
    shows(nodeCaches, aNodeCache('node-2', {}, { name: 'a-squat' }));
    expect(counted()).toMatchObject({ reporting: 0, awaited: 0, agents: 2 });
  });

  it('include what was there before the inventory', () => {
    shows(nodeCaches, aNodeCache('node-1'));
    shows(pods, aPod('node-1'));
    expect(counted('a3s-box', new Inventory(nodeCaches, pods, () => undefined, clock))).toMatchObject({ reporting: 1, agents: 1 });
  });

  it('are followed no further after the end', () => {
    inventory.end();
    shows(nodeCaches, aNodeCache('node-1'));
    shows(pods, aPod('node-1'));
    expect([counted(), changed]).toEqual([{ reporting: 0, awaited: 0, agents: 0, entries: 0 }, []]);
  });

  it('have no agent where a pod has no node yet, and one as soon as it has', () => {
    shows(pods, { ...aPod('node-1'), spec: {} });
    expect(counted().agents).toBe(0);
    shows(pods, aPod('node-1'));
    expect(counted().agents).toBe(1);
  });

  it.each([[['ending', 'staying']], [['staying', 'ending']], [['staying', 'older']], [['older', 'staying']]])('have, of two pods, the one that stays and is younger (%s)', (order) => {
    const pod = {
      ending: aPod('node-1', { uid: 'ending', metadata: { deletionTimestamp: '2026-01-01T00:00:30Z', creationTimestamp: '2026-01-01T00:00:20Z' } }),
      older: aPod('node-1', { uid: 'older', metadata: { creationTimestamp: '2026-01-01T00:00:05Z' } }),
      staying: aPod('node-1', { uid: 'staying', metadata: { creationTimestamp: '2026-01-01T00:00:10Z' } }),
    };
    shows(nodeCaches, aNodeCache('node-1', { podUID: 'staying' }));
    for (const each of order) shows(pods, pod[each as keyof typeof pod]);
    expect(counted()).toMatchObject({ reporting: 1, agents: 1 });
    for (const each of order) shows(pods, pod[each as keyof typeof pod], 'DELETED');
    expect(counted()).toMatchObject({ reporting: 0, agents: 0 });
  });
});

describe('a report without an agent', () => {
  const agentless = () => [...inventory.agentless('a3s-box', 60_000)].map(({ nodeName }) => nodeName);

  it('is told of after its time, the one that waits longest first', () => {
    for (const node of ['node-1', 'node-2']) {
      shows(pods, aPod(node));
      shows(nodeCaches, aNodeCache(node));
    }
    for (const node of ['node-2', 'node-1']) {
      shows(pods, aPod(node), 'DELETED');
      clock.jump(1_000);
    }
    clock.jump(57_000);
    expect(agentless()).toEqual([]);
    // A report that still comes in changes nothing: it is the pod that counts.
    shows(nodeCaches, aNodeCache('node-2', { entries: '5' }));
    clock.jump(1_000);
    expect(agentless()).toEqual(['node-2']);
    clock.jump(1_000);
    expect(agentless()).toEqual(['node-2', 'node-1']);
  });

  it('is told of no more once there is an agent, or no report', () => {
    for (const node of ['node-1', 'node-2']) shows(nodeCaches, aNodeCache(node));
    clock.jump(60_000);
    expect(agentless()).toEqual(['node-1', 'node-2']);
    shows(pods, aPod('node-1'));
    shows(nodeCaches, aNodeCache('node-2'), 'DELETED');
    expect(agentless()).toEqual([]);
  });
});

describe('the agent of a pod', () => {
  const at = (time: string) => Date.parse(time);
  const condition = (status: string, lastTransitionTime: string) => ({ conditions: [{ type: 'Ready', status, lastTransitionTime }] });

  it('is known by its node', () => {
    expect(podRecord(aPod('node-1')).agent).toMatchObject({ nodeName: 'node-1', uid: 'pod-node-1', ready: true, waiting: undefined });
  });

  it.each([
    ['False', 'since it says so', '2026-01-01T00:05:00Z'],
    ['Unknown', 'since it says so', '2026-01-01T00:05:00Z'],
  ])('is not ready with a condition that is %s, %s', (status, _, since) => {
    expect(podRecord(aPod('node-1', { status: condition(status, since) })).agent).toMatchObject({ ready: false, notReadySinceMs: at(since) });
  });

  it('is not ready since its creation while there is no condition', () => {
    expect(podRecord(aPod('node-1', { metadata: { creationTimestamp: '2026-01-01T00:01:00Z' }, status: {} })).agent).toMatchObject({ ready: false, notReadySinceMs: at('2026-01-01T00:01:00Z') });
  });

  it('is not ready while the pod ends, whatever its condition says', () => {
    expect(podRecord(aPod('node-1', { metadata: { deletionTimestamp: '2026-01-01T00:02:00Z' } })).agent).toMatchObject({ ready: false, notReadySinceMs: at('2026-01-01T00:02:00Z') });
  });

  it('waits for what its container says', () => {
    expect(podRecord(aPod('node-1', { status: { containerStatuses: [{ state: { waiting: { reason: 'ImagePullBackOff' } } }] } })).agent).toMatchObject({ ready: false, waiting: 'ImagePullBackOff' });
  });
});

describe('a pod that cannot be scheduled', () => {
  it('is the agent of the node that it is for, and says why it waits', () => {
    const pod = aPod('node-1', { status: { conditions: [{ type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: '0/3 nodes are available:\n1 Insufficient cpu.' }] } });
    const affinity = { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [{ matchFields: [{ key: 'metadata.name', operator: 'In', values: ['node-1'] }] }] } } };
    expect(podRecord({ ...pod, spec: { affinity } } as Pod).agent).toMatchObject({ nodeName: 'node-1', ready: false, waiting: 'Unschedulable', says: '0/3 nodes are available: 1 Insufficient cpu.' });
  });

  it('is on no node where it names none', () => {
    expect(podRecord({ ...aPod('node-1'), spec: {} }).agent).toBeUndefined();
  });
});

describe('what is kept', () => {
  const managedFields = ['x'.repeat(1000)];

  it('of a pod is what is counted, and nothing else', () => {
    const pod = aPod('node-1', {
      metadata: { annotations: { large: 'x'.repeat(1000) }, labels: { [policyLabel]: 'a3s-box', other: 'label' } },
      status: { conditions: [{ type: 'Ready', status: 'True', lastTransitionTime: '2026-01-01T00:00:00Z' }, { type: 'Initialized', status: 'True' }], containerStatuses: [{ state: {} }], hostIP: '10.0.0.1' } as Pod['status'],
    });
    expect(podRecord({ ...pod, metadata: { ...pod.metadata, managedFields }, spec: { nodeName: 'node-1', containers: ['many'] } as Pod['spec'] } as Pod)).toEqual({
      metadata: { name: 'cachepolicy-a3s-box-pod-node-1', namespace: 'cachepolicy-system', uid: 'pod-node-1', resourceVersion: '1' },
      policyName: 'a3s-box', createdAt: '2025-12-31T00:00:00Z', ending: false,
      agent: { nodeName: 'node-1', uid: 'pod-node-1', ready: true, notReadySinceMs: Date.parse('2025-12-31T00:00:00Z'), waiting: undefined },
    });
  });

  it('of a report is its figures, and words only where something is wrong', () => {
    expect(reportRecord(aNodeCache('node-1', {}, { managedFields }))).toEqual({
      metadata: { name: 'a3s-box.node-1', uid: 'report-node-1', resourceVersion: '1' },
      policyName: 'a3s-box', nodeName: 'node-1',
      figures: {
        nodeName: 'node-1', policyUID: 'policy-uid', podUID: 'pod-node-1', reportedAtMs: Date.parse('2026-01-01T00:00:00Z'), observedGeneration: 1,
        evictedEntries: 2, evictedBytes: 2048, lastEvictionTime: undefined, failing: undefined, overLimit: undefined, unreachable: undefined,
        caches: [{
          nodeName: 'node-1', name: 'rootfs', known: true, usage: 0.5, entryCount: 4, totalBytes: 4096,
          evictedEntries: 2, evictedBytes: 2048, protectedBytes: 0, wouldEvictEntries: 0, wouldEvictBytes: 0,
        }],
      },
    });
  });
});

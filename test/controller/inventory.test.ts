import { beforeEach, describe, expect, it } from 'vitest';
import { policyLabel } from '../../src/api/names.ts';
import type { NodeCacheObject, Pod } from '../../src/controller/inventory.ts';
import { Inventory, trimPod } from '../../src/controller/inventory.ts';
import { Store } from '../../src/kube/store.ts';
import { silentLog } from '../../src/observe/log.ts';
import { aNodeCache, aPod } from './builders.ts';

let nodeCaches: Store<NodeCacheObject>;
let pods: Store<Pod>;
let inventory: Inventory;
let changed: string[];

beforeEach(() => {
  nodeCaches = new Store({ log: silentLog });
  pods = new Store({ log: silentLog, trim: trimPod });
  changed = [];
  inventory = new Inventory(nodeCaches, pods, (name) => changed.push(name));
});

let version = 1;
const shows = <T extends NodeCacheObject | Pod>(store: Store<T>, object: T, type: 'MODIFIED' | 'DELETED' = 'MODIFIED') =>
  store.apply({ type, object: { ...object, metadata: { ...object.metadata, resourceVersion: String((version += 1)) } } });
const nodes = (name = 'a3s-box') => inventory.reports(name).map((report) => report.nodeName);

describe('the reports of a policy', () => {
  it('are those of its own nodes, and say so when they come, change and go', () => {
    shows(nodeCaches, aNodeCache('node-1'));
    shows(nodeCaches, { ...aNodeCache('node-9'), metadata: { name: 'other.node-9', uid: 'x' }, spec: { policyName: 'other', nodeName: 'node-9' } });
    shows(nodeCaches, aNodeCache('node-1', { entries: '7' }));
    expect([nodes(), nodes('other'), nodes('none')]).toEqual([['node-1'], ['node-9'], []]);
    expect(inventory.reports('a3s-box')[0]?.status.entries).toBe('7');
    shows(nodeCaches, aNodeCache('node-1'), 'DELETED');
    expect(nodes()).toEqual([]);
    expect(changed).toEqual(['a3s-box', 'other', 'a3s-box', 'a3s-box']);
  });

  it('leave out a node that has said nothing yet', () => {
    const { status: _, ...silent } = aNodeCache('node-1');
    shows(nodeCaches, silent);
    expect(nodes()).toEqual([]);
    expect(inventory.nodeCaches('a3s-box')).toHaveLength(1);
  });

  it('include what was there before the inventory', () => {
    shows(nodeCaches, aNodeCache('node-1'));
    shows(pods, aPod('node-1'));
    const later = new Inventory(nodeCaches, pods, () => undefined);
    expect([later.reports('a3s-box').length, later.agents('a3s-box').size]).toEqual([1, 1]);
  });

  it('are followed no further after the end', () => {
    inventory.end();
    shows(nodeCaches, aNodeCache('node-1'));
    shows(pods, aPod('node-1'));
    expect([nodes(), inventory.agents('a3s-box').size, changed]).toEqual([[], 0, []]);
  });
});

describe('the agents of a policy', () => {
  const agent = (node = 'node-1') => inventory.agents('a3s-box').get(node);
  const at = (time: string) => Date.parse(time);
  const condition = (status: string, lastTransitionTime: string) => ({ conditions: [{ type: 'Ready', status, lastTransitionTime }] });

  it('are known by their node', () => {
    shows(pods, aPod('node-1'));
    shows(pods, aPod('node-2', { policy: 'other' }));
    expect([...inventory.agents('a3s-box').keys()]).toEqual(['node-1']);
    expect(agent()).toMatchObject({ uid: 'pod-node-1', ready: true, waiting: undefined });
    shows(pods, aPod('node-1'), 'DELETED');
    expect(agent()).toBeUndefined();
    expect(changed).toEqual(['a3s-box', 'other', 'a3s-box']);
  });

  it('are none where a pod has no node yet', () => {
    shows(pods, { ...aPod('node-1'), spec: {} });
    expect(inventory.agents('a3s-box').size).toBe(0);
  });

  it.each([
    ['False', 'since it says so', '2026-01-01T00:05:00Z'],
    ['Unknown', 'since it says so', '2026-01-01T00:05:00Z'],
  ])('are not ready with a condition that is %s, %s', (status, _, since) => {
    shows(pods, aPod('node-1', { status: condition(status, since) }));
    expect(agent()).toMatchObject({ ready: false, notReadySinceMs: at(since) });
  });

  it('are not ready since their creation while there is no condition', () => {
    shows(pods, aPod('node-1', { metadata: { creationTimestamp: '2026-01-01T00:01:00Z' }, status: {} }));
    expect(agent()).toMatchObject({ ready: false, notReadySinceMs: at('2026-01-01T00:01:00Z') });
  });

  it('are not ready while they end, whatever their condition says', () => {
    shows(pods, aPod('node-1', { metadata: { deletionTimestamp: '2026-01-01T00:02:00Z' } }));
    expect(agent()).toMatchObject({ ready: false, notReadySinceMs: at('2026-01-01T00:02:00Z') });
  });

  it('are waiting for what their container says', () => {
    shows(pods, aPod('node-1', { status: { containerStatuses: [{ state: { waiting: { reason: 'ImagePullBackOff' } } }] } }));
    expect(agent()).toMatchObject({ ready: false, waiting: 'ImagePullBackOff' });
  });

  it.each([[['ending', 'staying']], [['staying', 'ending']]])('are, of two pods on one node, the one that stays (%s)', (order) => {
    const pod = {
      ending: aPod('node-1', { uid: 'ending', metadata: { deletionTimestamp: '2026-01-01T00:00:30Z', creationTimestamp: '2026-01-01T00:00:20Z' } }),
      staying: aPod('node-1', { uid: 'staying', metadata: { creationTimestamp: '2026-01-01T00:00:10Z' } }),
    };
    for (const each of order) shows(pods, pod[each as keyof typeof pod]);
    expect(agent()?.uid).toBe('staying');
  });

  it('are, of two pods that stay, the younger', () => {
    shows(pods, aPod('node-1', { uid: 'young', metadata: { creationTimestamp: '2026-01-01T00:00:20Z' } }));
    shows(pods, aPod('node-1', { uid: 'old', metadata: { creationTimestamp: '2026-01-01T00:00:10Z' } }));
    expect(agent()?.uid).toBe('young');
  });
});

describe('what departed nodes had evicted', () => {
  const of = (uid = 'policy-uid') => inventory.departed('a3s-box', uid).evictedEntries;

  it('is kept by the uid of the policy until it is settled', () => {
    for (const node of ['node-1', 'node-2']) shows(nodeCaches, aNodeCache(node));
    for (const node of ['node-1', 'node-2']) shows(nodeCaches, aNodeCache(node), 'DELETED');
    expect([of(), of('another-uid')]).toEqual([4, 0]);
    expect(inventory.departed('a3s-box', 'policy-uid').evictedBytes).toBe(4096);
  });

  it('keeps what departs while the rest is being written', () => {
    shows(nodeCaches, aNodeCache('node-1'));
    shows(nodeCaches, aNodeCache('node-1'), 'DELETED');
    const written = inventory.departed('a3s-box', 'policy-uid');
    shows(nodeCaches, aNodeCache('node-2', { evictedEntries: 5 }));
    shows(nodeCaches, aNodeCache('node-2'), 'DELETED');
    inventory.settleDeparted('a3s-box', 'policy-uid', written);
    expect(of()).toBe(5);
    inventory.settleDeparted('a3s-box', 'policy-uid', inventory.departed('a3s-box', 'policy-uid'));
    expect(of()).toBe(0);
  });

  it('is nothing for a node that never reported', () => {
    const { status: _, ...silent } = aNodeCache('node-1');
    shows(nodeCaches, silent);
    shows(nodeCaches, silent, 'DELETED');
    expect(of()).toBe(0);
  });

  it('is forgotten with the policy, and with no other', () => {
    for (const policyName of ['a3s-box', 'a3s-box-2']) {
      const report = { ...aNodeCache('node-1'), metadata: { name: `${policyName}.node-1`, uid: policyName }, spec: { policyName, nodeName: 'node-1' } };
      shows(nodeCaches, report);
      shows(nodeCaches, report, 'DELETED');
    }
    inventory.forget('a3s-box');
    expect([of(), inventory.departed('a3s-box-2', 'policy-uid').evictedEntries]).toEqual([0, 2]);
  });
});

describe('what is kept of a pod', () => {
  it('is what the inventory reads, and nothing else', () => {
    const pod = aPod('node-1', {
      metadata: { annotations: { large: 'x'.repeat(1000) }, labels: { [policyLabel]: 'a3s-box', other: 'label' } },
      status: { conditions: [{ type: 'Ready', status: 'True' }, { type: 'Initialized', status: 'True' }], containerStatuses: [{ state: {} }], hostIP: '10.0.0.1' } as Pod['status'],
    });
    expect(trimPod({ ...pod, spec: { nodeName: 'node-1', containers: ['many'] } as Pod['spec'] } as Pod)).toEqual({
      apiVersion: 'v1', kind: 'Pod', spec: { nodeName: 'node-1' },
      metadata: {
        name: 'cachepolicy-a3s-box-pod-node-1', namespace: 'cachepolicy-system', uid: 'pod-node-1', resourceVersion: '1',
        creationTimestamp: '2025-12-31T00:00:00Z', labels: { [policyLabel]: 'a3s-box' },
      },
      status: { conditions: [{ type: 'Ready', status: 'True' }], containerStatuses: [{}] },
    });
  });
});

import { beforeEach, describe, expect, it } from 'vitest';
import type { PolicyObject } from '../../src/controller/admission.ts';
import { aCacheSpec, aNodeCache, aPod, aPolicy } from './builders.ts';
import { Scenario } from './scenario.ts';
import { noLimits } from '../../src/policy/limits.ts';

const configMap = 'apply ConfigMap cachepolicy-system/cachepolicy-a3s-box';
const daemonSet = 'apply DaemonSet cachepolicy-system/cachepolicy-a3s-box';
const status = 'status a3s-box';
const second = 1_000;

let scenario: Scenario;

beforeEach(() => {
  scenario = new Scenario();
  scenario.shows(scenario.policies, aPolicy());
});

/** The policy at rest: applied, and its agents report from these nodes. */
async function running(...nodes: string[]): Promise<void> {
  await scenario.calls();
  for (const node of nodes) {
    scenario.shows(scenario.pods, aPod(node));
    scenario.shows(scenario.nodeCaches, aNodeCache(node));
  }
  scenario.shows(scenario.daemonSets, { ...scenario.child('DaemonSet'), status: { observedGeneration: 1, desiredNumberScheduled: nodes.length } });
  await scenario.calls();
  expect(await scenario.calls()).toEqual([]);
  // Whatever the pace of the status was, it is forgotten.
  scenario.clock.jump(60 * second);
}

const compiled = () => JSON.parse(scenario.child('ConfigMap').data?.['policy.json'] ?? '');

describe('a pin that expires', () => {
  it('is told in the status with the next look, and changes nothing else', async () => {
    scenario.edit((spec) => {
      spec.caches[0]!.protect = { minIdle: '60s', keep: [{ key: 'secret', until: new Date(scenario.clock.wallMs() + 90 * second).toISOString() }] };
    });
    await scenario.calls();
    const accepted = () => scenario.status.conditions?.find(({ type }) => type === 'Accepted')?.message;
    expect(accepted()).toBe('in force');
    scenario.clock.jump(90 * second);
    expect(await scenario.calls()).toEqual([status]);
    expect(accepted()).toMatch(/^in force; rootfs: protect\.keep\[0\] expired at /);
  });
});

describe('a new policy', () => {
  it('gets its ConfigMap, its agents and a status, in this order', async () => {
    expect(await scenario.reconcile()).toEqual({ calls: [configMap, daemonSet, status], again: 30 * second });
  });

  it('has a value in every column and every condition from the first reconcile on', async () => {
    await scenario.calls();
    expect(scenario.status).toMatchObject({ reporting: '0/-', entries: '-', size: '-', usage: '-', evictedEntries: 0, reclaimed: '0' });
    expect(['Accepted', 'Programmed', 'Ready'].map((type) => scenario.condition(type))).toEqual(['True Accepted', 'False NoReports', 'False NotProgrammed']);
  });

  it('causes no further write when it is looked at again', async () => {
    await scenario.calls();
    expect(await scenario.reconcile()).toEqual({ calls: [], again: 30 * second });
    scenario.clock.jump(600 * second);
    expect(await scenario.calls()).toEqual([]);
  });

  it('is applied once more, and its status refused, while the watch does not show the first writes yet', async () => {
    scenario.watchLags = true;
    await scenario.calls();
    expect(await scenario.reconcile()).toEqual({ calls: [configMap, daemonSet, status], again: second });
    scenario.catchUp();
    expect(await scenario.calls()).toEqual([]);
  });
});

describe('a policy that is not accepted', () => {
  const refused = (spec: PolicyObject['spec']) => (spec.caches[0]!.a3sBox!.home = '/etc');
  const accepted = (spec: PolicyObject['spec']) => (spec.caches[0]!.a3sBox!.home = '/var/lib/a3s-box/home');

  it('starts no agents, and gets nothing but a status that says why', async () => {
    scenario.edit(refused);
    expect(await scenario.reconcile()).toEqual({ calls: [status], again: 30 * second });
    expect(['Accepted', 'Programmed', 'Ready'].map((type) => scenario.condition(type))).toEqual(['False PathNotAllowed', 'False NotAccepted', 'False NotAccepted']);
    scenario.clock.jump(600 * second);
    expect(await scenario.calls()).toEqual([]);
  });

  it('starts no agents while an older policy governs its directory', async () => {
    const older = aPolicy({}, { name: 'older', uid: 'older-uid', creationTimestamp: '2025-01-01T00:00:00Z' });
    scenario.shows(scenario.policies, older);
    expect(await scenario.calls()).toEqual([status]);
    expect(scenario.condition('Accepted')).toBe('False Conflicted');
    scenario.shows(scenario.policies, older, 'DELETED');
    scenario.clock.jump(60 * second);
    expect(await scenario.calls()).toEqual([configMap, daemonSet, status]);
  });

  it('starts its agents once it is accepted, and keeps them when it is accepted no more', async () => {
    scenario.edit(refused);
    await scenario.calls();
    scenario.edit(accepted);
    expect(await scenario.calls()).toEqual([configMap, daemonSet, status]);
    await running('node-1');
    scenario.edit(refused);
    expect((await scenario.calls()).filter((call) => call.startsWith('apply'))).toContain(configMap);
    expect(compiled()).toMatchObject({ accepted: false });
    expect(scenario.child('DaemonSet').metadata.name).toBe('cachepolicy-a3s-box');
  });

  it('starts its agents on no other nodes than those where they are', async () => {
    scenario.edit((spec) => {
      spec.nodeSelector = { pool: 'none' };
      spec.tolerations = [{ key: 'theirs', operator: 'Exists' }];
    });
    await running('node-1');
    const placed = () => {
      const { nodeSelector, tolerations } = scenario.child('DaemonSet').spec!.template!.spec!;
      return { nodeSelector, tolerations };
    };
    const before = placed();
    scenario.edit((spec) => {
      refused(spec);
      spec.nodeSelector = {};
      spec.tolerations = [{ operator: 'Exists' }];
    });
    await scenario.calls();
    expect(placed()).toEqual(before);
    scenario.edit(accepted);
    await scenario.calls();
    expect(placed()).toEqual({ nodeSelector: { 'kubernetes.io/os': 'linux' }, tolerations: [{ operator: 'Exists' }] });
  });

  it('writes the ConfigMap of agents whose DaemonSet was deleted without them', async () => {
    await running('node-1');
    scenario.shows(scenario.daemonSets, scenario.child('DaemonSet'), 'DELETED');
    scenario.edit(refused);
    expect(await scenario.calls()).toEqual([configMap, status]);
    expect(compiled()).toMatchObject({ accepted: false });
  });

  it('writes its ConfigMap again for agents that it has', async () => {
    await running('node-1');
    scenario.edit(refused);
    await scenario.calls();
    scenario.shows(scenario.configMaps, scenario.child('ConfigMap'), 'DELETED');
    expect(await scenario.calls()).toEqual([configMap]);
  });
});

describe('a change of the policy', () => {
  it('of a limit writes the ConfigMap and then the status, and leaves the agents alone', async () => {
    await running('node-1');
    scenario.edit((spec) => (spec.caches[0]!.limits = { maxEntries: 4 }));
    expect(await scenario.calls()).toEqual([configMap, status]);
    expect(compiled()).toMatchObject({ policy: { generation: 2 }, caches: [{ limits: { ...noLimits, maxEntries: 4 } }] });
    expect([scenario.condition('Programmed'), scenario.condition('Ready')]).toEqual(['False Progressing', 'False NotProgrammed']);

    scenario.shows(scenario.nodeCaches, aNodeCache('node-1', { observedGeneration: 2 }));
    expect(await scenario.calls()).toEqual([status]);
    expect([scenario.condition('Programmed'), scenario.condition('Ready')]).toEqual(['True Programmed', 'True Ready']);
  });

  it('of the mode, the schedule and the paths below the same root leaves the agents alone', async () => {
    await running('node-1');
    const edits: Parameters<Scenario['edit']>[0][] = [
      (spec) => (spec.mode = 'DryRun'),
      (spec) => (spec.schedule = { cron: '0 3 * * *', timeZone: 'UTC', jitter: '0s' }),
      (spec) => (spec.caches[0]!.a3sBox!.home = '/var/lib/a3s-box/other'),
      (spec) => spec.caches.push(aCacheSpec({ name: 'layers', a3sBox: { home: '/var/lib/a3s-box/home', store: 'Layers' } })),
    ];
    for (const edit of edits) {
      scenario.clock.jump(60 * second);
      scenario.edit(edit);
      expect(await scenario.calls()).toEqual([configMap, status]);
    }
  });

  it.each([
    ['nodeSelector', (spec) => (spec.nodeSelector = { 'a3s-box.io/runtime': 'true' })],
    ['tolerations', (spec) => (spec.tolerations = [{ key: 'dedicated', operator: 'Exists' }])],
    ['rollout', (spec) => (spec.rollout = { maxUnavailable: 2 })],
    ['a path below another root', (spec) => (spec.caches[0]!.a3sBox!.home = '/var/cache/a3s')],
  ] satisfies [string, Parameters<Scenario['edit']>[0]][])('of %s writes the agents, too', async (_, edit) => {
    await running('node-1');
    scenario.edit(edit);
    expect(await scenario.calls()).toEqual([configMap, daemonSet, status]);
  });

  it('to a path that is not allowed tells the agents to evict nothing, and says why', async () => {
    await running('node-1');
    scenario.edit((spec) => (spec.caches[0]!.a3sBox!.home = '/etc'));
    expect(await scenario.calls()).toEqual([configMap, daemonSet, status]);
    expect(compiled()).toMatchObject({ accepted: false });
    expect(['Accepted', 'Programmed', 'Ready'].map((type) => scenario.condition(type))).toEqual(['False PathNotAllowed', 'False NotAccepted', 'False NotAccepted']);
  });

  it('of the allowed roots reaches the agents although no policy changed', async () => {
    await running('node-1');
    scenario.allowedRoots = ['/srv'];
    expect(await scenario.calls()).toEqual([configMap, daemonSet, status]);
    expect(compiled()).toMatchObject({ accepted: false });
    scenario.allowedRoots = ['/var/lib/a3s-box', '/srv'];
    scenario.clock.jump(60 * second);
    expect(await scenario.calls()).toEqual([configMap, daemonSet, status]);
    expect(compiled()).toMatchObject({ accepted: true });
  });

  it('of roots that it does not use touches nothing', async () => {
    await running('node-1');
    scenario.allowedRoots = ['/srv', '/var/lib/a3s-box'];
    expect(await scenario.calls()).toEqual([]);
  });
});

describe('a child that is not as it should be', () => {
  it('is written again when somebody changed the ConfigMap', async () => {
    await running('node-1');
    scenario.shows(scenario.configMaps, { ...scenario.child('ConfigMap'), data: { 'policy.json': '{}' } } as never);
    expect(await scenario.calls()).toEqual([configMap]);
    expect(compiled()).toMatchObject({ policy: { name: 'a3s-box' } });
    expect(await scenario.calls()).toEqual([]);
  });

  it('is written again when somebody changed the spec of the DaemonSet', async () => {
    await running('node-1');
    const present = scenario.child('DaemonSet');
    const metadata = { ...present.metadata, generation: 2 };
    scenario.shows(scenario.daemonSets, { ...present, metadata, spec: {}, status: { observedGeneration: 2, desiredNumberScheduled: 1 } } as never);
    // Until it has been counted again the last count stands: nothing is said that changes a moment later.
    expect(await scenario.calls()).toEqual([daemonSet]);
    expect(scenario.child('DaemonSet').spec).toHaveProperty('template');
    expect(scenario.status.reporting).toBe('1/1');
  });

  it('is written ten times at once, then every five seconds, where somebody else changes it as often; and the status follows the reports', async () => {
    await running('node-1');
    const tries: number[] = [];
    for (let tick = 0; tick < 5 * 19; tick++) {
      scenario.shows(scenario.configMaps, { ...scenario.child('ConfigMap'), data: { 'policy.json': String(tick) } } as never);
      scenario.shows(scenario.nodeCaches, aNodeCache('node-1', { evictedEntries: 3 + tick }));
      if ((await scenario.calls()).includes(configMap)) tries.push(tick / 5);
      scenario.clock.jump(200);
    }
    expect(tries.slice(0, 10)).toEqual([0, 0.2, 0.4, 0.6, 0.8, 1, 1.2, 1.4, 1.6, 1.8]);
    expect(tries.slice(10)).toEqual([5, 10, 15]);
    expect(scenario.status.evictedEntries).toBeGreaterThan(70);
    // What an admin wants is written at once.
    scenario.edit((spec) => (spec.caches[0]!.limits = { maxEntries: 4 }));
    expect(await scenario.calls()).toContain(configMap);
    expect(compiled()).toMatchObject({ caches: [{ limits: { maxEntries: 4 } }] });
  });

  it('is left alone when only its status changed', async () => {
    await running('node-1');
    const present = scenario.child('DaemonSet');
    scenario.shows(scenario.daemonSets, { ...present, status: { ...present.status, numberReady: 1 } } as never);
    expect(await scenario.calls()).toEqual([]);
  });

  it('is made again when somebody deleted it', async () => {
    await running('node-1');
    scenario.shows(scenario.configMaps, scenario.child('ConfigMap'), 'DELETED');
    scenario.shows(scenario.daemonSets, scenario.child('DaemonSet'), 'DELETED');
    expect((await scenario.calls()).slice(0, 2)).toEqual([configMap, daemonSet]);
  });

  it('is left alone where somebody else wrote it and the watch does not show that yet', async () => {
    await running('node-1');
    scenario.watchLags = true;
    scenario.edit((spec) => (spec.caches[0]!.limits = { maxEntries: 4 }));
    await scenario.calls();
    scenario.restartController();
    const written = scenario.child('ConfigMap');
    expect(await scenario.reconcile()).toEqual({ calls: [configMap], again: second });
    expect(scenario.child('ConfigMap')).toEqual(written);
    scenario.catchUp();
    expect(await scenario.calls()).toEqual([configMap, daemonSet]);
  });

  it('is written once by a new controller, which changes neither it nor the status', async () => {
    await running('node-1');
    const before = [scenario.child('ConfigMap'), scenario.child('DaemonSet')];
    scenario.restartController();
    expect(await scenario.calls()).toEqual([configMap, daemonSet]);
    expect([scenario.child('ConfigMap'), scenario.child('DaemonSet')]).toEqual(before);
    expect(await scenario.calls()).toEqual([]);
  });

  it('stays as it is where a controller of the old image comes to lead in an upgrade, and may not write it any more', async () => {
    await running('node-1');
    scenario.restartController();
    scenario.refuse(daemonSet, 403, 'Forbidden');
    expect(await scenario.calls()).toEqual([configMap, daemonSet]);
    scenario.clock.jump(30 * second);
    expect(await scenario.calls()).toEqual([]);
    expect(scenario.condition('Programmed')).toBe('True Programmed');

    // Changed by somebody under its eyes, it is missed.
    const changed = structuredClone(scenario.child('DaemonSet'));
    changed.metadata.generation = 2;
    scenario.shows(scenario.daemonSets, changed);
    for (const jumpMs of [0, 60 * second]) {
      scenario.clock.jump(jumpMs);
      scenario.refuse(daemonSet, 403, 'Forbidden');
      expect(await scenario.calls()).toContain(daemonSet);
    }
    expect(scenario.condition('Programmed')).toBe('False ChildrenRefused');
  });

  it('is rolled when a new controller brings a new image', async () => {
    await running('node-1');
    scenario.image = 'cachepolicy:2';
    scenario.restartController();
    expect((await scenario.calls()).slice(0, 2)).toEqual([configMap, daemonSet]);
    expect(JSON.stringify(scenario.child('DaemonSet').spec)).toContain('"cachepolicy:2"');
  });
});

describe('the status', () => {
  const reports = (entryCount: number) => aNodeCache('node-1', { caches: [{ name: 'rootfs', stats: { entryCount, totalBytes: entryCount } }] });

  it('follows the reports: twice at once, then every five seconds', async () => {
    await running('node-1');
    const told: (string | undefined)[] = [];
    for (const entryCount of [1, 2, 3]) {
      scenario.shows(scenario.nodeCaches, reports(entryCount));
      const { calls, again } = await scenario.reconcile();
      told.push(`${calls.join()} again in ${again}`);
    }
    expect(told).toEqual([`${status} again in 30000`, `${status} again in 30000`, ' again in 5000']);
    expect(scenario.status.entries).toBe('2');

    scenario.clock.jump(4 * second);
    expect(await scenario.reconcile()).toEqual({ calls: [], again: second });
    scenario.clock.jump(second);
    expect(await scenario.calls()).toEqual([status]);
    expect(scenario.status.entries).toBe('3');
  });

  it('paces each policy by itself', async () => {
    await running('node-1');
    for (const entryCount of [1, 2]) {
      scenario.shows(scenario.nodeCaches, reports(entryCount));
      await scenario.calls();
    }
    scenario.shows(scenario.policies, aPolicy({ nodeSelector: { other: 'nodes' } }, { name: 'other', uid: 'other-uid' }));
    expect(await scenario.calls('other')).toContain('status other');
  });

  it('is not written for a report that says the same at a later time', async () => {
    await running('node-1');
    scenario.shows(scenario.nodeCaches, aNodeCache('node-1', { reportTime: '2026-01-01T00:00:50Z' }));
    expect(await scenario.calls()).toEqual([]);
  });

  it('is written no second time where the API server shows more than was written: somebody else has a condition there', async () => {
    await running('node-1');
    scenario.foreignConditions = [{ type: 'Audited', status: 'True', reason: 'Fine', message: '', observedGeneration: 1, lastTransitionTime: '2026-01-01T00:00:00Z' }];
    const policy = structuredClone(scenario.policies.get('a3s-box')!);
    policy.status!.conditions!.push(...scenario.foreignConditions);
    scenario.shows(scenario.policies, policy);
    expect(await scenario.calls()).toEqual([status]);
    scenario.clock.jump(60 * second);
    expect(await scenario.calls()).toEqual([]);
    scenario.shows(scenario.nodeCaches, reports(1));
    expect(await scenario.calls()).toEqual([status]);
    expect(scenario.condition('Audited')).toBe('True Fine');
    expect(await scenario.calls()).toEqual([]);
    // What somebody else writes over ours is written again.
    const changed = structuredClone(scenario.policies.get('a3s-box')!);
    changed.status!.entries = 'many';
    scenario.shows(scenario.policies, changed);
    scenario.clock.jump(60 * second);
    expect(await scenario.calls()).toEqual([status]);
  });

  it('turns stale by time alone, without an event', async () => {
    await running('node-1');
    scenario.clock.jump(12 * 60 * second);
    expect(await scenario.calls()).toEqual([status]);
    expect([scenario.condition('Stale'), scenario.condition('Ready')]).toEqual(['True AgentsSilent', 'False NotProgrammed']);
  });

  it.each([
    ['a conflict', 409, 'Conflict'],
    ['a policy that is gone', 404, 'NotFound'],
  ])('looks again soon after %s, and takes it for no failure', async (_, code, reason) => {
    await running('node-1');
    scenario.shows(scenario.nodeCaches, reports(1));
    scenario.refuse(status, code, reason);
    expect(await scenario.reconcile()).toEqual({ calls: [status], again: second });
    expect(await scenario.calls()).toEqual([status]);
    expect(scenario.status.entries).toBe('1');
  });

  it('fails with any other answer, and is written by the next try', async () => {
    await running('node-1');
    scenario.shows(scenario.nodeCaches, reports(1));
    scenario.refuse(status, 500, 'InternalError');
    await expect(scenario.reconcile()).rejects.toThrow('500 InternalError');
    expect(await scenario.calls()).toEqual([status]);
  });

  it('says what the API server said where it refuses a child, and the child is tried again', async () => {
    scenario.refuse(daemonSet, 403, 'Forbidden');
    expect(await scenario.reconcile()).toEqual({ calls: [configMap, daemonSet, status], again: 750 });
    expect(['Accepted', 'Programmed', 'Ready'].map((type) => scenario.condition(type))).toEqual(['True Accepted', 'False ChildrenRefused', 'False NotProgrammed']);
    expect(scenario.status.conditions?.find((each) => each.type === 'Programmed')?.message).toContain('403 Forbidden');
    scenario.clock.jump(750);
    expect(await scenario.calls()).toEqual([daemonSet, status]);
    expect(scenario.condition('Programmed')).toBe('False NoReports');
  });

  it('says nothing of a refusal that passes within 10 s: admission may not know yet what the controller does', async () => {
    await running('node-1');
    expect(scenario.condition('Programmed')).toBe('True Programmed');
    scenario.image = 'cachepolicy:2';
    scenario.restartController();
    for (const stepMs of [0, 5 * second, 4_999]) {
      scenario.clock.jump(stepMs);
      scenario.refuse(daemonSet, 403, 'Forbidden');
      expect(await scenario.calls()).toContain(daemonSet);
      expect(scenario.condition('Programmed')).toBe('True Programmed');
    }
    scenario.clock.jump(60 * second);
    expect(await scenario.calls()).toContain(daemonSet);
    expect(scenario.condition('Programmed')).not.toContain('ChildrenRefused');
    // The next one begins anew.
    scenario.edit((spec) => void (spec.nodeSelector = { other: 'nodes' }));
    scenario.clock.jump(second);
    scenario.refuse(daemonSet, 403, 'Forbidden');
    expect(await scenario.calls()).toContain(daemonSet);
    expect(scenario.condition('Programmed')).not.toContain('ChildrenRefused');
  });

  it.each([
    [10, 403, 'Forbidden', 'False ChildrenRefused'],
    [10, 500, 'InternalError', 'False Progressing'],
    [610, 500, 'InternalError', 'False ChildrenRefused'],
  ])('says so of a refusal that lasts for %i s, and does not call an outage one (%i)', async (seconds, code, reason, told) => {
    await running('node-1');
    scenario.edit((spec) => void (spec.nodeSelector = { other: 'nodes' }));
    for (const stepMs of [0, seconds * second]) {
      scenario.clock.jump(stepMs);
      scenario.refuse(daemonSet, code, reason);
      scenario.shows(scenario.nodeCaches, aNodeCache('node-1', { observedGeneration: 2 }));
      expect(await scenario.calls()).toContain(daemonSet);
    }
    expect(scenario.condition('Programmed')).toBe(told);
    expect(scenario.status.conditions?.find((each) => each.type === 'Programmed')?.message).toContain(`${code} ${reason}`);
  });

  it('does not call a generation programmed whose agents the API server has not taken yet', async () => {
    await running('node-1');
    scenario.edit((spec) => void (spec.nodeSelector = { other: 'nodes' }));
    scenario.shows(scenario.nodeCaches, aNodeCache('node-1', { observedGeneration: 2 }));
    scenario.refuse(daemonSet, 403, 'Forbidden');
    expect(await scenario.calls()).toEqual([configMap, daemonSet, status]);
    expect(scenario.condition('Programmed')).toBe('False Progressing');
    scenario.clock.jump(second);
    expect(await scenario.calls()).toEqual([daemonSet, status]);
    expect(scenario.condition('Programmed')).toBe('True Programmed');
  });

  it('follows the reports while the API server refuses a child, which is tried with growing waits, and not for every report', async () => {
    await running('node-1');
    scenario.edit((spec) => void (spec.nodeSelector = { other: 'nodes' }));
    const tries: number[] = [];
    for (let tick = 0; tick < 5 * 120; tick++) {
      scenario.shows(scenario.nodeCaches, reports(tick));
      scenario.refuse(daemonSet, 403, 'Forbidden');
      if ((await scenario.calls()).includes(daemonSet)) tries.push(tick / 5);
      expect(Number(scenario.status.entries)).toBeGreaterThanOrEqual(tick - 5 * 5);
      scenario.clock.jump(200);
    }
    expect(tries).toEqual([0, 0.8, 2.4, 5.4, 11.4, 23.4, 46, 68.6, 91.2, 113.8]);
  });

  it('is published, and the child tried at once, where the policy is changed while the API server refuses its child', async () => {
    await running('node-1');
    scenario.edit((spec) => void (spec.nodeSelector = { other: 'nodes' }));
    scenario.refuse(daemonSet, 403, 'Forbidden');
    await scenario.calls();
    expect(await scenario.calls()).toEqual([]);
    scenario.edit((spec) => void (spec.nodeSelector = { yet: 'others' }));
    expect(await scenario.calls()).toEqual([configMap, daemonSet, status]);
  });

  it('is written although the API server is out of order where the children are concerned', async () => {
    await running('node-1');
    scenario.edit((spec) => void (spec.nodeSelector = { other: 'nodes' }));
    scenario.refuse(daemonSet, 500, 'InternalError');
    expect(await scenario.calls()).toEqual([configMap, daemonSet, status]);
    expect(scenario.condition('Programmed')).toBe('False Progressing');
  });
});

describe('what stands in the way of agents', () => {
  const programmed = () => scenario.status.conditions?.find(({ type }) => type === 'Programmed');
  const ready = () => scenario.status.conditions?.find(({ type }) => type === 'Ready');
  const failure = (message: string, minutesAgo = 0) => ({ involvedObject: { uid: 'daemon-set-uid' }, message, lastTimestamp: new Date(scenario.clock.wallMs() - minutesAgo * 60 * second).toISOString() });

  /** Two nodes should run agents, and one has none. */
  async function lacking(): Promise<void> {
    await running('node-1');
    const present = scenario.child('DaemonSet');
    const metadata = { ...present.metadata, uid: 'daemon-set-uid' };
    scenario.shows(scenario.daemonSets, { ...present, metadata, status: { observedGeneration: 1, desiredNumberScheduled: 2, currentNumberScheduled: 1 } } as never);
  }

  it('is a quota: its words are those of the latest Event of the DaemonSet, without the random name of the pod', async () => {
    scenario.failures = [failure('Error creating: older', 1), failure('Error creating: pods "cachepolicy-a3s-box-x7k2p" is forbidden: exceeded quota: small')];
    await lacking();
    await scenario.calls();
    expect(ready()).toMatchObject({ status: 'False', reason: 'AgentNotCreated', message: `the agent's pod cannot be made for 1 node: pods "cachepolicy-a3s-box" is forbidden: exceeded quota: small` });
    expect(scenario.events).toContain('Warning AgentNotCreated a3s-box');
    const asked = scenario.eventLists;
    for (let report = 0; report < 9; report++) await scenario.calls();
    expect(scenario.eventLists).toBe(asked);
    scenario.clock.jump(10 * second);
    await scenario.calls();
    expect(scenario.eventLists).toBe(asked + 1);
  });

  it('is nothing that passed long ago, and is not asked for while no pod is missing', async () => {
    scenario.failures = [failure('Error creating: old', 21)];
    await running('node-1');
    expect(scenario.eventLists).toBe(0);
    await lacking();
    await scenario.calls();
    expect(ready()).toMatchObject({ reason: 'NodesNotReporting', message: `1 of 2 nodes report; 1 node without an agent's pod` });
  });

  it.each([
    ['container', 'containers', { name: 'mesh', image: 'mesh:1' }],
    ['init container', 'initContainers', { name: 'mesh', image: 'mesh:1' }],
    ['volume', 'volumes', { name: 'mesh', emptyDir: {} }],
  ])('is a foreign %s in the DaemonSet, which is named with what to do', async (word, list, part) => {
    await running('node-1');
    const changed = structuredClone(scenario.child('DaemonSet')) as any;
    changed.metadata.generation = 2;
    changed.spec.template.spec[list] = [part, ...(changed.spec.template.spec[list] ?? [])];
    changed.status.observedGeneration = 2;
    scenario.shows(scenario.daemonSets, changed);
    for (const jumpMs of [0, 60 * second]) {
      scenario.clock.jump(jumpMs);
      scenario.refuse(daemonSet, 403, 'Forbidden');
      await scenario.calls();
    }
    expect(programmed()).toMatchObject({ reason: 'ChildrenRefused', message: expect.stringContaining(`DaemonSet cachepolicy-a3s-box has ${word} mesh, which the operator did not put there`) });
    expect(programmed()?.message).toContain('kubectl -n cachepolicy-system delete daemonset cachepolicy-a3s-box');
    expect(programmed()?.message).not.toMatch(/(PATCH|POST|GET) \//);
    expect(scenario.events).toContain('Warning ChildrenRefused a3s-box');
  });
});

describe('an admin', () => {
  it('is told of what happened once it stands in the status, and not again by a new controller', async () => {
    await running('node-1');
    expect(scenario.events).toEqual(['Normal Programmed a3s-box', 'Normal Evicted a3s-box']);
    scenario.shows(scenario.nodeCaches, aNodeCache('node-1', { evictedEntries: 3 }));
    scenario.refuse(status, 409, 'Conflict');
    await scenario.calls();
    expect(scenario.events).toHaveLength(2);
    await scenario.calls();
    expect(scenario.events.slice(2)).toEqual(['Normal Evicted a3s-box']);
    scenario.restartController();
    await scenario.calls();
    expect(scenario.events).toHaveLength(3);
  });
});

describe('where admission differs from the controller', () => {
  it('the policy is Degraded and an Event says so, until they agree', async () => {
    await running('node-1');
    scenario.admissionDifference = 'admission says "a" where the controller goes by "b"';
    await scenario.calls();
    expect(scenario.condition('Degraded')).toBe('True AdmissionDiffers');
    expect(scenario.events.at(-1)).toBe('Warning Degraded a3s-box');
    scenario.admissionDifference = undefined;
    await scenario.clock.pass(5_000);
    await scenario.calls();
    expect(scenario.condition('Degraded')).toBeUndefined();
  });
});

describe('a node that departs', () => {
  const remove = 'delete NodeCache a3s-box.node-2 of report-node-2';

  /** Its pod is gone, its report is not. */
  async function departed(): Promise<void> {
    await running('node-1', 'node-2');
    scenario.shows(scenario.pods, aPod('node-2'), 'DELETED');
  }

  /** All calls until nothing is to be done at present. */
  async function settled(): Promise<string[]> {
    const all: string[] = [];
    for (let calls = await scenario.calls(); calls.length > 0; calls = await scenario.calls()) {
      all.push(...calls);
      scenario.clock.jump(5 * second);
    }
    return all;
  }

  it('loses its report after a minute without an agent, and not before: first the status names it, then it is removed', async () => {
    await departed();
    expect(await scenario.calls()).toEqual([status]);
    scenario.clock.jump(59 * second);
    expect(await scenario.calls()).not.toContain(remove);
    expect(scenario.status.departed?.leaving).toBeUndefined();
    scenario.clock.jump(second);
    expect(await scenario.calls()).toEqual([status]);
    expect(scenario.status).toMatchObject({ evictedEntries: 4, departed: { evictedEntries: 0, leaving: [{ nodeName: 'node-2', uid: 'report-node-2', evictedEntries: 2 }] } });
    expect(await scenario.calls()).toEqual([remove, status]);
    expect(scenario.status).toMatchObject({ evictedEntries: 4, evictedBytes: 4096, departed: { evictedEntries: 2, evictedBytes: 2048 } });
    expect(scenario.status.departed?.leaving).toBeUndefined();
    expect(await scenario.calls()).toEqual([]);
  });

  it('keeps it where an agent comes back in time', async () => {
    await departed();
    await scenario.calls();
    scenario.clock.jump(59 * second);
    scenario.shows(scenario.pods, aPod('node-2', { uid: 'new-pod' }));
    await scenario.calls();
    scenario.clock.jump(second);
    scenario.shows(scenario.pods, aPod('node-2', { uid: 'new-pod' }), 'DELETED');
    await scenario.calls();
    scenario.clock.jump(59 * second);
    expect(await settled()).not.toContain(remove);
  });

  it('keeps it where an agent comes back after the status named it, and loses no eviction', async () => {
    await departed();
    scenario.clock.jump(60 * second);
    await scenario.calls();
    scenario.shows(scenario.pods, aPod('node-2', { uid: 'new-pod' }));
    scenario.shows(scenario.nodeCaches, aNodeCache('node-2', { podUID: 'new-pod', evictedEntries: 3 }));
    scenario.clock.jump(60 * second);
    expect(await settled()).toEqual([status]);
    expect(scenario.status).toMatchObject({ evictedEntries: 5, departed: { evictedEntries: 0 } });
    expect(scenario.status.departed?.leaving).toBeUndefined();
  });

  it('keeps it while the watch has not shown all that it says: what it had evicted would be lost', async () => {
    await departed();
    await scenario.calls();
    const last = aNodeCache('node-2', { evictedEntries: 9 });
    scenario.hides(last);
    scenario.clock.jump(60 * second);
    await scenario.calls();
    await scenario.calls();
    scenario.shows(scenario.nodeCaches, last);
    scenario.clock.jump(60 * second);
    expect(await settled()).toContain(remove);
    expect(scenario.status.departed).toMatchObject({ evictedEntries: 9 });
  });

  it('keeps no status waiting where the API server is busy: the others are asked for later', async () => {
    const gone = Array.from({ length: 20 }, (_, index) => `gone-${index}`);
    await running('node-1', ...gone);
    for (const node of gone) scenario.shows(scenario.pods, aPod(node), 'DELETED');
    scenario.clock.jump(60 * second);
    await scenario.calls();
    scenario.shows(scenario.nodeCaches, aNodeCache('node-1', { evictedEntries: 3 }));
    scenario.refuse('delete', 429, 'TooManyRequests');
    const { calls, again } = await scenario.reconcile();
    expect(calls.filter((call) => call.startsWith('delete'))).toHaveLength(1);
    expect([calls.includes(status), again]).toEqual([true, second]);
    expect((await scenario.calls()).filter((call) => call.startsWith('delete'))).toHaveLength(19);
  });

  it('is removed with fifty others at a time, so that the status does not wait for all', async () => {
    const gone = Array.from({ length: 70 }, (_, index) => `gone-${index}`);
    await running('node-1', ...gone);
    for (const node of gone) scenario.shows(scenario.pods, aPod(node), 'DELETED');
    scenario.clock.jump(60 * second);
    expect((await scenario.reconcile()).again).toBe(second);
    const removals: number[] = [];
    for (let reconcile = 0; reconcile < 2; reconcile++) {
      removals.push((await scenario.calls()).filter((call) => call.startsWith('delete')).length);
      scenario.clock.jump(5 * second);
    }
    expect(removals).toEqual([50, 20]);
    await settled();
    expect(scenario.status).toMatchObject({ evictedEntries: 142, departed: { evictedEntries: 140 } });
  });

  // What the next controller finds: every write of the removal was the last of the one before it.
  it.each([0, 1, 2])('has all counted once where the controller ends after write %i of its removal', async (writes) => {
    await departed();
    scenario.clock.jump(60 * second);
    scenario.crashAfter(writes);
    await expect(settled()).rejects.toThrow('crashed');
    scenario.restartController();
    scenario.clock.jump(60 * second);
    await settled();
    expect(scenario.nodeCaches.get('a3s-box.node-2')).toBeUndefined();
    expect(scenario.status).toMatchObject({ evictedEntries: 4, evictedBytes: 4096, departed: { evictedEntries: 2, evictedBytes: 2048 } });
  });

  it('has nothing counted twice when the status is refused at first', async () => {
    await departed();
    scenario.clock.jump(60 * second);
    scenario.refuse(status, 409, 'Conflict');
    await scenario.calls();
    await settled();
    expect(scenario.status).toMatchObject({ evictedEntries: 4, departed: { evictedEntries: 2 } });
  });

  it.each([0, 1])('has nothing counted twice when the answer to status %i of its removal is lost', async (index) => {
    await departed();
    scenario.clock.jump(60 * second);
    for (let before = 0; before < index; before++) await scenario.calls();
    scenario.loseAnswer(status);
    await expect(scenario.reconcile()).rejects.toThrow('no answer');
    await settled();
    expect(scenario.status).toMatchObject({ evictedEntries: 4, departed: { evictedEntries: 2 } });
  });

  it('has nothing counted twice, and the sum never falls, while the watch shows nothing for a while', async () => {
    await departed();
    scenario.clock.jump(60 * second);
    await scenario.calls();
    scenario.watchLags = true;
    for (let reconcile = 0; reconcile < 3; reconcile++) {
      await scenario.calls();
      scenario.clock.jump(5 * second);
    }
    scenario.catchUp();
    await settled();
    expect(scenario.status).toMatchObject({ evictedEntries: 4, departed: { evictedEntries: 2 } });
  });

  it('is lost from the sum where somebody else deletes its report', async () => {
    await running('node-1', 'node-2');
    scenario.shows(scenario.nodeCaches, aNodeCache('node-2'), 'DELETED');
    await settled();
    expect(scenario.status).toMatchObject({ evictedEntries: 2, departed: { evictedEntries: 0 } });
  });

  it('never moves the sum by more than it reports, however often its report falls and rises', async () => {
    await running('node-1', 'node-2');
    for (const evictedEntries of [Number.MAX_SAFE_INTEGER, 0, Number.MAX_SAFE_INTEGER, 0, 7]) {
      scenario.shows(scenario.nodeCaches, aNodeCache('node-2', { evictedEntries }));
      scenario.clock.jump(60 * second);
      await settled();
      expect(scenario.status).toMatchObject({ evictedEntries: 2 + evictedEntries, departed: { evictedEntries: 0 } });
    }
  });

  it('keeps its report where only the watch missed that there is an agent', async () => {
    await running('node-1', 'node-2');
    scenario.pods.apply({ type: 'DELETED', object: { ...aPod('node-2'), metadata: { ...aPod('node-2').metadata, resourceVersion: '999' } } });
    await scenario.calls();
    scenario.clock.jump(60 * second);
    const before = scenario.lists;
    expect(await settled()).not.toContain(remove);
    expect(scenario.lists - before).toBe(1);
  });

  it('is asked to go once a minute where its report stays, as for a finalizer that somebody put there', async () => {
    await running('node-1', 'node-2');
    scenario.shows(scenario.nodeCaches, aNodeCache('node-2', {}, { finalizers: ['example.com/mine'] }));
    scenario.shows(scenario.pods, aPod('node-2'), 'DELETED');
    const asked: number[] = [];
    for (let tick = 0; tick < 150; tick++) {
      if ((await scenario.calls()).includes(remove)) asked.push(tick);
      scenario.clock.jump(second);
    }
    expect(asked).toEqual([61, 122]);
  });

  it('does not keep the status from being written where its report may not be removed', async () => {
    await departed();
    scenario.clock.jump(60 * second);
    await scenario.calls();
    scenario.shows(scenario.nodeCaches, aNodeCache('node-1', { caches: [{ name: 'rootfs', stats: { entryCount: 7, totalBytes: 7 } }] }));
    scenario.refuse(remove, 403, 'Forbidden');
    expect(await scenario.calls()).toEqual([remove, status]);
    expect(scenario.status.entries).toBe('7');
    scenario.clock.jump(60 * second);
    expect(await scenario.calls()).toContain(remove);
  });

  it.each([
    ['gone already', 404, 'NotFound'],
    ['a new one of the same name', 409, 'Conflict'],
  ])('does not mind a report that is %s', async (_, code, reason) => {
    await departed();
    scenario.clock.jump(60 * second);
    await scenario.calls();
    scenario.refuse(remove, code, reason);
    expect(await scenario.calls()).toContain(remove);
  });

  it('keeps a report that was made anew for a whole minute, too', async () => {
    await departed();
    await scenario.calls();
    scenario.clock.jump(30 * second);
    scenario.shows(scenario.nodeCaches, aNodeCache('node-2', {}, { uid: 'report-anew' }));
    scenario.clock.jump(59 * second);
    expect((await settled()).filter((call) => call.startsWith('delete'))).toEqual([]);
    scenario.clock.jump(second);
    expect(await settled()).toContain('delete NodeCache a3s-box.node-2 of report-anew');
  });
});

describe('a policy that is deleted', () => {
  it('causes no call: its objects go by their owner references', async () => {
    await running('node-1');
    scenario.shows(scenario.policies, scenario.policies.get('a3s-box')!, 'DELETED');
    expect(await scenario.reconcile()).toEqual({ calls: [], again: undefined });
  });

  it('causes no call while it is being deleted', async () => {
    await running('node-1');
    const policy = scenario.policies.get('a3s-box')!;
    scenario.shows(scenario.policies, { ...policy, metadata: { ...policy.metadata, deletionTimestamp: '2026-01-01T00:01:00Z' } });
    scenario.shows(scenario.nodeCaches, aNodeCache('node-1', { evictedEntries: 9 }));
    expect(await scenario.calls()).toEqual([]);
  });

  it('keeps its directories while an agent of it still runs: its successor waits, names it, and comes into force after the last one', async () => {
    await running('node-1', 'node-2');
    const policy = scenario.policies.get('a3s-box')!;
    scenario.shows(scenario.policies, { ...policy, metadata: { ...policy.metadata, deletionTimestamp: '2026-01-01T00:01:00Z', finalizers: ['example.com/theirs'] } });
    scenario.shows(scenario.policies, aPolicy({}, { name: 'successor', uid: 'successor-uid', creationTimestamp: '2026-01-01T00:02:00Z' }));
    const accepted = async () => {
      await scenario.calls('successor');
      scenario.clock.jump(60 * second);
      const condition = scenario.policies.get('successor')?.status?.conditions?.find(({ type }) => type === 'Accepted');
      return `${condition?.reason}: ${condition?.message}`;
    };
    expect(await accepted()).toMatch(/^Conflicted: CachePolicy a3s-box is being deleted, and its agents still govern/);
    scenario.shows(scenario.pods, aPod('node-1'), 'DELETED');
    expect(await accepted()).toMatch(/^Conflicted: /);
    scenario.shows(scenario.pods, aPod('node-2'), 'DELETED');
    expect(await accepted()).toBe('Accepted: in force');
  });

  it('does not get its objects back while the watch does not show yet that it is gone', async () => {
    await running('node-1');
    const policy = scenario.policies.get('a3s-box')!;
    scenario.shows(scenario.policies, policy, 'DELETED');
    scenario.policies.apply({ type: 'ADDED', object: { ...policy, metadata: { ...policy.metadata, resourceVersion: '999' } } });
    scenario.shows(scenario.configMaps, scenario.child('ConfigMap'), 'DELETED');
    expect(await scenario.reconcile()).toEqual({ calls: [], again: second });
  });

  it('that never was causes none either', async () => {
    expect(await scenario.calls('unheard-of')).toEqual([]);
  });

  it('is forgotten with its last report and pod', async () => {
    await running('node-1');
    scenario.shows(scenario.policies, scenario.policies.get('a3s-box')!, 'DELETED');
    await scenario.calls();
    expect(scenario.inventory.size).toBe(1);
    scenario.shows(scenario.nodeCaches, aNodeCache('node-1'), 'DELETED');
    scenario.shows(scenario.pods, aPod('node-1'), 'DELETED');
    await scenario.calls();
    expect(scenario.inventory.size).toBe(0);
  });

  it('and made again under the same name starts anew, without waiting for the pace of the old one', async () => {
    await running('node-1');
    for (const evictedEntries of [7, 8]) {
      scenario.shows(scenario.nodeCaches, aNodeCache('node-1', { evictedEntries }));
      expect(await scenario.calls()).toEqual([status]);
    }
    scenario.shows(scenario.policies, scenario.policies.get('a3s-box')!, 'DELETED');
    await scenario.calls();
    scenario.shows(scenario.policies, aPolicy({}, { uid: 'second-uid' }));
    expect(await scenario.calls()).toEqual([configMap, daemonSet, status]);
    expect(scenario.child('DaemonSet').metadata.ownerReferences).toMatchObject([{ uid: 'second-uid', controller: true }]);
    // The old policy's report is still there, and counts for nothing.
    expect(scenario.status).toMatchObject({ entries: '-', evictedEntries: 0, reporting: '0/1' });
    scenario.shows(scenario.nodeCaches, aNodeCache('node-1'), 'DELETED');
    expect(await scenario.calls()).toEqual([]);
  });
});

import { describe, expect, it } from 'vitest';
import type { Finding } from '../../src/api/conditions.ts';
import type { AgentPod } from '../../src/policy/node-verdict.ts';
import type { RollUpInput } from '../../src/policy/roll-up.ts';
import { nextDeparted } from '../../src/policy/departed.ts';
import { rollUp } from '../../src/policy/roll-up.ts';
import { fleetOf } from './fleet-of.ts';
import type { Report } from './roll-up-model.ts';

type Agent = Omit<AgentPod, 'nodeName'>;

const now = Date.parse('2026-11-23T12:00:00Z');
const inForce: Finding<'Accepted'> = { type: 'Accepted', status: 'True', reason: 'Accepted', message: 'in force' };
const ago = (seconds: number) => new Date(now - seconds * 1000).toISOString();

function aReport(nodeName: string, change: Partial<Report['status']> = {}): Report {
  return {
    nodeName,
    status: {
      observedGeneration: 3, policyUID: 'policy-uid', podUID: `pod-${nodeName}`, nodeUID: `node-${nodeName}`, reportTime: ago(10),
      evictedEntries: 2, evictedBytes: 200,
      caches: [{
        name: 'rootfs', stats: { entryCount: 4, totalBytes: 4096 }, size: '4Ki', usage: '50%', overLimit: false,
        protected: { inUse: { entries: 1, bytes: 1024 }, recent: { entries: 0, bytes: 0 } },
        totals: { evictedEntries: 2, evictedBytes: 200, revived: 0, raced: 0 }, wouldEvict: { entries: 0, bytes: 0 },
      }],
      conditions: [{ type: 'Ready', status: 'True', reason: 'Ready', message: 'fine', lastTransitionTime: ago(10) }],
      ...change,
    } as Report['status'],
  };
}

const aReadyPod = (nodeName: string): Agent => ({ uid: `pod-${nodeName}`, ready: true, notReadySinceMs: now - 3_600_000, waiting: undefined });

interface Given extends Partial<Omit<RollUpInput, 'fleet'>> {
  readonly nodes?: readonly string[];
  readonly reports?: readonly Report[];
  readonly agents?: ReadonlyMap<string, Agent>;
}

function rolledUp(change: Given = {}) {
  const { nodes = ['a', 'b'], reports = nodes.map((name) => aReport(name)), agents = new Map(nodes.map((name) => [name, aReadyPod(name)])), ...rest } = change;
  return rollUp({
    policy: { uid: 'policy-uid', generation: 3, cacheNames: ['rootfs'], maxUnavailable: '10%' },
    accepted: inForce, desired: nodes.length, fleet: fleetOf(reports, agents, now),
    previous: undefined, departed: { evictedEntries: 0, evictedBytes: 0 }, nowMs: now,
    ...rest,
  });
}

type Status = ReturnType<typeof rolledUp>;
const condition = (status: Status, type: string) => {
  const found = status.conditions?.find((each) => each.type === type);
  return found && `${found.status} ${found.reason}`;
};

describe('the status of a policy', () => {
  it.each([2, 3_000])('holds only sums that the API server takes, whatever somebody wrote into %i reports', (count) => {
    const most = Number('9223372036854775807');
    const nodes = Array.from({ length: count }, (_, index) => `n${index}`);
    const caches = [{ name: 'rootfs', stats: { entryCount: most, totalBytes: most }, totals: { evictedEntries: most, evictedBytes: most }, protected: { inUse: { entries: most, bytes: most } }, wouldEvict: { entries: most, bytes: most } }];
    const departed = nextDeparted({ evictedEntries: most, evictedBytes: most, leaving: [{ nodeName: 'gone', uid: 'gone', resourceVersion: '1', evictedEntries: most, evictedBytes: most }] }, () => undefined, [], 1);
    const status = rolledUp({ nodes, ...departed, reports: nodes.map((name) => aReport(name, { caches, evictedEntries: most, evictedBytes: most } as Partial<Report['status']>)) });
    const numbers = JSON.stringify(status).match(/(?<=":)\d+/g) ?? [];
    expect(numbers.length).toBeGreaterThan(15);
    expect(numbers.filter((digits) => BigInt(digits) > 2n ** 63n - 1n)).toEqual([]);
  });

  it('shows the words of a node on one line, bounded, so that one node leaves the others their place', () => {
    const failing = (nodeName: string, message: string) => aReport(nodeName, {
      caches: [{ name: 'rootfs', problem: { reason: 'DiskIo', message } }],
      conditions: [{ type: 'Degraded', status: 'True', reason: 'CacheFailing', message, lastTransitionTime: ago(1) }],
    } as Partial<Report['status']>);
    const status = rolledUp({ reports: [failing('a', `x\n\u202e${'long '.repeat(200)}`), failing('b', 'rootfs: no disk')] });
    expect(status.conditions?.find((each) => each.type === 'Degraded')?.message).toMatch(/^2 nodes: a\/x \ufffdlong .{200,250}…; b\/rootfs: no disk$/);
  });

  it('names no cache that is not in the spec, such as one that a node made up', () => {
    const reports = [aReport('a', { caches: [{ name: 'made-up', usage: '>999%', stats: { entryCount: 1, totalBytes: 1 } }] } as Partial<Report['status']>), aReport('b')];
    expect(rolledUp({ reports }).fullestNodes).toEqual([{ nodeName: 'b', cacheName: 'rootfs', usage: '50%' }]);
  });

  it('does not take the time of an eviction from a node whose clock is ahead, nor keep such a one', () => {
    const evictedAt = (time: string | undefined) => ({ lastEvictionTime: time } as Partial<Report['status']>);
    const reports = [aReport('a', evictedAt('2038-01-01T00:00:00Z')), aReport('b', evictedAt(ago(30)))];
    expect(rolledUp({ reports }).lastEvictionTime).toBe(ago(30));
    expect(rolledUp({ reports, previous: { lastEvictionTime: '2038-01-01T00:00:00Z' } as RollUpInput['previous'] }).lastEvictionTime).toBe(ago(30));
    expect(rolledUp({ reports: [aReport('a', evictedAt(ago(-30)))], previous: { lastEvictionTime: ago(30) } as RollUpInput['previous'] }).lastEvictionTime).toBe(ago(-30));
  });

  it('ends a long message before a character that does not fit in whole, as the API server would show it', () => {
    const words = 'x'.repeat(1022);
    const message = rolledUp({ accepted: { ...inForce, message: `${words}y😀z` } }).conditions?.[0]?.message;
    expect(message).toBe(`${words}y…`);
    expect(JSON.parse(JSON.stringify(message))).toBe(message);
    expect(message?.isWellFormed()).toBe(true);
  });

  it('adds up the fresh reports of its nodes', () => {
    const status = rolledUp();
    expect(status).toMatchObject({
      observedGeneration: 3, stats: { entryCount: 8, totalBytes: 8192 }, entries: '8', size: '8Ki', usage: '50%', reporting: '2/2',
      nodes: { desired: 2, reporting: 2, stale: 0, overLimit: 0, failing: 0 }, evictedEntries: 4, evictedBytes: 400, reclaimed: '400',
    });
    expect(status.caches?.[0]).toMatchObject({ name: 'rootfs', evictedEntries: 4, protectedBytes: 2048 });
    expect(['Accepted', 'Programmed', 'Ready'].map((type) => condition(status, type))).toEqual(['True Accepted', 'True Programmed', 'True Ready']);
  });

  it('has a value in every column and every condition before anything is known', () => {
    const status = rolledUp({ nodes: [], desired: undefined });
    expect(status).toMatchObject({ reporting: '0/-', entries: '-', size: '-', usage: '-', evictedEntries: 0, reclaimed: '0' });
    expect(status.stats).toBeUndefined();
    expect(['Accepted', 'Programmed', 'Ready'].map((type) => condition(status, type))).toEqual(['True Accepted', 'False NoReports', 'False NotProgrammed']);
  });

  it('is Unknown where no node matches', () => {
    const status = rolledUp({ nodes: [], desired: 0 });
    expect([condition(status, 'Programmed'), condition(status, 'Ready')]).toEqual(['Unknown NoMatchingNode', 'Unknown NoMatchingNode']);
  });

  it.each([
    ['an earlier policy of the same name', { policyUID: 'old-uid' }],
    ['an earlier pod of the same node', { podUID: 'old-pod' }],
    ['eleven minutes ago', { reportTime: ago(11 * 60) }],
    ['no time at all', { reportTime: 'never' }],
  ])('leaves out a report of %s', (_, change) => {
    const status = rolledUp({ reports: [aReport('a'), aReport('b', change)] });
    expect(status).toMatchObject({ stats: { entryCount: 4, totalBytes: 4096 }, reporting: '1/2' });
    expect(condition(status, 'Ready')).toBe('False NodesNotReporting');
  });

  it('counts a node whose agent has not been ready for a minute as stale, and not before', () => {
    const silentFor = (seconds: number) => new Map([['a', aReadyPod('a')], ['b', { ...aReadyPod('b'), ready: false, notReadySinceMs: now - seconds * 1000 }]]);
    expect(rolledUp({ agents: silentFor(59) }).nodes).toMatchObject({ reporting: 2, stale: 0 });
    const status = rolledUp({ agents: silentFor(60) });
    expect(status.nodes).toMatchObject({ reporting: 1, stale: 1 });
    expect(condition(status, 'Stale')).toBe('True AgentsSilent');
  });

  it('goes by the age of a report alone while nobody counted the nodes and no agent has a pod', () => {
    const reports = [aReport('a'), aReport('b', { reportTime: ago(11 * 60) }), aReport('c', { policyUID: 'old-uid' })];
    const podless = rolledUp({ desired: undefined, reports, agents: new Map() });
    expect(podless).toMatchObject({ stats: { entryCount: 4, totalBytes: 4096 }, reporting: '1/-', nodes: { reporting: 1, stale: 1 } });
    expect(['Programmed', 'Ready', 'Stale'].map((type) => condition(podless, type))).toEqual(['True Programmed', 'False NodesNotReporting', 'True AgentsSilent']);
    // One pod, or one count, and the pods that are missing say something again.
    expect(rolledUp({ desired: undefined, reports, agents: new Map([['z', aReadyPod('z')]]) }).reporting).toBe('0/-');
    expect(rolledUp({ desired: 2, reports, agents: new Map() }).reporting).toBe('0/2');
  });

  it('is Programmed only when every fresh report is of this generation', () => {
    const status = rolledUp({ reports: [aReport('a'), aReport('b', { observedGeneration: 2 })] });
    expect(condition(status, 'Programmed')).toBe('False Progressing');
    expect(condition(status, 'Ready')).toBe('False NotProgrammed');
  });

  it('keeps to the last count of a DaemonSet while that is not counted again', () => {
    const before = rolledUp();
    const status = rolledUp({ desired: undefined, previous: before });
    expect(status).toEqual(before);
    expect(rolledUp({ nodes: ['a'], desired: undefined, previous: before })).toMatchObject({ reporting: '1/2', nodes: { desired: 2 } });
  });

  describe('while agents are being replaced', () => {
    const conditions = (status: Status) => ['Programmed', 'Ready', 'Degraded', 'LimitUnreachable', 'Stale'].map((type) => condition(status, type));
    const aNewPod = (seconds: number, ready = false): Agent => ({ uid: 'new-pod', ready, notReadySinceMs: now - seconds * 1000, waiting: undefined });
    const over = aReport('b', {
      caches: [{ name: 'rootfs', stats: { entryCount: 9, totalBytes: 9 }, usage: '112%', overLimit: true, problem: { reason: 'DiskIo', message: 'read' } }],
      conditions: [{ type: 'LimitUnreachable', status: 'True', reason: 'HeldInUse', message: 'held', lastTransitionTime: ago(1) }],
    });

    it.each([
      ['the old one is gone', undefined],
      ['the new one starts', aNewPod(59)],
      ['the new one is ready, and its report not seen yet', aNewPod(20, true)],
    ])('has the conditions it had, and no sum with an old report: %s', (_, pod) => {
      const agents = new Map([['a', aReadyPod('a')], ...(pod ? [['b', pod] as const] : [])]);
      for (const report of [aReport('b'), over]) {
        const reports = [aReport('a'), report];
        const before = rolledUp({ reports });
        const status = rolledUp({ reports, agents, previous: before });
        expect(conditions(status)).toEqual(conditions(before));
        expect(status).toMatchObject({ stats: { entryCount: 4, totalBytes: 4096 }, reporting: '1/2', nodes: { reporting: 1, stale: 0 } });
      }
    });

    it('has them with a single node, too', () => {
      const status = rolledUp({ nodes: ['a'], agents: new Map() });
      expect(conditions(status)).toEqual(conditions(rolledUp({ nodes: ['a'] })));
      expect(status).toMatchObject({ reporting: '0/1', entries: '-' });
      expect(status.conditions?.find((each) => each.type === 'Ready')?.message).toBe('0 of 1 nodes report, each within its limits; 1 agent being replaced');
    });

    it('has them for a minute and no longer', () => {
      const status = rolledUp({ agents: new Map([['a', aReadyPod('a')], ['b', aNewPod(60)]]) });
      expect(conditions(status)).toEqual(['True Programmed', 'False NodesNotReporting', undefined, undefined, 'True AgentsSilent']);
    });

    it('does not take an old report for one of this generation', () => {
      const reports = [aReport('a'), aReport('b', { observedGeneration: 2 })];
      expect(condition(rolledUp({ reports, agents: new Map([['a', aReadyPod('a')]]) }), 'Programmed')).toBe('False Progressing');
    });

    it.each([
      ['an earlier policy of the same name', { policyUID: 'old-uid' }],
      ['eleven minutes ago', { reportTime: ago(11 * 60) }],
    ])('waits for nobody whose last report is of %s', (_, change) => {
      const status = rolledUp({ reports: [aReport('a'), aReport('b', change)], agents: new Map([['a', aReadyPod('a')]]) });
      expect(condition(status, 'Ready')).toBe('False NodesNotReporting');
    });

    it('does not mind what departed nodes said while every node that should report does', () => {
      const status = rolledUp({ nodes: ['a'], reports: [aReport('a'), over] });
      expect(conditions(status)).toEqual(['True Programmed', 'True Ready', undefined, undefined, undefined]);
    });
  });

  it('says in the words of the node what fails', () => {
    const failing = aReport('b', {
      caches: [{ name: 'rootfs', problem: { reason: 'RootMissing', message: '/var/x does not exist' } }],
      conditions: [{ type: 'Degraded', status: 'True', reason: 'CacheFailing', message: 'rootfs: /var/x does not exist', lastTransitionTime: ago(1) }],
    });
    const status = rolledUp({ reports: [aReport('a'), failing] });
    expect(status.nodes).toMatchObject({ failing: 1 });
    expect(condition(status, 'Degraded')).toBe('True NodesFailing');
    expect(status.conditions?.find((each) => each.type === 'Ready')).toMatchObject({ status: 'False', reason: 'NodesFailing', message: '1 node: b/rootfs: /var/x does not exist' });
  });

  it('is Degraded where admission differs from the controller, unless a cache fails, which comes first; either way it stays Ready by its nodes', () => {
    const admissionDifference = 'admission says "a" where the controller goes by "b"';
    const status = rolledUp({ admissionDifference });
    expect(status.conditions?.find((each) => each.type === 'Degraded')).toMatchObject({ status: 'True', reason: 'AdmissionDiffers', message: admissionDifference });
    expect(condition(status, 'Ready')).toBe('True Ready');
    const failing = aReport('b', {
      caches: [{ name: 'rootfs', problem: { reason: 'RootMissing', message: '/var/x does not exist' } }],
      conditions: [{ type: 'Degraded', status: 'True', reason: 'CacheFailing', message: 'rootfs: /var/x does not exist', lastTransitionTime: ago(1) }],
    });
    expect(condition(rolledUp({ admissionDifference, reports: [aReport('a'), failing] }), 'Degraded')).toBe('True NodesFailing');
  });

  it('adds the evictions of the reports that are there, fresh or not, to those of the reports that the controller removed', () => {
    const departed = { evictedEntries: 5, evictedBytes: 500 };
    const reports = [aReport('a'), aReport('b', { reportTime: ago(3_600) }), aReport('c', { policyUID: 'old-uid' })];
    expect(rolledUp({ reports, departed })).toMatchObject({ evictedEntries: 9, evictedBytes: 900, departed });
  });

  it('keeps the ten fullest and no more, fullest first', () => {
    const nodes = Array.from({ length: 30 }, (_, index) => `n${index}`);
    const reports = nodes.map((name, index) => aReport(name, { caches: [{ name: 'rootfs', usage: `${index}%`, stats: { entryCount: 1, totalBytes: 1 } }] }));
    const status = rolledUp({ nodes, reports });
    expect(status.fullestNodes).toHaveLength(10);
    expect(status.fullestNodes?.[0]).toEqual({ nodeName: 'n29', cacheName: 'rootfs', usage: '29%' });
  });

  it('names nodes on which the agent does not start', () => {
    const agents = new Map([['a', aReadyPod('a')], ['b', { uid: 'x', ready: false, notReadySinceMs: now - 31_000, waiting: 'ContainerCreating' }]]);
    const status = rolledUp({ reports: [aReport('a')], agents });
    expect(status.conditions?.find((each) => each.type === 'Ready')).toMatchObject({ reason: 'AgentNotStarted', message: expect.stringContaining('b (ContainerCreating)') });
  });

  describe('names what keeps agents from running', () => {
    const message = (status: Status, type: string) => status.conditions?.find((each) => each.type === type)?.message;
    const many = Array.from({ length: 12 }, (_, index) => `n${String(index).padStart(2, '0')}`);
    const firstTen = many.slice(0, 10).join(', ');
    const down = (waiting: string | undefined, says?: string): Agent => ({ uid: 'x', ready: false, notReadySinceMs: now - 120_000, waiting, says });

    it('the first ten silent nodes, and how many more there are', () => {
      const status = rolledUp({ nodes: many, reports: [], agents: new Map(many.map((name) => [name, down(undefined)])) });
      expect(message(status, 'Stale')).toBe(`12 nodes without a fresh report, whose figures are left out: ${firstTen} and 2 more`);
    });

    it('the first ten nodes that do not report, and how many have no pod', () => {
      const reports = [aReport('reporting')];
      const agents = new Map([...many, 'reporting'].map((name) => [name, aReadyPod(name)]));
      const status = rolledUp({ nodes: [...many, 'reporting', 'without'], reports, agents, lacking: 1 });
      expect(condition(status, 'Ready')).toBe('False NodesNotReporting');
      expect(message(status, 'Ready')).toBe(`1 of 14 nodes report; not reporting: ${firstTen} and 2 more; 1 node without an agent's pod`);
    });

    it('why pods cannot be made, before all that follows from it', () => {
      const status = rolledUp({ reports: [], agents: new Map([['b', down('ErrImagePull')]]), lacking: 1, unmade: 'pods "x" is forbidden: exceeded quota: small' });
      expect([condition(status, 'Ready'), message(status, 'Ready')]).toEqual(['False AgentNotCreated', `the agent's pod cannot be made for 1 node: pods "x" is forbidden: exceeded quota: small`]);
    });

    it.each([
      ['ErrImagePull', 'failed to pull "x": not found'],
      ['ImagePullBackOff', 'Back-off pulling image "x": ErrImagePull: failed to pull "x": not found'],
    ])('an image that cannot be pulled, in the same words at each turn: %s', (waiting, says) => {
      const status = rolledUp({ reports: [aReport('a')], agents: new Map([['a', aReadyPod('a')], ['b', down(waiting, says)]]) });
      expect([condition(status, 'Ready'), message(status, 'Ready')]).toEqual(['False ImageNotPulled', `the agent's image cannot be pulled on b (failed to pull "x": not found)`]);
    });

    it.each([
      ['InvalidImageName', 'ImageNotPulled'], ['CreateContainerError', 'AgentNotStarted'], ['Unschedulable', 'AgentNotStarted'], ['CrashLoopBackOff', 'AgentNotStarted'],
    ])('%s as %s', (waiting, reason) => {
      const status = rolledUp({ reports: [aReport('a')], agents: new Map([['a', aReadyPod('a')], ['b', down(waiting, 'in the words of the node')]]) });
      expect(condition(status, 'Ready')).toBe(`False ${reason}`);
      expect(message(status, 'Ready')).toContain('in the words of the node');
    });
  });

  it('is Ready all the same while no more agents are down than a rollout may take', () => {
    const nodes = Array.from({ length: 20 }, (_, index) => `n${index}`);
    const agents = new Map(nodes.map((name) => [name, aReadyPod(name)]));
    const down = (name: string) => agents.set(name, { uid: 'x', ready: false, notReadySinceMs: now - 120_000, waiting: 'ImagePullBackOff' });
    down('n0');
    down('n1');
    expect(condition(rolledUp({ nodes, agents }), 'Ready')).toBe('True Ready');
    expect(rolledUp({ nodes, agents }).conditions?.find(({ type }) => type === 'Ready')?.message).toContain("; the agent's image cannot be pulled on n0, n1 (ImagePullBackOff)");
    down('n2');
    expect(condition(rolledUp({ nodes, agents }), 'Ready')).toBe('False ImageNotPulled');
  });

  describe('with an agent on a node that no longer matches', () => {
    const nodes = ['a', 'b', 'tainted'];

    it.each([
      ['counted by Kubernetes', { desired: 2, lacking: 0, misscheduled: 1 }],
      ['left out of both counts', { desired: 2, lacking: 0, misscheduled: 0 }],
    ])('%s, counts that node and says so', (_, count) => {
      const status = rolledUp({ nodes, ...count });
      expect(status).toMatchObject({ reporting: '3/3', nodes: { desired: 3, misscheduled: 1, reporting: 3 } });
      expect(status.conditions?.find((each) => each.type === 'Ready')?.message).toBe('3 of 3 nodes report, each within its limits; 1 of them outside nodeSelector and tolerations');
    });

    it.each([0, 1])('does not let it stand for one of the others that is missing (%i counted)', (misscheduled) => {
      const status = rolledUp({ nodes, reports: [aReport('a'), aReport('tainted')], desired: 2, lacking: 0, misscheduled });
      expect(status).toMatchObject({ reporting: '2/3' });
      expect(condition(status, 'Ready')).toBe('False NodesNotReporting');
      expect(rolledUp({ nodes: ['a', 'tainted'], desired: 2, lacking: 1, misscheduled })).toMatchObject({ reporting: '2/3' });
    });

    it('counts no pod that is younger than the count of nodes may be', () => {
      const agents = new Map([['a', aReadyPod('a')], ['b', { ...aReadyPod('b'), notReadySinceMs: now - 1_000 }]]);
      expect(rolledUp({ agents, desired: 2, lacking: 1, misscheduled: 0 })).toMatchObject({ reporting: '2/2', nodes: { misscheduled: 0 } });
    });

    it.each([0, 1, 2, 3, 4])('never shows more nodes reporting than there are (%i counted)', (desired) => {
      for (const lacking of [undefined, 0, desired]) {
        const [reporting, of] = rolledUp({ nodes, desired, lacking }).reporting?.split('/').map(Number) ?? [];
        expect(reporting).toBeLessThanOrEqual(of ?? 0);
      }
      expect(rolledUp({ nodes, desired: undefined, previous: { nodes: { desired } } as RollUpInput['previous'] }).reporting).toBe(`3/${Math.max(3, desired)}`);
    });
  });

  it('shows nothing as zero that nobody has looked at', () => {
    const [cache] = rolledUp({ nodes: [], desired: 2 }).caches ?? [];
    expect(cache).toEqual({ name: 'rootfs', size: '-', usage: '-', evictedEntries: 0, evictedBytes: 0 });
  });

  it('keeps the time of a condition that did not change', () => {
    const before = rolledUp({ nowMs: now - 60_000, reports: [] });
    const after = rolledUp({ previous: before });
    const time = (status: Status, type: string) => status.conditions?.find((each) => each.type === type)?.lastTransitionTime;
    expect(time(after, 'Accepted')).toBe(time(before, 'Accepted'));
    expect(time(after, 'Ready')).toBe('2026-11-23T12:00:00Z');
  });
});

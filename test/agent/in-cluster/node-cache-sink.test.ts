import { describe, expect, it } from 'vitest';
import { NodeCacheSink } from '../../../src/agent/in-cluster/node-cache-sink.ts';
import type { NodeCache } from '../../../src/api/nodecache.gen.ts';
import type { KubeObject } from '../../../src/kube/objects.ts';
import type { CacheState } from '../../../src/policy/node-report.ts';
import { noLimits } from '../../../src/policy/limits.ts';
import { recordedLog, startServer } from '../../kube/rig.ts';
import type { ServerRig } from '../../kube/rig.ts';
import { aLook } from '../../policy/builders.ts';
import { breakOff, busy, hang, status } from '../../kube/scripted-server.ts';
import { aCompiledPolicy } from './builders.ts';

const second = 1_000;
const minute = 60 * second;
const collection = '/apis/cache.a3s.dev/v1alpha1/nodecaches';
const identity = { nodeName: 'node-1', nodeUID: 'node-uid', podName: 'pod', podUID: 'pod-uid', namespace: 'default' };
const unreadable = { reason: 'PolicyFormat' as const, message: 'the compiled policy has format 2; this agent reads 1', subject: { name: 'a3s-box', uid: 'uid-1', generation: 7 } };

function aState(entryCount: number, evictedEntries = 0): CacheState {
  return {
    name: 'rootfs', limits: { ...noLimits, maxEntries: 8 }, lastRun: undefined, problem: undefined,
    totals: { evictedEntries, evictedBytes: 10 * evictedEntries, revived: 0, raced: 0, lastEvictionAtMs: null },
    look: aLook({ stats: { entryCount, totalBytes: 100 * entryCount } }),
  };
}

async function startSink(before: (rig: ServerRig) => void = () => undefined) {
  const rig = await startServer();
  before(rig);
  const sink = new NodeCacheSink({ client: rig.client, identity, agentVersion: 'test', log: recordedLog().log, clock: rig.clock });
  const ending = new AbortController();
  const running = sink.run(ending.signal);
  const present = () => rig.server.get(`${collection}/a3s-box.node-1`) as (KubeObject & NodeCache) | undefined;
  return {
    ...rig, sink, present,
    entries: () => present()?.status?.stats?.entryCount,
    condition: (type: string) => {
      const found = present()?.status?.conditions?.find((each) => each.type === type);
      return found && `${found.status} ${found.reason}: ${found.message}`;
    },
    async [Symbol.asyncDispose]() {
      ending.abort();
      await running;
      await rig[Symbol.asyncDispose]();
    },
  };
}

describe.concurrent('the report of a node', () => {
  it('says who speaks, and what is in force', async () => {
    await using agent = await startSink();
    agent.sink.report(aCompiledPolicy({ generation: 3 }), [aState(4)]);
    await agent.clock.passUntil(() => agent.sink.hasReported);
    expect(agent.present()).toMatchObject({
      metadata: { name: 'a3s-box.node-1', labels: { 'cache.a3s.dev/policy': 'a3s-box' }, ownerReferences: [{ kind: 'CachePolicy', uid: 'uid-1' }] },
      spec: { policyName: 'a3s-box', nodeName: 'node-1' },
      status: { observedGeneration: 3, policyUID: 'uid-1', nodeUID: 'node-uid', podUID: 'pod-uid', stats: { entryCount: 4 } },
    });
  });

  it('is made again when somebody deleted it', async () => {
    await using agent = await startSink();
    agent.sink.report(aCompiledPolicy(), [aState(4, 12)]);
    await agent.clock.passUntil(() => agent.sink.hasReported);
    agent.server.remove(collection, 'a3s-box.node-1');
    agent.sink.report(aCompiledPolicy(), [aState(5, 13)]);
    await agent.clock.passUntil(() => agent.entries() === 5, minute);
    // A controller that removed the one before has added what it said.
    expect(agent.present()?.status).toMatchObject({ evictedEntries: 1, evictedBytes: 10, caches: [{ totals: { evictedEntries: 13 } }] });
  });

  it('does not come back at once with all the others that started and were refused as too many', async () => {
    await using agent = await startSink();
    agent.clock.chance = 0.75;
    agent.server.cue('patch', busy(429, 1));
    await expect(agent.sink.introduce(aCompiledPolicy(), new AbortController().signal)).rejects.toMatchObject({ status: 429 });
    agent.sink.report(aCompiledPolicy(), [aState(4)]);
    // At least five seconds, and three quarters of the minute over which all are spread.
    expect(await agent.clock.passUntil(() => agent.sink.hasReported, 2 * minute)).toBeGreaterThanOrEqual(50 * second);
  });

  it('comes back sooner where there is a NodeCache already: somebody may wait for what it tells', async () => {
    await using agent = await startSink();
    agent.sink.report(aCompiledPolicy(), [aState(4)]);
    await agent.clock.passUntil(() => agent.sink.hasReported);
    agent.clock.chance = 0.75;
    agent.server.cue('patch', busy(429, 1));
    agent.sink.report(aCompiledPolicy(), [aState(5)]);
    const tookMs = await agent.clock.passUntil(() => agent.entries() === 5, minute);
    expect(tookMs).toBeGreaterThanOrEqual(15 * second);
    expect(tookMs).toBeLessThan(25 * second);
  });

  it('tells no evictions again where somebody made another one of the same name', async () => {
    await using agent = await startSink();
    agent.sink.report(aCompiledPolicy(), [aState(4, 12)]);
    await agent.clock.passUntil(() => agent.sink.hasReported);
    agent.server.remove(collection, 'a3s-box.node-1');
    agent.server.put(collection, { apiVersion: 'cache.a3s.dev/v1alpha1', kind: 'NodeCache', metadata: { name: 'a3s-box.node-1' }, spec: { policyName: 'a3s-box', nodeName: 'node-1' } } as KubeObject);
    agent.sink.report(aCompiledPolicy(), [aState(5, 12)]);
    await agent.clock.passUntil(() => agent.entries() === 5, minute);
    expect(agent.present()?.status).toMatchObject({ evictedEntries: 0, caches: [{ totals: { evictedEntries: 12 } }] });
  });

  it('takes over what an earlier agent counted for the same policy on the same node, and nothing else', async () => {
    await using agent = await startSink();
    const policy = aCompiledPolicy();
    agent.sink.report(policy, [aState(4, 12)]);
    await agent.clock.passUntil(() => agent.sink.hasReported);
    const introduced = async (uid: string, nodeUID: string) => {
      const sink = new NodeCacheSink({ client: agent.client, identity: { ...identity, nodeUID }, agentVersion: 'test', log: recordedLog().log });
      return [...await sink.introduce(aCompiledPolicy({ uid }), new AbortController().signal)].map(([name, { evictedEntries }]) => `${name} ${evictedEntries}`);
    };
    expect(await introduced('uid-1', 'node-uid')).toEqual(['rootfs 12']);
    expect(await introduced('uid-2', 'node-uid')).toEqual([]);
    expect(agent.present()?.status).toMatchObject({ policyUID: 'uid-1', evictedEntries: 12 });
    expect(await introduced('uid-1', 'another-node')).toEqual([]);
    // Of the report of the node that had this name before only the evictions count from now on.
    expect(agent.present()?.status).toEqual({ policyUID: 'uid-1', nodeUID: 'another-node', agentVersion: 'test', evictedEntries: 12, evictedBytes: 120 });
  });

  it('is Degraded while a later policy cannot be read, goes on with the figures of the one in force, and is not any more when one can', async () => {
    await using agent = await startSink();
    agent.sink.report(aCompiledPolicy({ generation: 6 }), [aState(4)]);
    await agent.clock.passUntil(() => agent.sink.hasReported);
    expect(agent.condition('Degraded')).toBeUndefined();
    agent.sink.refuse(unreadable);
    await agent.clock.passUntil(() => agent.condition('Degraded') !== undefined, 15 * second);
    expect(agent.condition('Degraded')).toBe(`True PolicyFormat: ${unreadable.message}`);
    agent.sink.report(aCompiledPolicy({ generation: 6 }), [aState(3)]);
    await agent.clock.passUntil(() => agent.entries() === 3, minute);
    expect(agent.condition('Degraded')).toBe(`True PolicyFormat: ${unreadable.message}`);
    expect(agent.condition('Ready')).toMatch(/^True/);
    expect(agent.present()?.status?.observedGeneration).toBe(6);
    agent.sink.refuse(undefined);
    await agent.clock.passUntil(() => agent.condition('Degraded') === undefined, minute);
  });

  it('is not made again while the policy is gone: it would name an owner that is not there, and be deleted each time', async () => {
    await using agent = await startSink();
    agent.sink.report(aCompiledPolicy(), [aState(4)]);
    await agent.clock.passUntil(() => agent.sink.hasReported);
    agent.sink.refuse({ reason: 'PolicyGone', message: 'CachePolicy a3s-box is gone', subject: undefined });
    await agent.clock.passUntil(() => agent.condition('Degraded') !== undefined, 15 * second);
    expect(agent.condition('Degraded')).toBe('True PolicyGone: CachePolicy a3s-box is gone');
    agent.server.remove(collection, 'a3s-box.node-1');
    agent.sink.report(aCompiledPolicy(), [aState(5)]);
    await agent.clock.pass(20 * minute);
    expect(agent.present()).toBeUndefined();
    agent.sink.refuse(undefined);
    agent.sink.report(aCompiledPolicy(), [aState(6)]);
    await agent.clock.passUntil(() => agent.entries() === 6, minute);
  });

  it('says that nothing is in force where no policy can be read from the start, and keeps what was counted', async () => {
    await using agent = await startSink();
    agent.sink.report(aCompiledPolicy({ generation: 6 }), [aState(4, 12)]);
    await agent.clock.passUntil(() => agent.sink.hasReported);
    const next = await startSinkBeside(agent);
    next.sink.refuse(unreadable);
    await agent.clock.passUntil(() => agent.condition('Degraded') !== undefined, minute);
    expect(agent.condition('Degraded')).toBe(`True PolicyFormat: ${unreadable.message}`);
    expect(agent.condition('Ready')).toBe(`False CacheFailing: ${unreadable.message}`);
    expect(agent.present()?.status).toMatchObject({ observedGeneration: 0, evictedEntries: 12, evictedBytes: 120, size: '-', caches: [{ name: 'rootfs', totals: { evictedEntries: 12 } }] });
    next.sink.refuse(undefined);
    next.sink.report(aCompiledPolicy({ generation: 8 }), [aState(4, 12)]);
    await agent.clock.passUntil(() => agent.present()?.status?.observedGeneration === 8, minute);
    expect(agent.condition('Degraded')).toBeUndefined();
    await next.stop();
  });
});

/** The next agent of the same node, on the same server. */
async function startSinkBeside({ client, clock }: ServerRig) {
  const sink = new NodeCacheSink({ client, identity, agentVersion: 'test', log: recordedLog().log, clock });
  const ending = new AbortController();
  const running = sink.run(ending.signal);
  return { sink, stop: async () => (ending.abort(), await running) };
}

describe.concurrent('an outage of the API of ten minutes', () => {
  it.each([
    ['in which nobody listens', breakOff],
    ['in which nothing is answered', hang],
    ['in which everything fails', status(500, 'InternalError')],
    ['in which the API server is too busy', busy(429, 1)],
  ])('%s delays a report by at most 30 s after its end, at no more than twelve tries a minute', async (_, act) => {
    await using agent = await startSink();
    const policy = aCompiledPolicy();
    agent.sink.report(policy, [aState(4)]);
    await agent.clock.passUntil(() => agent.sink.hasReported);
    agent.server.cue('patch', act, 1_000_000);
    const before = agent.server.count('patch');
    for (let minutes = 0; minutes < 10; minutes++) {
      agent.sink.report(policy, [aState(5 + minutes)]);
      await agent.clock.pass(minute + 3 * second);
    }
    expect(agent.server.count('patch') - before).toBeLessThanOrEqual(12 * 11);
    agent.server.behave();
    expect(await agent.clock.passUntil(() => agent.entries() === 14, 60 * second)).toBeLessThan(30 * second);
  });

  it('is over for a report that was not changed meanwhile, too: it is sent anew', async () => {
    await using agent = await startSink();
    agent.sink.report(aCompiledPolicy(), [aState(4)]);
    await agent.clock.passUntil(() => agent.sink.hasReported);
    const told = agent.present()?.status?.reportTime;
    agent.server.cue('patch', hang, 1_000_000);
    await agent.clock.pass(8 * minute);
    agent.server.behave();
    await agent.clock.passUntil(() => agent.present()?.status?.reportTime !== told, 30 * second);
  });

  it.each([61, 68, 75, 82, 89, 97, 98])('is over within 30 s, whatever was on its way when it ended (%i s)', async (seconds) => {
    await using agent = await startSink();
    const policy = aCompiledPolicy();
    agent.sink.report(policy, [aState(4)]);
    await agent.clock.passUntil(() => agent.sink.hasReported);
    agent.server.cue('patch', hang, 1_000_000);
    agent.sink.report(policy, [aState(5)]);
    await agent.clock.pass(seconds * second);
    agent.server.behave();
    expect(await agent.clock.passUntil(() => agent.entries() === 5, minute)).toBeLessThan(30 * second);
  });

  it('rests as long as a busy API server asks', async () => {
    await using agent = await startSink();
    agent.server.cue('patch', busy(429, 45));
    agent.sink.report(aCompiledPolicy(), [aState(4)]);
    expect(await agent.clock.passUntil(() => agent.sink.hasReported, 2 * minute)).toBeGreaterThanOrEqual(45 * second);
    expect(agent.server.count('patch')).toBe(3);
  });
});

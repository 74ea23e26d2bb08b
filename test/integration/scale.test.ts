/** What `make bench-cluster` measures with 5,000 agents, with 50: that the figures are true, however long they take. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cachePolicies } from '../../src/kube/resource.ts';
import { countWrites, difference } from '../bench-cluster/api-writes.ts';
import { ControllerProcess } from '../bench-cluster/controller-process.ts';
import { compiledPolicy } from '../bench-cluster/policy-bench.ts';
import { Answers, assembleAgents } from '../bench-cluster/simulated-agents.ts';
import type { SimulatedAgent } from '../bench-cluster/simulated-agents.ts';
import { aPolicy, countDaemonSet, eventually, openStage, readPolicy } from '../bench-cluster/stage.ts';
import type { Stage } from '../bench-cluster/stage.ts';
import { silent } from '../cluster/log.ts';

const few = 10;
const many = 50;

describe('a fleet of agents, each with a pod and a token of its own', () => {
  let stage: Stage;
  let controller: ControllerProcess;
  let agents: SimulatedAgent[];
  const status = async () => (await readPolicy(stage.admin)).status ?? {};
  const size = async () => Buffer.byteLength(JSON.stringify(await readPolicy(stage.admin)));

  beforeAll(async () => {
    stage = await openStage(silent);
    await stage.admin.create(cachePolicies, aPolicy());
    agents = await assembleAgents(stage, many, new Answers());
    controller = await ControllerProcess.start(stage);
  });
  afterAll(async () => {
    for (const agent of agents ?? []) agent.stop();
    await controller?.[Symbol.asyncDispose]();
    await stage?.[Symbol.asyncDispose]();
  });

  async function start(starting: readonly SimulatedAgent[], reporting: number): Promise<void> {
    await countDaemonSet(stage.admin, reporting);
    const policy = await compiledPolicy(stage.admin);
    for (const agent of starting) agent.start(policy);
    await eventually(async () => {
      // Four entries in each of two caches.
      expect(await status()).toMatchObject({ reporting: `${reporting}/${reporting}`, stats: { entryCount: 8 * reporting }, nodes: { stale: 0, failing: 0 } });
      expect((await status()).conditions?.find(({ type }) => type === 'Ready')).toMatchObject({ status: 'True' });
    }, 90_000);
  }

  it('is added up, in a policy that is no larger for it', async () => {
    await start(agents.slice(0, few), few);
    const before = await size();
    await start(agents.slice(few), many);
    expect(Math.abs((await size()) - before)).toBeLessThanOrEqual(200);
  });

  it('has every eviction counted once', async () => {
    for (const agent of agents) agent.evict();
    await eventually(async () => expect(await status()).toMatchObject({ evictedEntries: many, stats: { entryCount: 9 * many }, departed: { evictedEntries: 0 } }), 90_000);
  });

  it('causes no write of the controller while it is quiet', async () => {
    await eventually(async () => {
      const before = await countWrites(stage);
      await sleep(5_000);
      // A heartbeat may come at any time, and the controller keeps its lease.
      const { nodecaches: _, leases: __, ...rest } = difference(before, await countWrites(stage));
      expect(rest).toEqual({});
    }, 60_000);
  });
});

import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { PolicyObject } from '../../src/controller/admission.ts';
import { cachePolicies } from '../../src/kube/resource.ts';
import { aPolicy, eventually, installOperator, kubectl } from './cluster.ts';
import type { Controller } from './controller-rig.ts';
import { api, collectGarbage, compiledPolicy, freeLease, remove, report, SimulatedNode, startController } from './controller-rig.ts';

const policyName = 'same-name';
const nodeName = 'same-name-node';
/** More than the 5 s between two statuses, in the controller's hurried time. */
const restMs = 300;
const labels = { 'faults.example/same-name': 'yes' };

describe('what is made again under the same name', () => {
  let node: SimulatedNode;
  let controller: Controller;

  beforeAll(async () => {
    await installOperator();
    await freeLease();
    controller = await startController();
    node = await startNode();
  });

  beforeEach(async () => {
    await applyPolicy();
    await node.report(policyName, 5);
    await eventually(async () => expect(await counted()).toEqual({ reporting: '1/1', entries: '3', evicted: 5 }), 60_000);
  });

  afterEach(async () => {
    await remove(cachePolicies, policyName);
    await node.removeAgents(policyName);
    await collectGarbage(policyName);
  });

  afterAll(async () => {
    await controller.stop();
    await node.stop();
    await freeLease();
  });

  async function startNode(): Promise<SimulatedNode> {
    const started = new SimulatedNode(nodeName);
    await started.start(labels);
    return started;
  }

  async function applyPolicy(): Promise<void> {
    await kubectl(['apply', '-f', '-'], JSON.stringify(aPolicy({ name: policyName, home: '/var/cache/same-name', nodeSelector: labels } as never)));
  }

  async function counted(): Promise<unknown> {
    const { status } = await api().get<PolicyObject>(cachePolicies, { name: policyName });
    return { reporting: status?.reporting, entries: status?.entries, evicted: status?.evictedEntries };
  }

  /** What is counted, and stays so. */
  async function expectStays(expected: object): Promise<void> {
    await eventually(async () => expect(await counted()).toEqual(expected), 60_000);
    await delay(restMs);
    expect(await counted()).toEqual(expected);
  }

  it("an agent's pod: the report of the old one counts in no sum, and what it evicted is carried on", async () => {
    await node.removeAgents(policyName);
    await expectStays({ reporting: '0/1', entries: '-', evicted: 5 });
    await node.report(policyName, 6);
    await expectStays({ reporting: '1/1', entries: '3', evicted: 6 });
  });

  it('a policy: no report for the old one counts, not even one that comes late', async () => {
    const old = await compiledPolicy(policyName);
    await remove(cachePolicies, policyName);
    await applyPolicy();
    const late = { podUID: 'old-pod', evictedEntries: 9 };
    // The garbage collector may take it away between its two writes.
    await eventually(() => report(nodeName, old.policy, late));
    await eventually(async () => expect((await compiledPolicy(policyName)).policy.uid).not.toBe(old.policy.uid));
    await expectStays({ reporting: '0/1', entries: '-', evicted: 0 });
    // The agents of the old policy go with its DaemonSet; the garbage collector may be late.
    await collectGarbage(policyName);
    await node.removeAgents(policyName);
    await node.report(policyName, 1);
    await expectStays({ reporting: '1/1', entries: '3', evicted: 1 });
  });

  it('a node: the report of the old one counts in no sum, and what it evicted is carried on', async () => {
    await node.stop();
    // As the garbage collector of pods does with those of a node that is gone.
    await node.removeAgents(policyName);
    node = await startNode();
    await eventually(async () => expect(await counted()).toMatchObject({ reporting: expect.stringMatching(/^0/), entries: '-', evicted: 5 }), 60_000);
    await node.report(policyName, 6);
    await eventually(async () => expect(await counted()).toMatchObject({ reporting: '1/1', entries: '3' }), 60_000);
    // Into the report of the old node; or beside what that had evicted, where the controller has removed it by then.
    expect([6, 11]).toContain((await counted() as { evicted: number }).evicted);
  });
});

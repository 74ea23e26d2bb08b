import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { childName, nodeCacheName, policyLabel } from '../../src/api/names.ts';
import { cachePolicies, configMaps, daemonSets, nodeCaches, pods } from '../../src/kube/resource.ts';
import type { Resource } from '../../src/kube/resource.ts';
import { isNotFound } from '../../src/kube/status-error.ts';
import { aPolicy, eventually, installOperator, kubectl, namespace } from './cluster.ts';
import type { Controller } from './controller-rig.ts';
import { api, collectGarbage, freeLease, remove, SimulatedNode, startController } from './controller-rig.ts';

const soak = process.env['SOAK'] === '1';
const policyName = 'dead-node';
const nodeName = 'dead-node-node';
const labels = { 'faults.example/dead-node': 'yes' };
/** The garbage collector learns of a new kind only half a minute after its definition. */
const withinMs = 90_000;

describe('the removal of a policy whose node died', () => {
  // Nothing ever ends the pods of a simulated node, as on one without power.
  const node = new SimulatedNode(nodeName);
  let controller: Controller;
  let stopped = false;

  beforeAll(async () => {
    await installOperator();
    await freeLease();
    controller = await startController();
    await node.start(labels);
    await kubectl(['apply', '-f', '-'], JSON.stringify(aPolicy({ name: policyName, home: '/var/cache/dead-node', nodeSelector: labels } as never)));
    await node.report(policyName, 0);
    await kubectl(['wait', '--for=condition=Ready', `cachepolicy/${policyName}`, '--timeout=60s']);
  });

  afterAll(async () => {
    await controller.stop();
    await node.removeAgents(policyName);
    if (!stopped) await node.stop();
    await remove(cachePolicies, policyName);
    await collectGarbage(policyName);
    await freeLease();
  });

  const isThere = (resource: Resource, name: string, within?: string) => api().get(resource, { name, ...(within !== undefined && { namespace: within }) }).then(() => true, (error: unknown) => {
    if (isNotFound(error)) return false;
    throw error;
  });
  const agents = async () => (await api().list(pods, { namespace, labelSelector: `${policyLabel}=${policyName}` })).items;

  it('leaves nothing of ours that is Terminating; only the pod waits, for Kubernetes', { timeout: 240_000 }, async () => {
    await kubectl(['delete', 'cachepolicy', policyName, '--wait=false']);
    await eventually(async () => {
      const left = await Promise.all([
        isThere(cachePolicies, policyName), isThere(nodeCaches, nodeCacheName(policyName, nodeName)),
        isThere(configMaps, childName(policyName), namespace), isThere(daemonSets, childName(policyName), namespace),
      ]);
      expect(left).toEqual([false, false, false, false]);
      expect((await agents()).map(({ metadata }) => metadata.deletionTimestamp !== undefined)).toEqual([true]);
    }, withinMs);
  });

  it.runIf(soak)('and the pod goes when its Node is deleted', { timeout: 240_000 }, async () => {
    stopped = true;
    await node.stop();
    await eventually(async () => expect(await agents()).toEqual([]), 120_000);
  });
});

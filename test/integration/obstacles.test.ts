/** What stands in the way of a policy's agents, on a real API server with the real DaemonSet controller: each is said in a condition and an Event. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { agentFieldManager, apiVersion, childName, nodeCacheName, policyLabel } from '../../src/api/names.ts';
import type { PolicyObject } from '../../src/controller/admission.ts';
import type { KubeObject } from '../../src/kube/objects.ts';
import { cachePolicies, nodeCaches } from '../../src/kube/resource.ts';
import { aPolicy, clientWithToken, eventually, installOperator, kubectl, namespace } from './cluster.ts';
import { api, collectGarbage, compiledPolicy, freeLease, remove, SimulatedNode, startController } from './controller-rig.ts';
import type { Controller } from './controller-rig.ts';

const name = 'obstacles';
const labels = { 'obstacles.example/node': 'yes' };
const node = new SimulatedNode('obstacles-node');
const withinMs = 60_000;
let controller: Controller;

beforeAll(async () => {
  await installOperator();
  await node.start(labels);
  await freeLease();
  controller = await startController();
});

afterEach(async () => {
  await remove(cachePolicies, name);
  await collectGarbage(name);
  await node.removeAgents(name);
});

afterAll(async () => {
  await controller.stop();
  await node.stop();
  await freeLease();
});

const make = (policyName = name) => kubectl(['apply', '-f', '-'], JSON.stringify(aPolicy({ name: policyName, home: '/var/cache/obstacles', nodeSelector: labels } as never)));
const thePolicy = (policyName = name) => api().get<PolicyObject>(cachePolicies, { name: policyName });

/** @returns `Reason: message` */
async function condition(type: string, policyName = name): Promise<string> {
  const found = (await thePolicy(policyName)).status?.conditions?.find((each) => each.type === type);
  return `${found?.reason}: ${found?.message}`;
}

async function until(type: string, expected: RegExp, policyName = name): Promise<void> {
  await eventually(async () => expect(await condition(type, policyName)).toMatch(expected), withinMs);
}

async function untilEvent(expected: RegExp): Promise<void> {
  await eventually(async () => expect(await kubectl(['get', 'events', '-n', 'default', '-o', 'jsonpath={range .items[*]}{.involvedObject.name} {.type} {.reason}: {.message}{"\\n"}{end}'])).toMatch(expected), withinMs);
}

describe('a policy says what keeps its agents from running', () => {
  it('a quota, until it is raised', { timeout: 120_000 }, async () => {
    await kubectl(['create', 'quota', 'small', '-n', namespace, '--hard=pods=0']);
    try {
      await make();
      await until('Ready', /^AgentNotCreated: the agent's pod cannot be made for 1 node: pods "cachepolicy-obstacles" is forbidden: exceeded quota: small/);
      await untilEvent(/^obstacles Warning AgentNotCreated: .*exceeded quota: small/m);
    } finally {
      await kubectl(['delete', 'quota', 'small', '-n', namespace]);
    }
    await node.report(name, 0);
    await until('Ready', /^Ready: 1 of 1 nodes report/);
  });

  it('the pod security of its namespace', { timeout: 120_000 }, async () => {
    await kubectl(['label', 'namespace', namespace, 'pod-security.kubernetes.io/enforce=restricted', '--overwrite']);
    try {
      await make();
      await until('Ready', /^AgentNotCreated: .*violates PodSecurity "restricted:latest"/);
    } finally {
      await kubectl(['apply', '-k', new URL('../../deploy', import.meta.url).pathname]);
      await kubectl(['label', 'namespace', namespace, 'pod-security.kubernetes.io/enforce=privileged', '--overwrite']);
    }
  });

  it('a container that somebody put into the DaemonSet, until that is deleted', { timeout: 120_000 }, async () => {
    await make();
    await node.report(name, 0);
    await until('Ready', /^Ready: /);
    const sidecar = { spec: { template: { spec: { containers: [{ name: 'mesh', image: 'example.com/mesh:1' }] } } } };
    await kubectl(['patch', 'daemonset', childName(name), '-n', namespace, '-p', JSON.stringify(sidecar)]);
    await until('Programmed', /^ChildrenRefused: .*DaemonSet cachepolicy-obstacles has container mesh, which the operator did not put there; .*delete daemonset cachepolicy-obstacles/);
    await untilEvent(/^obstacles Warning ChildrenRefused: .*container mesh/m);
    await kubectl(['delete', 'daemonset', childName(name), '-n', namespace]);
    await node.removeAgents(name);
    await node.report(name, 0);
    await until('Ready', /^Ready: /);
  });

  it('nothing, but counts a node that no longer matches and goes on reporting', { timeout: 180_000 }, async () => {
    await make();
    await node.report(name, 0);
    await until('Ready', /^Ready: 1 of 1 nodes report/);
    await kubectl(['taint', 'node', node.name, 'example.com/own=yes:NoSchedule']);
    try {
      // A taint alone does not make Kubernetes count again.
      await kubectl(['annotate', 'daemonset', childName(name), '-n', namespace, 'example.com/count=again']);
      await eventually(async () => {
        await node.report(name, 0);
        expect((await thePolicy()).status).toMatchObject({ reporting: '1/1', nodes: { desired: 1, misscheduled: 1, reporting: 1 } });
      }, 2 * withinMs);
      await until('Ready', /outside nodeSelector and tolerations/);
    } finally {
      await kubectl(['taint', 'node', node.name, 'example.com/own-']);
    }
  });

  it('a policy under deletion whose agents still run', { timeout: 120_000 }, async () => {
    await make();
    await node.report(name, 0);
    await until('Ready', /^Ready: /);
    await kubectl(['patch', 'cachepolicy', name, '--type=merge', '-p', JSON.stringify({ metadata: { finalizers: ['example.com/theirs'] } })]);
    await remove(cachePolicies, name);
    try {
      await make('successor');
      await until('Accepted', /^Conflicted: CachePolicy obstacles is being deleted, and its agents still govern/, 'successor');
    } finally {
      await kubectl(['patch', 'cachepolicy', name, '--type=merge', '-p', JSON.stringify({ metadata: { finalizers: null } })]);
    }
    await until('Accepted', /^Accepted: /, 'successor');
    await remove(cachePolicies, 'successor');
    await collectGarbage('successor');
    await node.removeAgents('successor');
  });
});

describe('an agent that reports whatever it likes', () => {
  it('moves the sum of its policy by no more than it reports, and stops no status', { timeout: 120_000 }, async () => {
    await make();
    await node.report(name, 0);
    const { policy } = await compiledPolicy(name);
    const podName = await kubectl(['get', 'pods', '-n', namespace, '-l', `${policyLabel}=${name}`, '-o', 'jsonpath={.items[0].metadata.name}']);
    const podUID = await kubectl(['get', 'pod', podName, '-n', namespace, '-o', 'jsonpath={.metadata.uid}']);
    const agent = clientWithToken((await kubectl(['create', 'token', 'cachepolicy-agent', '-n', namespace, '--bound-object-kind=Pod', `--bound-object-name=${podName}`])).trim());
    const metadata = { name: nodeCacheName(name, node.name), labels: { [policyLabel]: name }, ownerReferences: [{ apiVersion, kind: 'CachePolicy', name, uid: policy.uid }] };
    const object = { apiVersion, kind: 'NodeCache', metadata, spec: { policyName: name, nodeName: node.name } } as KubeObject;
    await agent.apply(nodeCaches, object, { fieldManager: agentFieldManager });
    const most = '9223372036854775807';
    for (const evictedEntries of [Number.MAX_SAFE_INTEGER, 0, Number(most.slice(0, 18)), 0, Number.MAX_SAFE_INTEGER, 7]) {
      const status = { policyUID: policy.uid, podUID, nodeUID: 'any', reportTime: new Date().toISOString().replace(/\.\d+/, ''), evictedEntries, evictedBytes: evictedEntries };
      await agent.applyStatus(nodeCaches, { ...object, metadata: { name: metadata.name }, status } as KubeObject, { fieldManager: agentFieldManager });
      const counted = Math.min(evictedEntries, Number.MAX_SAFE_INTEGER);
      await eventually(async () => expect((await thePolicy()).status).toMatchObject({ evictedEntries: counted, departed: { evictedEntries: 0 } }), withinMs);
    }
  });
});

/** How soon a change of the policy is in force on every node: each agent has a watch of its ConfigMap, on a connection of its own. */
import { setTimeout as sleep } from 'node:timers/promises';
import { childName, compiledPolicyKey } from '../../src/api/names.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import type { KubeObject } from '../../src/kube/objects.ts';
import { cachePolicies, configMaps } from '../../src/kube/resource.ts';
import type { CompiledPolicy } from '../../src/policy/compiled.ts';
import { parseCompiled } from '../../src/policy/compiled.ts';
import type { Log } from '../cluster/log.ts';
import { ControllerProcess } from './controller-process.ts';
import { percentile } from './rows.ts';
import type { Row } from './rows.ts';
import { Answers, assembleAgents } from './simulated-agents.ts';
import { aPolicy, countDaemonSet, eventually, namespace, openStage, policyName } from './stage.ts';

export interface PolicyOptions {
  readonly watches: number;
  readonly changes: number;
}

export async function benchPolicyChange({ watches, changes }: PolicyOptions, log: Log): Promise<Row[]> {
  await using stage = await openStage(log);
  await stage.admin.create(cachePolicies, aPolicy());
  const agents = await assembleAgents(stage, watches, new Answers());
  await using _controller = await ControllerProcess.start(stage);
  await countDaemonSet(stage.admin, watches);
  const limits = new Map<string, { readonly maxEntries: number | null | undefined; readonly atMs: number }>();
  const delaysMs: number[] = [];
  try {
    for (const agent of agents) agent.watch(({ caches }) => limits.set(agent.nodeCacheName, { maxEntries: caches[0]?.limits.maxEntries, atMs: performance.now() }));
    const everyHas = (maxEntries: number) => eventually(() => {
      const missing = agents.length - [...limits.values()].filter((limit) => limit.maxEntries === maxEntries).length;
      if (missing > 0) throw new Error(`${missing} of ${agents.length} agents do not have the limit ${maxEntries}`);
    }, 60_000, 20);
    await everyHas(8);
    log(`${watches} agents watch; ${changes} changes`);
    for (let change = 1; change <= changes; change++) {
      // The reports about the change before are told, and the status is written.
      await sleep(6_000);
      const sentAtMs = performance.now();
      await stage.admin.patch(cachePolicies, { name: policyName }, { type: 'merge', body: { spec: aPolicy(8 + change).spec } });
      await everyHas(8 + change);
      delaysMs.push(...[...limits.values()].map(({ atMs }) => atMs - sentAtMs));
    }
  } finally {
    for (const agent of agents) agent.stop();
  }
  return [{
    what: 'policy change → every agent has the new limits, p99', at: `${watches} watches, ${changes} changes`, unit: 's', target: 3, value: percentile(delaysMs, 0.99) / 1000,
    seen: { p50: percentile(delaysMs, 0.5) / 1000, max: Math.max(...delaysMs) / 1000 },
  }];
}

/** What the agents are told, once the controller has said it. */
export async function compiledPolicy(admin: KubeClient): Promise<CompiledPolicy> {
  return eventually(async () => {
    const { data } = await admin.get<KubeObject & { data: Record<string, string> }>(configMaps, { namespace, name: childName(policyName) });
    return parseCompiled(data[compiledPolicyKey] ?? '');
  }, 60_000);
}

/** A thousand policies: how soon a change of any one is in its ConfigMap, how late the controller's loop turns, and whether the lease is kept while somebody makes hundreds more. */
import { setTimeout as sleep } from 'node:timers/promises';
import { apiVersion, childName, compiledPolicyKey, leaseName } from '../../src/api/names.ts';
import type { PolicyObject } from '../../src/controller/admission.ts';
import { KubeClient } from '../../src/kube/client.ts';
import type { KubeObject } from '../../src/kube/objects.ts';
import { cachePolicies, configMaps, leases } from '../../src/kube/resource.ts';
import { parseCompiled } from '../../src/policy/compiled.ts';
import type { Log } from '../cluster/log.ts';
import { ControllerProcess } from './controller-process.ts';
import { percentile } from './rows.ts';
import type { Row } from './rows.ts';
import { eventually, namespace, onEach, openStage } from './stage.ts';
import type { Stage } from './stage.ts';

export interface ManyOptions {
  readonly policies: number;
  readonly changes: number;
  /** Made by somebody who may create policies and nothing else, on the directories of the others, and without a selector. */
  readonly intruders: number;
}

/** As many as a policy may have. */
const cachesEach = 16;
/** As a shell with a few `kubectl create` at once. More would measure how the API server shares its cores. */
const intruderWidth = 4;
const makingWidth = 8;

export async function benchMany({ policies, changes, intruders }: ManyOptions, log: Log): Promise<Row[]> {
  await using stage = await openStage(log);
  await using controller = await ControllerProcess.start(stage, { probed: true });
  await holder(stage);
  const at = `${policies} policies, ${cachesEach} caches`;
  const startedAtMs = performance.now();
  await makeAll(stage, stage.controlPlane.adminToken, { policies: Array.from({ length: policies }, (_, n) => manyPolicy(n)), width: makingWidth });
  await allDecided(stage, policies);
  const seconds = (performance.now() - startedAtMs) / 1000;
  log(`${policies} policies are made and decided after ${seconds.toFixed(1)} s; ${changes} changes`);
  const making = await controller.loopDelay();
  const restartsBefore = controller.restarts;
  const changing = await changesOf(stage, policies, changes);
  const changed = await controller.loopDelay();
  const before = await holder(stage);
  log(`${intruders} policies more, of somebody else, and ${changes} changes beside them`);
  const intruding = intrude(stage, Array.from({ length: intruders }, (_, n) => intruder(n, policies)));
  const beside = await changesOf(stage, policies, changes);
  await intruding;
  await allDecided(stage, policies + intruders);
  const intruded = await controller.loopDelay();
  const lost = controller.restarts - restartsBefore + ((await holder(stage)) === before ? 0 : 1);
  const loop = ({ net, gross, ticks }: typeof making) => ({ 'net max': net.max, 'gross p99': gross.p99, 'gross max': gross.max, ticks });
  return [
    slowest('change of one policy → its ConfigMap, slowest', at, changing),
    { what: 'loop delay p99 while they are made, net of run-queue wait', at, unit: 'ms', target: 50, value: making.net.p99, seen: { ...loop(making), 'all decided s': seconds, 'leases lost': restartsBefore } },
    { what: 'loop delay p99 during changes, net of run-queue wait', at, unit: 'ms', target: 50, value: changed.net.p99, seen: loop(changed) },
    slowest('change of one policy while others are made, slowest', `${at}, ${intruders} more`, beside),
    { what: 'loop delay p99 while others are made, net of run-queue wait', at: `${at}, ${intruders} more`, unit: 'ms', target: 50, value: intruded.net.p99, seen: loop(intruded) },
    { what: 'leases lost', at: `${at}, ${intruders} more`, unit: '', target: 0, value: lost },
  ];
}

function slowest(what: string, at: string, changes: readonly Change[]): Row {
  const seconds = changes.map((change) => change.seconds);
  const taken = changes.map(({ takenSeconds }) => takenSeconds);
  return { what, at, unit: 's', target: 5, value: Math.max(...seconds), seen: { p50: percentile(seconds, 0.5), 'of it the API server took the change, slowest': Math.max(...taken), changes: changes.length } };
}

function manyPolicy(n: number, maxEntries = 8): PolicyObject {
  return policyOf(`many-${n}`, { node: String(n % 10) }, (i) => `/var/cache/many/${n}/${i}`, maxEntries);
}

/** Would take a directory of sixteen policies. */
function intruder(n: number, policies: number): PolicyObject {
  return policyOf(`intruder-${n}`, undefined, (i) => `/var/cache/many/${(n + i * 61) % policies}/${i}/below`, 8);
}

function policyOf(name: string, nodeSelector: Record<string, string> | undefined, path: (cache: number) => string, maxEntries: number): PolicyObject {
  const caches = Array.from({ length: cachesEach }, (_, i) => ({ name: `c${i}`, directory: { path: path(i) }, limits: { maxEntries } }));
  return { apiVersion, kind: 'CachePolicy', metadata: { name }, spec: { ...(nodeSelector && { nodeSelector }), caches } } as PolicyObject;
}

/** As an account that may create policies and nothing else. */
async function intrude(stage: Stage, policies: readonly PolicyObject[]): Promise<void> {
  const account = 'intruder';
  const { kubectl } = stage.controlPlane;
  await kubectl(['-n', namespace, 'create', 'serviceaccount', account]);
  await kubectl(['create', 'clusterrole', account, '--verb=create', '--resource=cachepolicies.cache.a3s.dev']);
  await kubectl(['create', 'clusterrolebinding', account, `--clusterrole=${account}`, `--serviceaccount=${namespace}:${account}`]);
  await makeAll(stage, await stage.token(account), { policies, width: intruderWidth });
}

async function makeAll(stage: Stage, token: string, { policies, width }: { policies: readonly PolicyObject[]; width: number }): Promise<void> {
  const transport = stage.transport(token, { maxSockets: width });
  try {
    const client = new KubeClient(transport);
    await onEach(policies, (policy) => client.create(cachePolicies, policy));
  } finally {
    transport.close();
  }
}

/** Each has a status of its present generation. */
async function allDecided(stage: Stage, count: number): Promise<void> {
  await eventually(async () => {
    let decided = 0;
    let next: string | undefined;
    do {
      const page = await stage.admin.list<PolicyObject>(cachePolicies, { limit: 500, continue: next });
      decided += page.items.filter(({ metadata, status }) => status?.observedGeneration === metadata.generation).length;
      next = page.metadata.continue;
    } while (next !== undefined && next !== '');
    if (decided < count) throw new Error(`${decided} of ${count} policies are decided`);
  }, 600_000, 2_000);
}

interface Change {
  /** From the request until the ConfigMap holds it. */
  readonly seconds: number;
  /** Of it, until the API server had taken the change. */
  readonly takenSeconds: number;
}

/** Changes policies spread over all, one after the other; a path changes, too, so that conflicts are decided again. */
async function changesOf(stage: Stage, policies: number, changes: number): Promise<Change[]> {
  const made: Change[] = [];
  for (let change = 0; change < changes; change++) {
    const name = `many-${Math.floor((change * policies) / changes)}`;
    const { spec } = await stage.admin.get<PolicyObject>(cachePolicies, { name });
    const maxEntries = (spec.caches[0]?.limits.maxEntries ?? 0) + 1;
    const caches = spec.caches.map((cache, i) => (i > 0 ? cache : { ...cache, directory: { path: `/var/cache/many/${name}/${maxEntries}` }, limits: { maxEntries } }));
    const sentAtMs = performance.now();
    const { metadata } = await stage.admin.patch<PolicyObject>(cachePolicies, { name }, { type: 'merge', body: { spec: { caches } } });
    const answeredAtMs = performance.now();
    await eventually(async () => {
      const { data } = await stage.admin.get<KubeObject & { data: Record<string, string> }>(configMaps, { namespace, name: childName(name) });
      const { policy, accepted } = parseCompiled(data[compiledPolicyKey] ?? '');
      if (policy.generation !== metadata.generation || !accepted) throw new Error(`the ConfigMap of ${name} holds generation ${policy.generation} of ${metadata.generation}`);
    }, 120_000, 20);
    made.push({ seconds: (performance.now() - sentAtMs) / 1000, takenSeconds: (answeredAtMs - sentAtMs) / 1000 });
    await sleep(500);
  }
  return made;
}

async function holder(stage: Stage): Promise<string> {
  return eventually(async () => {
    const { spec } = await stage.admin.get<KubeObject & { spec: { holderIdentity?: string } }>(leases, { namespace, name: leaseName });
    if (spec.holderIdentity === undefined || spec.holderIdentity === '') throw new Error('no controller leads');
    return spec.holderIdentity;
  });
}

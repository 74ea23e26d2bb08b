/** A controller that starts before more reports than any cluster has nodes. There are no pods: that many belong to no test machine. */
import { settleConditions } from '../../src/api/conditions.ts';
import { apiVersion, nodeCacheName, policyLabel } from '../../src/api/names.ts';
import type { PolicyObject } from '../../src/controller/admission.ts';
import type { KubeObject } from '../../src/kube/objects.ts';
import { cachePolicies, nodeCaches } from '../../src/kube/resource.ts';
import { compilePolicy } from '../../src/policy/compile.ts';
import { isoSeconds, nodeReport } from '../../src/policy/node-report.ts';
import type { Log } from '../cluster/log.ts';
import { ControllerProcess } from './controller-process.ts';
import type { Row } from './rows.ts';
import { statesOf } from './simulated-agents.ts';
import { aPolicy, eventually, onEach, openStage, readPolicy } from './stage.ts';
import type { Stage } from './stage.ts';

export interface LargeOptions {
  readonly reports: number;
}

const fewReports = 10;
/** Longer than it takes to make all of them: a report is fresh for 11 minutes, and here all are to be when the controller starts. */
const seededForMs = 15 * 60_000;

export async function benchLarge({ reports }: LargeOptions, log: Log): Promise<Row[]> {
  await using stage = await openStage(log);
  const policy = await stage.admin.create(cachePolicies, aPolicy());
  const few = await sizeWith(stage, policy, 0, fewReports);
  log(`${reports} reports`);
  await seed(stage, policy, fewReports, reports);
  const startedAtMs = performance.now();
  await using controller = await ControllerProcess.start(stage, { probed: true });
  const status = await eventually(async () => trueStatus(await readPolicy(stage.admin), reports), 300_000, 250);
  const seconds = (performance.now() - startedAtMs) / 1000;
  const delay = await controller.loopDelay();
  log(`the status is true after ${seconds.toFixed(1)} s: ${status.reporting}, ${status.size}`);
  const many = sizeOf(await readPolicy(stage.admin));
  const at = `${reports} NodeCaches`;
  const { rss, highest } = controller.memory;
  return [
    { what: 'controller RSS, highest', at, unit: 'MiB', target: 400, value: highest, seen: { 'in the end': rss } },
    { what: 'start → true status', at, unit: 's', target: 60, value: seconds },
    { what: 'loop delay p99 during the list, net of run-queue wait', at, unit: 'ms', target: 50, value: delay.net.p99, seen: { 'net max': delay.net.max, 'gross p99': delay.gross.p99, 'gross max': delay.gross.max, ticks: delay.ticks } },
    { what: 'CachePolicy size, with managedFields: difference', at: `${fewReports} and ${reports} nodes`, unit: 'B', target: 200, value: Math.abs(many - few), seen: { few, many } },
  ];
}

/** The size of the policy once a controller has seen so many reports. */
async function sizeWith(stage: Stage, policy: PolicyObject, from: number, to: number): Promise<number> {
  await seed(stage, policy, from, to);
  await using _controller = await ControllerProcess.start(stage);
  await eventually(async () => trueStatus(await readPolicy(stage.admin), to), 60_000);
  return sizeOf(await readPolicy(stage.admin));
}

function sizeOf(policy: PolicyObject): number {
  return Buffer.byteLength(JSON.stringify(policy));
}

function trueStatus({ status }: PolicyObject, reports: number): NonNullable<PolicyObject['status']> {
  if (status?.nodes?.reporting !== reports || status.stats?.entryCount !== entriesOf(0, reports)) throw new Error(`the status says ${status?.reporting}, ${status?.entries} entries`);
  return status;
}

/** What the first cache and the second one of these nodes hold together. */
function entriesOf(from: number, to: number): number {
  let entries = 0;
  for (let number = from; number < to; number++) entries += 4 + (number % 8);
  return entries;
}

/**
 * Makes reports as agents write them. A status is a write of its own, which would double the time: so the kind has no status of its own for as long as
 * this takes, and a report is made whole.
 */
async function seed(stage: Stage, policy: PolicyObject, from: number, to: number): Promise<void> {
  const crd = 'nodecaches.cache.a3s.dev';
  const patch = (operations: object[]) => stage.controlPlane.kubectl(['patch', 'crd', crd, '--type=json', '-p', JSON.stringify(operations)]);
  await patch([{ op: 'remove', path: '/spec/versions/0/subresources' }]);
  const compiled = compilePolicy(policy, { accepted: true });
  const make = async (number: number) => stage.admin.create<KubeObject & { status?: object }>(nodeCaches, report(compiled, number));
  await eventually(async () => {
    const made = await make(from);
    if (made.status !== undefined) return;
    await stage.admin.delete(nodeCaches, { name: made.metadata.name });
    throw new Error('the status is still a subresource');
  });
  await onEach(Array.from({ length: to - from - 1 }, (_, index) => from + 1 + index), make);
  await patch([{ op: 'add', path: '/spec/versions/0/subresources', value: { status: {} } }]);
  await servedFromCache(stage);
}

/**
 * The API server reads all objects of a kind that changed into its cache again, and until then asks etcd for each page of a list: a second for a page that
 * takes a tenth of it afterwards. That is no part of a controller's start.
 */
async function servedFromCache({ admin, controlPlane }: Stage): Promise<void> {
  const listsFromCache = async () => /^apiserver_cache_list_total\{.*resource="nodecaches".*\} (\S+)$/m.exec(await controlPlane.kubectl(['get', '--raw', '/metrics']))?.[1];
  await eventually(async () => {
    const before = await listsFromCache();
    const { items: [first] } = await admin.list<KubeObject>(nodeCaches, { limit: 1, maxAttempts: 1 });
    if (first !== undefined) await admin.get(nodeCaches, { name: first.metadata.name, subresource: 'status' } as never, { maxAttempts: 1 });
    if ((await listsFromCache()) === before) throw new Error('the API server does not answer lists from its cache yet');
  }, 300_000, 1_000);
}

function report(policy: ReturnType<typeof compilePolicy>, number: number): KubeObject & { status: object } {
  const { name, uid, generation } = policy.policy;
  const nodeName = `node-${String(number).padStart(6, '0')}`;
  const { findings, ...figures } = nodeReport(statesOf(policy, number % 8, 0));
  const now = isoSeconds(Date.now() + seededForMs);
  return {
    apiVersion, kind: 'NodeCache',
    metadata: { name: nodeCacheName(name, nodeName), labels: { [policyLabel]: name }, ownerReferences: [{ apiVersion, kind: 'CachePolicy', name, uid }] },
    spec: { policyName: name, nodeName },
    status: {
      observedGeneration: generation, policyUID: uid, nodeUID: crypto.randomUUID(), podUID: crypto.randomUUID(), agentVersion: 'bench', reportTime: now, ...figures,
      conditions: settleConditions(findings, [], generation, now),
    },
  } as KubeObject & { status: object };
}

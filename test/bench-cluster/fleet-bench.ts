/** A fleet that starts at once, is busy for a while, and then quiet: everything an API server and a controller feel of it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { compareResourceVersions } from '../../src/kube/objects.ts';
import { cachePolicies, nodeCaches } from '../../src/kube/resource.ts';
import type { NodeCacheObject } from '../../src/controller/records.ts';
import type { Log } from '../cluster/log.ts';
import { countWrites, difference } from './api-writes.ts';
import { ControllerProcess } from './controller-process.ts';
import { percentile } from './rows.ts';
import type { Row } from './rows.ts';
import { Answers, assembleAgents } from './simulated-agents.ts';
import type { SimulatedAgent } from './simulated-agents.ts';
import { aPolicy, countDaemonSet, eventually, onEach, openStage, readPolicy } from './stage.ts';
import type { Stage } from './stage.ts';
import { watchStatus } from './status-watch.ts';
import { compiledPolicy } from './policy-bench.ts';

/** An Event that was counted on is written within 30 s. */
const unwrittenMs = 35_000;

export interface FleetOptions {
  readonly nodes: number;
  readonly reportsPerSecond: number;
  readonly busySeconds: number;
  readonly quietSeconds: number;
}

export async function benchFleet(options: FleetOptions, log: Log): Promise<Row[]> {
  const { nodes } = options;
  await using stage = await openStage(log);
  const answers = new Answers();
  await stage.admin.create(cachePolicies, aPolicy());
  log(`${nodes} nodes, pods and tokens`);
  const agents = await assembleAgents(stage, nodes, answers);
  await using controller = await ControllerProcess.start(stage);
  await countDaemonSet(stage.admin, nodes);
  try {
    const rows = [
      await startAtOnce(stage, agents, answers, log),
      ...(await busy(stage, controller, agents, options, log)),
      ...(await quiet(stage, options, log)),
      controllerMemory(controller, nodes),
      await nodeCacheSize(stage),
    ];
    return rows;
  } finally {
    for (const agent of agents) agent.stop();
  }
}

/**
 * No jitter, no kubelets that take their time: the worst a rollout or a restored API server can do. Every agent has its connection by then, because 5,000
 * handshakes cost this one machine on both sides what a cluster spreads over its nodes; its first request leaves at the same moment as all others.
 */
async function startAtOnce(stage: Stage, agents: readonly SimulatedAgent[], answers: Answers, log: Log): Promise<Row> {
  const policy = await compiledPolicy(stage.admin);
  await onEach(agents, (agent) => agent.connect());
  log(`${agents.length} agents start at once`);
  const startedAtMs = performance.now();
  for (const agent of agents) agent.start(policy);
  const reported = () => agents.filter((agent) => agent.hasReported).length;
  await eventually(() => {
    if (reported() < agents.length) throw new Error(`${agents.length - reported()} of ${agents.length} agents have not reported`);
  }, 300_000);
  const deliveredMs = performance.now() - startedAtMs;
  await allReport(stage, agents.length);
  const shownMs = performance.now() - startedAtMs;
  log(`all have reported after ${Math.round(deliveredMs)} ms; ${answers.refused} of ${answers.total} answers were 429`);
  return {
    what: 'all agents start at once: answered 429 after the first try', at: `${agents.length} agents`, unit: '%', target: 1,
    value: (100 * answers.refusedAgain) / answers.total,
    seen: { answers: answers.total, '429 at all': answers.refused, unanswered: answers.unanswered, 'all delivered s': deliveredMs / 1000, 'all in the status s': shownMs / 1000, lost: agents.length - reported() },
  };
}

/** What is still owed of the busy time: reports that waited for their turn, the status that shows them, Events. */
async function untilAllIsTold(stage: Stage): Promise<void> {
  await eventually(async () => {
    const before = await countWrites(stage);
    await sleep(unwrittenMs);
    const { nodecaches: _, leases: __, ...rest } = difference(before, await countWrites(stage));
    if (Object.keys(rest).length > 0) throw new Error(`it is not quiet yet: ${JSON.stringify(rest)}`);
  }, 180_000);
}

async function allReport(stage: Stage, count: number): Promise<void> {
  await eventually(async () => {
    const { status } = await readPolicy(stage.admin);
    if (status?.nodes?.reporting !== count || status.stats?.entryCount === undefined) throw new Error(`${status?.reporting} report`);
  }, 60_000);
}

async function busy(stage: Stage, controller: ControllerProcess, agents: readonly SimulatedAgent[], { nodes, reportsPerSecond, busySeconds }: FleetOptions, log: Log): Promise<Row[]> {
  log(`${reportsPerSecond} reports a second for ${busySeconds} s`);
  // What the start left in the reports' budgets is no part of this.
  await sleep(10_000);
  const watching = new AbortController();
  const sightings = await watchStatus(stage.admin, watching.signal);
  const base = sightings[0]?.status.evictedEntries ?? 0;
  for (const agent of agents) agent.deliveries.length = 0;
  const cpuBefore = controller.cpuSeconds;
  const startedAtMs = performance.now();
  const order = agents.toSorted(() => Math.random() - 0.5);
  const count = Math.min(order.length, reportsPerSecond * busySeconds);
  for (let each = 0; each < count; each++) {
    await sleep(Math.max(0, startedAtMs + (each * 1000) / reportsPerSecond - performance.now()));
    order[each]?.evict();
  }
  const seconds = (performance.now() - startedAtMs) / 1000;
  const cpu = (100 * (controller.cpuSeconds - cpuBefore)) / seconds;
  await eventually(() => {
    const shown = sightings.at(-1)?.status.evictedEntries;
    if (shown !== base + count) throw new Error(`the status shows ${shown} evictions, ${base + count} were reported`);
  }, 60_000);
  watching.abort();
  const latencies = delays(agents, sightings, base);
  if (latencies.length !== count) throw new Error(`${latencies.length} of ${count} reports arrived`);
  const at = `${nodes} nodes, 2 caches, ${reportsPerSecond} reports/s`;
  return [
    { what: 'report → status shows it, p99', at, unit: 's', target: 6, value: percentile(latencies, 0.99) / 1000, seen: { p50: percentile(latencies, 0.5) / 1000, max: Math.max(...latencies) / 1000, reports: count, 'status writes': sightings.length - 1 } },
    { what: 'controller CPU', at, unit: '%', target: 5, value: cpu },
  ];
}

/** The watch delivers reports in the order of their versions, so the n-th is in a status as soon as that counts n evictions. */
function delays(agents: readonly SimulatedAgent[], sightings: Awaited<ReturnType<typeof watchStatus>>, base: number): number[] {
  const evictions = agents.flatMap(({ deliveries }) => deliveries).filter(({ evictedEntries }) => evictedEntries > 0);
  evictions.sort((a, b) => compareResourceVersions(a.resourceVersion, b.resourceVersion));
  return evictions.map(({ sentAtMs }, index) => (sightings.find(({ status }) => (status.evictedEntries ?? 0) > base + index)?.atMs ?? NaN) - sentAtMs);
}

async function quiet(stage: Stage, { nodes, quietSeconds }: FleetOptions, log: Log): Promise<Row[]> {
  await untilAllIsTold(stage);
  log(`nothing happens for ${quietSeconds} s`);
  const before = await countWrites(stage);
  const startedAtMs = performance.now();
  await sleep(quietSeconds * 1000);
  const written = difference(before, await countWrites(stage));
  const seconds = (performance.now() - startedAtMs) / 1000;
  const { nodecaches = 0, leases = 0, ...controllers } = written;
  const others = Object.values(controllers).reduce((sum, count) => sum + count, 0);
  const at = `${nodes} nodes, one policy, ${quietSeconds} s`;
  return [
    { what: 'API writes of a quiet fleet', at, unit: '/s', target: (17 * nodes) / 5_000, value: nodecaches / seconds, seen: { reports: nodecaches } },
    { what: 'API writes of the controller meanwhile', at, unit: 'writes', target: 0, value: others, seen: { ...controllers, 'besides renewals of its lease': leases } },
  ];
}

function controllerMemory(controller: ControllerProcess, nodes: number): Row {
  const { rss, highest } = controller.memory;
  return { what: 'controller RSS', at: `${nodes} nodes`, unit: 'MiB', target: 150, value: rss, seen: { highest, restarts: controller.restarts } };
}

async function nodeCacheSize({ admin }: Stage): Promise<Row> {
  const { items } = await admin.list<NodeCacheObject>(nodeCaches, { limit: 1 });
  const bytes = (object: unknown) => Buffer.byteLength(JSON.stringify(object));
  const [report] = items;
  return {
    what: 'NodeCache size, with managedFields', at: '2 caches', unit: 'B', target: 5_120, value: bytes(report),
    seen: { 'of them managedFields': bytes(report?.metadata.managedFields), 'the CachePolicy': bytes(await readPolicy(admin)) },
  };
}

/** Two process nodes with the operator at work, and outages of its API in which the nodes have work to do. */
import { lstatSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { policyLabel } from '../../src/api/names.ts';
import type { KubeObject } from '../../src/kube/objects.ts';
import { answeredRequests } from '../bench-cluster/api-writes.ts';
import type { ControlPlane } from '../cluster/control-plane.ts';
import { startControlPlane } from '../cluster/control-plane.ts';
import { localOperatorImage, operatorImage } from '../cluster/image.ts';
import type { Log } from '../cluster/log.ts';
import { NetworkPath } from '../cluster/network-path.ts';
import type { ProcessNode } from '../cluster/process-node.ts';
import { startProcessNode } from '../cluster/process-node.ts';
import type { Pod } from '../cluster/pod.ts';
import { bringBack, rootfsKeys, unpackHome } from '../fixtures/homes.ts';

const root = new URL('../..', import.meta.url).pathname;
const namespace = 'cachepolicy-system';
const name = 'outage';
/** The first limit is the stricter one: an agent that went back to it would evict what the second leaves. */
const [firstLimit, secondLimit] = [3, 5];
const all = Object.keys(rootfsKeys).length;
const pollMs = 250;
/** An API server waits up to two minutes between its tries to reach an etcd that is gone. */
const patienceMs = 240_000;
/** Both agents start at once, and look at their caches within seconds of each other. */
const lookMs = 8_000;

export const outageKinds = ['apiserver stopped', 'etcd stopped', 'both stopped', 'black hole'] as const;
export type OutageKind = (typeof outageKinds)[number];

export interface OutageOptions {
  /** At least; it ends when everything in it has been seen. */
  readonly lastsMs: number;
  /** Both agents are killed in its middle. */
  readonly restarts: boolean;
  /** How long reports are counted afterwards. */
  readonly watchedAfterMs: number;
}

export interface OutageResult {
  /** Without the API: from a cache over its limit to one within it, on the slower node. */
  readonly enforcedMs: number;
  /** Entries of the second node some time after its agent was restarted with an older policy mounted than it had enforced. It may evict none. */
  readonly keptByOutdated: number | undefined;
  /** How often containers of agents ended that nobody killed. */
  readonly strayRestarts: number;
  /** From the end of the outage until each node's report of its present state was there. */
  readonly reportedMs: number;
  /** Agents whose liveness probe would have failed at the end of the outage. */
  readonly unwell: readonly string[];
  /** That the API server took of both nodes together, from the end of the outage until the time watched was over. */
  readonly reports: number;
}

export class OutageRig implements AsyncDisposable {
  readonly #started = new AsyncDisposableStack();
  readonly #log: Log;
  #controlPlane!: ControlPlane;
  #path!: NetworkPath;
  #nodes: readonly ProcessNode[] = [];
  #kills = 0;
  /** By each node so far. */
  #evicted = 0;

  private constructor(log: Log) {
    this.#log = log;
  }

  static async start(log: Log): Promise<OutageRig> {
    const rig = new OutageRig(log);
    try {
      await rig.#start();
      return rig;
    } catch (error) {
      await rig[Symbol.asyncDispose]();
      throw error;
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#started.disposeAsync();
  }

  /** One outage, from its begin until every node has reported after it. */
  async outage(kind: OutageKind, { lastsMs, restarts, watchedAfterMs }: OutageOptions): Promise<OutageResult> {
    this.#log(`outage: ${kind}`);
    // An API server that is stopped counts anew; one that is not takes none meanwhile.
    const reportsBefore = kind === 'etcd stopped' || kind === 'black hole' ? await this.#reportsTaken() : 0;
    const beganAt = performance.now();
    await this.#begin(kind);
    this.#refill();
    const enforcedMs = await this.#until(() => this.#nodes.every((node) => isAt(node, secondLimit)), 'the limit is enforced without the API');
    const keptByOutdated = restarts ? await this.#restart() : undefined;
    await delay(Math.max(0, beganAt + lastsMs - performance.now()));
    const unwell = await this.#unwell();
    await this.#end(kind);
    this.#log('the API is back');
    // Then no report will ever be what is awaited below.
    if (keptByOutdated !== undefined && keptByOutdated < all) throw new Error(`an agent enforced an older policy than the one in force: it left ${keptByOutdated} of ${all} entries`);
    const watched = delay(watchedAfterMs);
    const expected = { entries: secondLimit, evicted: this.#evicted };
    const reported = async () => isDeepStrictEqual(await this.#reports(), this.#nodes.map(() => expected));
    const reportedMs = await this.#until(reported, `every node reports ${JSON.stringify(expected)}`, () => this.#reports());
    await watched;
    const reports = (await this.#reportsTaken()) - reportsBefore;
    // Pods tell of restarts once they are ready again, which takes a report.
    const restarted = await this.#containerRestarts();
    const strayRestarts = restarted - this.#kills;
    this.#kills = restarted;
    const result = { enforcedMs, keptByOutdated, unwell, strayRestarts, reportedMs, reports };
    this.#log(JSON.stringify(result));
    return result;
  }

  async #start(): Promise<void> {
    this.#controlPlane = this.#started.use(await startControlPlane({ log: this.#log }));
    const { hostname: host, port } = new URL(this.#controlPlane.server);
    this.#path = this.#started.use(await NetworkPath.start({ host, port }));
    this.#nodes = [await this.#startNode('current', 1_000), await this.#startNode('behind', 3_600_000)];
    await this.#kubectl(['apply', '-k', `${root}deploy`]);
    await this.#apply(firstLimit);
    this.#evicted += all - firstLimit;
    await this.#until(() => this.#nodes.every((node) => isAt(node, firstLimit)), 'the first limit is enforced');
    await this.#apply(secondLimit);
    this.#refill();
    await this.#until(() => this.#nodes.every((node) => isAt(node, secondLimit)), 'the second limit is enforced');
    await this.#kubectl(['wait', '--for=condition=Ready', `cachepolicy/${name}`, '--timeout=90s']);
    // The mounted copy of the current node has to have arrived, too.
    await delay(2_000);
  }

  async #startNode(nodeName: string, volumeSyncMs: number): Promise<ProcessNode> {
    const dir = this.#controlPlane.runDir.dir('nodes', nodeName);
    const hostRoot = join(dir, 'root');
    mkdirSync(hostRoot);
    unpackHome(join(hostRoot, 'var/lib/a3s-box'));
    const images = { [operatorImage]: localOperatorImage };
    const options = { name: nodeName, controlPlane: this.#controlPlane, apiAddress: this.#path.address, hostRoot, dir: join(dir, 'pods'), images, volumeSyncMs, log: this.#log };
    const node = await startProcessNode(options);
    this.#started.defer(() => node.crash());
    return node;
  }

  async #begin(kind: OutageKind): Promise<void> {
    if (kind === 'black hole') this.#path.swallow();
    if (kind === 'apiserver stopped' || kind === 'both stopped') await this.#controlPlane.stopComponent('kube-apiserver');
    if (kind === 'etcd stopped' || kind === 'both stopped') await this.#controlPlane.stopComponent('etcd');
  }

  async #end(kind: OutageKind): Promise<void> {
    if (kind === 'black hole') this.#path.heal();
    if (kind === 'etcd stopped' || kind === 'both stopped') await this.#controlPlane.startComponent('etcd');
    if (kind === 'apiserver stopped' || kind === 'both stopped') await this.#controlPlane.startComponent('kube-apiserver');
    await this.#until(() => this.#kubectl(['get', '--raw=/readyz']).then(() => true, () => false), 'the API is ready');
    // It reaches etcd by a connection for each kind, which are back one after the other: when its health is well, NodeCaches may have a minute to wait.
    const write = ['annotate', 'nodecaches', '--all', '--overwrite', '--request-timeout=5s', `outage=${kind.replaceAll(' ', '-')}`];
    await this.#until(() => this.#kubectl(write).then(() => true, () => false), 'NodeCaches can be written');
  }

  /** Both agents are killed. One finds the policy mounted that was in force, the other an older one. */
  async #restart(): Promise<number> {
    for (const node of this.#nodes) process.kill(this.#agentOf(node), 'SIGKILL');
    this.#kills += this.#nodes.length;
    this.#refill();
    const [current, behind] = this.#nodes as [ProcessNode, ProcessNode];
    await this.#until(() => isAt(current, secondLimit), 'the restarted agent enforces the mounted policy');
    await delay(lookMs);
    return served(behind);
  }

  #podOf(node: ProcessNode): string {
    const pod = node.pods().find((podName) => podName.startsWith(`cachepolicy-${name}-`));
    if (pod === undefined) throw new Error(`no agent has a pod on ${node.name}`);
    return pod;
  }

  #agentOf(node: ProcessNode): number {
    const pid = node.pid(this.#podOf(node));
    if (pid === undefined) throw new Error(`no agent runs on ${node.name}`);
    return pid;
  }

  #refill(): void {
    this.#evicted += all - secondLimit;
    for (const node of this.#nodes) bringBack(rootfsOf(node));
  }

  async #apply(maxEntries: number): Promise<void> {
    const caches = [{ name: 'rootfs', a3sBox: { home: '/var/lib/a3s-box/home', store: 'Rootfs' }, limits: { maxEntries } }];
    const policy = { apiVersion: 'cache.a3s.dev/v1alpha1', kind: 'CachePolicy', metadata: { name }, spec: { caches } };
    // Admission takes effect a moment after it was made.
    await this.#until(() => this.#kubectl(['apply', '-f', '-'], JSON.stringify(policy)).then(() => true, () => false), 'the policy is taken');
  }

  async #reports(): Promise<readonly { entries: number | undefined; evicted: number | undefined }[]> {
    type Report = KubeObject & { status?: { evictedEntries?: number; stats?: { entryCount?: number } } };
    const { items } = JSON.parse(await this.#kubectl(['get', 'nodecaches', '-o', 'json'])) as { items: Report[] };
    return this.#nodes.map((node) => {
      const report = items.find(({ metadata }) => metadata.name === `${name}.${node.name}`);
      return { entries: report?.status?.stats?.entryCount, evicted: report?.status?.evictedEntries };
    });
  }

  async #reportsTaken(): Promise<number> {
    const taken = (await answeredRequests(this.#controlPlane)).filter(({ resource, subresource, verb, code }) => resource === 'nodecaches' && subresource === 'status' && verb === 'APPLY' && code === '200');
    return taken.reduce((sum, { count }) => sum + count, 0);
  }

  async #unwell(): Promise<string[]> {
    const answers = this.#nodes.map(async (node) => {
      const { status } = await fetch(`http://${node.podIP(this.#podOf(node))}:8080/livez`, { signal: AbortSignal.timeout(30_000) }).catch(() => ({ status: 0 }));
      return status === 200 ? [] : [`${node.name} ${status}`];
    });
    return (await Promise.all(answers)).flat();
  }

  async #containerRestarts(): Promise<number> {
    const { items } = JSON.parse(await this.#kubectl(['get', 'pods', '-n', namespace, '-l', `${policyLabel}=${name}`, '-o', 'json'])) as { items: Pod[] };
    return items.reduce((sum, pod) => sum + (pod.status?.containerStatuses?.[0]?.restartCount ?? 0), 0);
  }

  #kubectl(args: readonly string[], input?: string): Promise<string> {
    return this.#controlPlane.kubectl(args, input === undefined ? {} : { input });
  }

  /** @returns after how many milliseconds it came true */
  async #until(holds: () => boolean | Promise<boolean>, what: string, seen: () => unknown = () => undefined): Promise<number> {
    const startedAt = performance.now();
    while (!(await holds())) {
      if (performance.now() - startedAt > patienceMs) throw new Error(`not within ${patienceMs / 1000} s: ${what}; there is ${JSON.stringify(await seen())}`);
      await delay(pollMs);
    }
    return performance.now() - startedAt;
  }
}

function rootfsOf(node: ProcessNode): string {
  return join(node.hostRoot, 'var/lib/a3s-box/home/cache/rootfs');
}

/** Entries that the runtime would find. */
function served(node: ProcessNode): number {
  const names = new Set(readdirSync(rootfsOf(node)));
  return Object.values(rootfsKeys).filter((key) => names.has(`${key}.meta.json`) && names.has(key) && lstatSync(join(rootfsOf(node), key)).isDirectory()).length;
}

/** Nothing more is on its way out. */
function isAt(node: ProcessNode, entries: number): boolean {
  const names = readdirSync(rootfsOf(node)).map((name) => name.replace(/\.meta\.json$/, ''));
  return served(node) === entries && new Set(names.filter((name) => /^[0-9a-f]{64}$/.test(name))).size === entries;
}

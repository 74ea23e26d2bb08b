/** The controller in this process, as its own account, behind a proxy that misbehaves; and a node with agents that only report. */
import { readFileSync } from 'node:fs';
import { apiVersion, childName, compiledPolicyKey, leaseName, nodeCacheName, policyLabel } from '../../src/api/names.ts';
import { runController } from '../../src/controller/run.ts';
import type { PolicyObject } from '../../src/controller/admission.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import type { Clock } from '../../src/kube/clock.ts';
import type { Connection } from '../../src/kube/connection.ts';
import type { KubeObject } from '../../src/kube/objects.ts';
import { cachePolicies, configMaps, daemonSets, leases, nodeCaches, nodes, pods } from '../../src/kube/resource.ts';
import type { Resource } from '../../src/kube/resource.ts';
import { isNotFound } from '../../src/kube/status-error.ts';
import { silentLog } from '../../src/observe/log.ts';
import { operatorImage } from '../cluster/image.ts';
import { NodeApi } from '../cluster/node-api.ts';
import type { Pod } from '../cluster/pod.ts';
import { admin, controlPlane, eventually, kubectl, namespace } from './cluster.ts';
import { FaultProxy } from './fault-proxy.ts';
import type { Faults } from './fault-proxy.ts';

/** A second of it is this many of the controller's. Only its pace hurries: watches, the lease and deadlines keep to real time. */
export function hurried(times: number): Clock {
  return {
    monotonicMs: () => performance.now() * times,
    wallMs: () => Date.now(),
    setTimer(ms, call) {
      const timer = setTimeout(call, ms / times);
      return () => clearTimeout(timer);
    },
    random: () => Math.random(),
  };
}

export interface Controller {
  readonly proxy: FaultProxy;
  /** How it ended: undefined where it was told to, else what it threw. */
  readonly ended: Promise<unknown>;
  /** As SIGKILL: nothing it does from now on reaches the API server. The lease is freed at once, instead of in 15 s. */
  crash(): Promise<void>;
  /** As SIGTERM. */
  stop(): Promise<void>;
}

let client: KubeClient | undefined;
let token: string | undefined;

/** One client for all, as an administrator. */
export function api(): KubeClient {
  client ??= admin();
  return client;
}

function adminConnection(): Connection {
  const { server, caFile, adminToken } = controlPlane();
  const credentials = { authorization: `Bearer ${adminToken}`, ca: readFileSync(caFile, 'utf8') };
  return { server: new URL(server), namespace, credentials: async () => credentials };
}

/** The token of the controller's account: what it may not do, it cannot do here either. */
export async function controllerToken(): Promise<string> {
  token ??= (await kubectl(['create', 'token', 'cachepolicy-controller', '-n', namespace])).trim();
  return token;
}

export async function startController(faults: Faults = {}, clock: Clock = hurried(25), image = operatorImage): Promise<Controller> {
  const { server, caFile } = controlPlane();
  const credentials = { authorization: `Bearer ${await controllerToken()}` };
  const proxy = await FaultProxy.start({ server, caFile, ...faults });
  const stopping = new AbortController();
  const connection = { server: proxy.url, namespace, credentials: async () => credentials };
  const running = runController({ connection, namespace, image, listen: '127.0.0.1:0', version: 'test', log: silentLog, clock }, stopping.signal);
  const ended = running.then(() => undefined, (error: unknown) => error);
  const stop = async () => {
    stopping.abort();
    await ended;
    proxy.cut();
  };
  return {
    proxy, ended, stop,
    crash: async () => {
      proxy.cut();
      await stop();
      await freeLease();
    },
  };
}

export async function freeLease(): Promise<void> {
  await remove(leases, leaseName, namespace);
}

/** Controllers one after the other: when one dies of its faults, the next one starts. */
export class Succession implements AsyncDisposable {
  readonly #faults: Faults;
  readonly #generations: Controller[] = [];
  readonly #stopping = Promise.withResolvers<void>();
  readonly #running: Promise<void>;
  #ended = false;

  constructor(faults: Faults) {
    this.#faults = faults;
    this.#running = this.#run();
  }

  /** How many had to be replaced. */
  get deaths(): number {
    return this.#generations.length - 1;
  }

  get writes(): readonly string[] {
    return this.#generations.flatMap(({ proxy }) => proxy.writes);
  }

  get current(): Controller | undefined {
    return this.#generations.at(-1);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended = true;
    this.#stopping.resolve();
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#ended) {
      const controller = await startController(this.#faults);
      this.#generations.push(controller);
      await Promise.race([controller.proxy.died, this.#stopping.promise]);
      await controller.crash();
    }
  }
}

/** A node that takes agents' pods and no others, and the word of its agents: what they report is made up. */
export class SimulatedNode {
  readonly name: string;
  readonly #api = new NodeApi(adminConnection());
  #heartbeat: NodeJS.Timeout | undefined;

  constructor(name: string) {
    this.name = name;
  }

  async start(labels: Readonly<Record<string, string>>): Promise<void> {
    // Nothing but DaemonSets comes to a node that is cordoned.
    await api().create(nodes, { apiVersion: 'v1', kind: 'Node', metadata: { name: this.name }, spec: { unschedulable: true } } as KubeObject);
    await this.#api.registerNode(this.name, labels, '127.0.0.1');
    await this.#api.renewLease(this.name);
    this.#heartbeat = setInterval(() => void this.#api.renewLease(this.name), 10_000);
  }

  async stop(): Promise<void> {
    clearInterval(this.#heartbeat);
    await this.#api.removeNode(this.name);
    this.#api.close();
  }

  /** The agent of a policy starts, or goes on, and reports what is in force. @param evictedEntries so far, of 1Ki each */
  async report(policyName: string, evictedEntries: number): Promise<void> {
    const compiled = await compiledPolicy(policyName);
    const pod = await this.#agent(policyName);
    await this.#api.writeStatus(pod, { phase: 'Running', conditions: [{ type: 'Ready', status: 'True', lastTransitionTime: pod.metadata.creationTimestamp }] } as never);
    await report(this.name, compiled.policy, { podUID: pod.metadata.uid, evictedEntries });
  }

  /** As kubelet when a pod has ended. */
  async removeAgents(policyName: string): Promise<void> {
    for (const pod of await podsOf(policyName)) await this.#api.removePod(pod);
  }

  async #agent(policyName: string): Promise<Pod> {
    return eventually(async () => {
      const pod = (await podsOf(policyName)).find(({ spec, metadata }) => spec.nodeName === this.name && metadata.deletionTimestamp === undefined);
      if (pod === undefined) throw new Error(`no agent of ${policyName} on ${this.name}`);
      return pod;
    });
  }
}

/** A NodeCache as an agent writes it. */
export async function report(nodeName: string, policy: { name: string; uid: string; generation: number }, { podUID, evictedEntries }: { podUID: string; evictedEntries: number }): Promise<void> {
  const { name, uid, generation } = policy;
  const metadata = { name: nodeCacheName(name, nodeName), labels: { [policyLabel]: name }, ownerReferences: [{ apiVersion, kind: 'CachePolicy', name, uid }] };
  const object = { apiVersion, kind: 'NodeCache', metadata, spec: { policyName: name, nodeName } } as KubeObject;
  const reportTime = `${new Date().toISOString().slice(0, 19)}Z`;
  const evicted = { evictedEntries, evictedBytes: evictedEntries * 1024 };
  const status = {
    observedGeneration: generation, policyUID: uid, nodeUID: nodeName, podUID, reportTime, ...evicted,
    caches: [{ name: 'rootfs', stats: { entryCount: 3, totalBytes: 3072 }, usage: '75%', overLimit: false, totals: { ...evicted, revived: 0, raced: 0 }, wouldEvict: { entries: 0, bytes: 0 } }],
    conditions: [{ type: 'Ready', status: 'True', reason: 'Ready', message: 'fine', lastTransitionTime: reportTime }],
  };
  await api().apply(nodeCaches, object, { fieldManager: 'simulated-agent' });
  await api().applyStatus(nodeCaches, { ...object, metadata: { name: metadata.name }, status } as KubeObject, { fieldManager: 'simulated-agent' });
}

/** What the agents of a policy would read, once it is of the policy's present generation. */
export async function compiledPolicy(name: string): Promise<{ policy: { name: string; uid: string; generation: number }; accepted: boolean }> {
  return eventually(async () => {
    const policy = await api().get<PolicyObject>(cachePolicies, { name });
    const configMap = await api().get<KubeObject & { data: Record<string, string> }>(configMaps, { namespace, name: childName(name) });
    const compiled = JSON.parse(configMap.data[compiledPolicyKey] ?? '') as Awaited<ReturnType<typeof compiledPolicy>>;
    const { uid, generation } = policy.metadata;
    if (compiled.policy.uid !== uid || compiled.policy.generation !== generation) throw new Error(`the ConfigMap of ${name} is of generation ${compiled.policy.generation}, not ${generation}`);
    return compiled;
  });
}

/** All that the controller makes of these policies, without times and without what is another one in every run: uids and versions. */
export async function stateOf(...names: readonly string[]): Promise<unknown> {
  const present = async (resource: Resource, place: { name: string; namespace?: string }) => {
    try {
      return await api().get<KubeObject & { spec?: unknown; data?: unknown; status?: unknown }>(resource, place);
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  };
  const reports = (await api().list<KubeObject & { spec: { policyName: string } }>(nodeCaches)).items;
  const state: Record<string, unknown> = {};
  for (const name of names) {
    const [policy, configMap, daemonSet] = await Promise.all([
      present(cachePolicies, { name }),
      present(configMaps, { name: childName(name), namespace }),
      present(daemonSets, { name: childName(name), namespace }),
    ]);
    state[name] = {
      policy: policy && { spec: policy.spec, status: policy.status },
      configMap: configMap && { labels: configMap.metadata.labels, owners: configMap.metadata.ownerReferences, data: configMap.data },
      daemonSet: daemonSet && { labels: daemonSet.metadata.labels, owners: daemonSet.metadata.ownerReferences, generation: daemonSet.metadata.generation, spec: daemonSet.spec },
      reports: reports.filter(({ spec }) => spec.policyName === name).map(({ metadata }) => metadata.name).sort(),
    };
  }
  return JSON.parse(timeless(JSON.stringify(state)));
}

/** Deletes what a policy that is gone has left, as the garbage collector does; it learns of a new kind only half a minute after its definition. */
export async function collectGarbage(policyName: string): Promise<void> {
  await remove(configMaps, childName(policyName), namespace);
  await remove(daemonSets, childName(policyName), namespace);
  for (const { metadata, spec } of (await api().list<KubeObject & { spec: { policyName: string } }>(nodeCaches)).items) {
    if (spec.policyName === policyName) await remove(nodeCaches, metadata.name);
  }
}

export async function remove(resource: Resource, name: string, within?: string): Promise<void> {
  try {
    await api().delete(resource, { name, ...(within !== undefined && { namespace: within }) });
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}

async function podsOf(policyName: string): Promise<Pod[]> {
  return (await api().list<Pod & KubeObject>(pods, { namespace, labelSelector: `${policyLabel}=${policyName}` })).items;
}

function timeless(json: string): string {
  return json.replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'TIME').replaceAll(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, 'UID');
}

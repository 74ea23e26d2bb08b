/**
 * A node of local processes: a Node object whose lease is renewed, and a small stand-in for kubelet that runs the containers of the pods
 * bound to it, without isolation, as this user. Needs Linux (each pod has an address of its own below 127.0.0.0/8), and no root.
 *
 * A container finds its host paths below the folder that CACHEPOLICY_HOST_ROOT names, and its service account in the one that
 * CACHEPOLICY_SERVICE_ACCOUNT_DIR names. Other mount paths, and paths of its image, are replaced in its command and arguments.
 */
import { randomInt } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { messageOf } from '../../src/errors.ts';
import { KubeClient } from '../../src/kube/client.ts';
import { Reflector } from '../../src/kube/reflector.ts';
import { pods as podResource } from '../../src/kube/resource.ts';
import { Store } from '../../src/kube/store.ts';
import { createLog } from '../../src/observe/log.ts';
import type { LocalImage } from './container-process.ts';
import { silent, type Log } from './log.ts';
import { NodeApi } from './node-api.ts';
import type { Pod } from './pod.ts';
import { ProcessPod, type ProcessHost } from './process-pod.ts';

export type { LocalImage };

const HEARTBEAT_MS = 10_000;
const REMOVE_RETRY_MS = 2_000;
/** Kubelet takes up to a minute to bring a changed ConfigMap into a volume, and so does this. */
const VOLUME_SYNC_MS = 60_000;

export interface ProcessNodeOptions {
  readonly name: string;
  readonly controlPlane: { readonly server: string; readonly caFile: string; readonly adminToken: string };
  readonly labels?: Readonly<Record<string, string>>;
  /** Where the node's pods reach the API. Default: where the node does. */
  readonly apiAddress?: { readonly host: string; readonly port: string };
  /** Stands for `/` of the node in host paths. */
  readonly hostRoot: string;
  /** Volumes and logs of pods. */
  readonly dir: string;
  /** By image reference. Pods with other images wait. */
  readonly images: Readonly<Record<string, LocalImage>>;
  /** How often changed ConfigMaps reach their volumes, and tokens are looked at. Default one minute. */
  readonly volumeSyncMs?: number;
  readonly log?: Log;
}

export interface ProcessNode extends AsyncDisposable {
  readonly name: string;
  readonly hostRoot: string;
  /** Names of the pods that run here. */
  pods(): readonly string[];
  /** Of a running container (default: the pod's first). */
  pid(podName: string, container?: string): number | undefined;
  /** The address of a pod, of the loopback network. */
  podIP(podName: string): string;
  /** The output of a container so far (default: the pod's first). */
  logs(podName: string, container?: string): string;
  /** Leaves the cluster: ends its pods as kubelet does, then their objects and the Node go. */
  stop(): Promise<void>;
  /** As when the power fails: every process is killed, nothing is said to the API. The node can be started again under the same name. */
  crash(): Promise<void>;
}

/** Registers the node and runs what is bound to it. It ends with this process. */
export async function startProcessNode(options: ProcessNodeOptions): Promise<ProcessNode> {
  const { name, controlPlane, hostRoot, dir, images, log = silent } = options;
  const server = new URL(controlPlane.server);
  const credentials = { authorization: `Bearer ${controlPlane.adminToken}`, ca: readFileSync(controlPlane.caFile, 'utf8') };
  const api = new NodeApi({ server, namespace: 'default', credentials: async () => credentials });
  const nextAddress = addresses();
  const address = nextAddress();
  const host: ProcessHost = {
    name,
    address,
    hostRoot,
    images,
    api,
    apiAddress: options.apiAddress ?? { host: server.hostname, port: server.port },
    nextPodIP: nextAddress,
    volumeSyncMs: options.volumeSyncMs ?? VOLUME_SYNC_MS,
    log,
  };
  mkdirSync(hostRoot, { recursive: true });
  await api.registerNode(name, options.labels ?? {}, address);
  await api.renewLease(name);

  const stopping = new AbortController();
  const running = new Map<string, ProcessPod>();
  const ending = new Map<string, Promise<void>>();
  let crashed = false;
  const tell = (error: unknown) => log(`${name}: ${messageOf(error)}`);

  const start = (pod: Pod) => {
    log(`${name}: starting pod ${pod.metadata.name}`);
    const started = new ProcessPod(pod, join(dir, pod.metadata.uid), host);
    running.set(pod.metadata.uid, started);
    started.start();
  };
  /** As kubelet: SIGTERM, the pod's grace, SIGKILL, and only then the object goes. */
  const end = (pod: Pod, graceMs: number) => {
    const { uid } = pod.metadata;
    if (ending.has(uid)) return;
    log(`${name}: ending pod ${pod.metadata.name}`);
    const process = running.get(uid);
    const run = async () => {
      if (process !== undefined) Object.assign(process.pod.metadata, pod.metadata);
      await process?.stop(graceMs);
      running.delete(uid);
      while (!(await done(api.removePod(pod), tell)) && !crashed) await delay(REMOVE_RETRY_MS);
      ending.delete(uid);
    };
    ending.set(uid, run());
  };
  const graceOf = ({ metadata, spec }: Pod) => (metadata.deletionGracePeriodSeconds ?? spec.terminationGracePeriodSeconds ?? 30) * 1000;
  const sync = (pod: Pod) => {
    const over = pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed';
    if (pod.metadata.deletionTimestamp !== undefined) end(pod, graceOf(pod));
    else if (!running.has(pod.metadata.uid) && !over) start(pod);
  };

  const kubeLog = createLog({ level: 'warn', write: (line) => log(`${name}: ${line.trim()}`) });
  const store = new Store<Pod>({ log: kubeLog });
  store.subscribe({ added: sync, updated: sync, deleted: (pod) => running.has(pod.metadata.uid) && end(pod, 0) });
  const reflector = new Reflector<Pod>({
    client: new KubeClient(api.transport),
    resource: podResource,
    store,
    log: kubeLog,
    fieldSelector: `spec.nodeName=${name}`,
  });
  const watching = reflector.run(stopping.signal);
  const heartbeat = beat(() => api.renewLease(name), tell, stopping.signal);
  const disconnect = async () => {
    stopping.abort();
    await Promise.all([watching, heartbeat]);
  };
  const find = (podName: string) => {
    const found = [...running.values()].find(({ pod }) => pod.metadata.name === podName);
    if (found === undefined) throw new Error(`${name} runs no pod ${podName}`);
    return found;
  };
  const firstOf = ({ pod }: ProcessPod) => pod.spec.containers[0]?.name as string;
  log(`${name} is registered; its host root is ${hostRoot}`);

  const node: ProcessNode = {
    name,
    hostRoot,
    pods: () => [...running.values()].map(({ pod }) => pod.metadata.name),
    pid: (podName, container) => {
      const found = find(podName);
      return found.pids.get(container ?? firstOf(found));
    },
    podIP: (podName) => find(podName).podIP,
    logs: (podName, container) => {
      const found = find(podName);
      return readFileSync(found.logFile(container ?? firstOf(found)), 'utf8');
    },
    stop: async () => {
      await disconnect();
      // Without a Node nothing is scheduled here again.
      await api.removeNode(name);
      for (const { pod } of running.values()) end(pod, graceOf(pod));
      await Promise.all(ending.values());
      api.close();
    },
    crash: async () => {
      crashed = true;
      await disconnect();
      await Promise.all([...running.values()].map((pod) => pod.kill()));
      await Promise.all(ending.values());
      api.close();
    },
    [Symbol.asyncDispose]: () => node.stop(),
  };
  return node;
}

/** Whether it succeeded; an error is told. */
async function done(work: Promise<void>, tell: (error: unknown) => void): Promise<boolean> {
  return work.then(
    () => true,
    (error: unknown) => (tell(error), false),
  );
}

async function beat(renew: () => Promise<void>, tell: (error: unknown) => void, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await delay(HEARTBEAT_MS, undefined, { signal }).catch(() => {});
    if (!signal.aborted) await renew().catch(tell);
  }
}

/** Addresses of the loopback network, so that pods on one machine can listen on the same port. Each node picks one of 49,152 ranges. */
function addresses(): () => string {
  const range = `127.${randomInt(64, 256)}.${randomInt(256)}`;
  let last = 0;
  return () => `${range}.${(last = (last % 254) + 1)}`;
}

/** One pod on a process node, from its volumes to its last status. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { messageOf } from '../../src/errors.ts';
import { containerProcess, type LocalImage } from './container-process.ts';
import type { Log } from './log.ts';
import type { NodeApi } from './node-api.ts';
import type { ContainerStatus, Pod, PodCondition, PodPhase, PodStatus } from './pod.ts';
import { PodVolumes } from './pod-volumes.ts';
import { ProcessContainer } from './process-container.ts';

const SERVICE_ACCOUNT_MOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';
const MISSING_VOLUME_RETRY_MS = 1_000;

/** What the pods of a node share. */
export interface ProcessHost {
  readonly name: string;
  readonly address: string;
  /** Stands for `/` of the node in host paths. */
  readonly hostRoot: string;
  readonly images: Readonly<Record<string, LocalImage>>;
  readonly api: NodeApi;
  readonly apiAddress: { readonly host: string; readonly port: string };
  /** An address of its own for a pod. */
  readonly nextPodIP: () => string;
  readonly volumeSyncMs: number;
  readonly log: Log;
}

export class ProcessPod {
  readonly pod: Pod;
  readonly podIP: string;
  readonly #host: ProcessHost;
  readonly #dir: string;
  readonly #volumes: PodVolumes;
  readonly #stopping = new AbortController();
  readonly #startTime = new Date().toISOString();
  #containers: ProcessContainer[] = [];
  /** Why the containers are not there yet. */
  #waiting: { reason: string; message?: string } = { reason: 'ContainerCreating' };
  #conditions: PodCondition[];
  #started: Promise<void> | undefined;
  #written = Promise.resolve();
  #writeWanted = false;
  #silenced = false;

  constructor(pod: Pod, dir: string, host: ProcessHost) {
    this.pod = pod;
    this.#host = host;
    this.#dir = dir;
    this.podIP = host.nextPodIP();
    this.#conditions = pod.status?.conditions ?? [];
    this.#volumes = new PodVolumes(pod, join(dir, 'volumes'), host.hostRoot, host.api);
  }

  /** Process ids by container, of those that run. */
  get pids(): ReadonlyMap<string, number> {
    return new Map(this.#containers.flatMap(({ status, pid }): [string, number][] => (pid === undefined ? [] : [[status.name, pid]])));
  }

  logFile(container: string): string {
    return join(this.#dir, `${container}.log`);
  }

  start(): void {
    this.#started = this.#run();
  }

  /** Ends the containers, SIGKILL after the grace, and tells their last status. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping.abort();
    await this.#started;
    await Promise.all(this.#containers.map((container) => container.stop(graceMs)));
    await this.#written;
  }

  /** As when the power fails: the processes are killed, and nothing is told. */
  async kill(): Promise<void> {
    this.#silenced = true;
    this.#stopping.abort();
    await this.#started;
    await Promise.all(this.#containers.map((container) => container.kill()));
    await this.#written;
  }

  async #run(): Promise<void> {
    mkdirSync(join(this.#dir, 'work'), { recursive: true });
    this.#changed();
    try {
      await this.#untilVolumesReady();
      if (this.#stopping.signal.aborted) return;
      this.#containers = this.#createContainers();
    } catch (error) {
      this.#wait('CreateContainerConfigError', error);
      return;
    }
    for (const container of this.#containers) container.start();
    void this.#syncVolumes();
  }

  async #untilVolumesReady(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      try {
        return await this.#volumes.prepare();
      } catch (error) {
        this.#wait('ContainerCreating', error);
        await delay(MISSING_VOLUME_RETRY_MS, undefined, { signal: this.#stopping.signal }).catch(() => {});
      }
    }
  }

  async #syncVolumes(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      await delay(this.#host.volumeSyncMs, undefined, { signal: this.#stopping.signal, ref: false }).catch(() => {});
      if (this.#stopping.signal.aborted) return;
      await this.#volumes.prepare().catch((error: unknown) => this.#host.log(`${this.pod.metadata.name}: ${messageOf(error)}`));
    }
  }

  #wait(reason: string, error: unknown): void {
    const message = messageOf(error);
    if (this.#waiting.message === message) return;
    this.#host.log(`${this.#host.name}: pod ${this.pod.metadata.name} waits: ${message}`);
    this.#waiting = { reason, message };
    this.#changed();
  }

  #createContainers(): ProcessContainer[] {
    const { spec } = this.pod;
    if (spec.initContainers?.length) throw new Error('process nodes run no init containers');
    const graceMs = (spec.terminationGracePeriodSeconds ?? 30) * 1000;
    return spec.containers.map((container) => {
      const image = this.#host.images[container.image ?? ''];
      if (image === undefined) throw new Error(`image ${container.image} is not on this node`);
      const mounts = this.#volumes.mountsOf(container);
      const process = containerProcess({
        pod: this.pod,
        container,
        image,
        mounts,
        podIP: this.podIP,
        hostIP: this.#host.address,
        baseEnv: this.#baseEnv(mounts.get(SERVICE_ACCOUNT_MOUNT)),
      });
      return new ProcessContainer({
        spec: container,
        process,
        restartPolicy: spec.restartPolicy,
        graceMs,
        cwd: join(this.#dir, 'work'),
        logFile: this.logFile(container.name),
        podIP: this.podIP,
        log: (line) => this.#host.log(`${this.#host.name}: pod ${this.pod.metadata.name}: ${line}`),
        onChange: () => this.#changed(),
      });
    });
  }

  /** What every container finds in its environment; the last two stand for what it would find at fixed places. */
  #baseEnv(serviceAccountDir: string | undefined): Record<string, string> {
    return {
      PATH: process.env['PATH'] ?? '/usr/bin:/bin',
      HOSTNAME: this.pod.metadata.name,
      KUBERNETES_SERVICE_HOST: this.#host.apiAddress.host,
      KUBERNETES_SERVICE_PORT: this.#host.apiAddress.port,
      CACHEPOLICY_HOST_ROOT: this.#host.hostRoot,
      ...(serviceAccountDir === undefined ? {} : { CACHEPOLICY_SERVICE_ACCOUNT_DIR: serviceAccountDir }),
    };
  }

  /** Writes the status soon; changes that come meanwhile are written together. */
  #changed(): void {
    if (this.#writeWanted) return;
    this.#writeWanted = true;
    this.#written = this.#written.then(async () => {
      this.#writeWanted = false;
      if (this.#silenced) return;
      try {
        await this.#host.api.writeStatus(this.pod, this.#status());
      } catch (error) {
        this.#host.log(`${this.#host.name}: status of pod ${this.pod.metadata.name}: ${messageOf(error)}`);
      }
    });
  }

  #status(): PodStatus {
    const containerStatuses = this.#containers.length > 0 ? this.#containers.map(({ status }) => status) : this.#waitingStatuses();
    const ready = containerStatuses.every((status) => status.ready) ? 'True' : 'False';
    this.#setCondition('PodReadyToStartContainers', this.#containers.length > 0 ? 'True' : 'False');
    this.#setCondition('Initialized', 'True');
    this.#setCondition('ContainersReady', ready);
    this.#setCondition('Ready', ready);
    return {
      phase: phaseOf(containerStatuses, this.pod),
      conditions: this.#conditions,
      containerStatuses,
      hostIP: this.#host.address,
      podIP: this.podIP,
      startTime: this.#startTime,
    };
  }

  #waitingStatuses(): ContainerStatus[] {
    return this.pod.spec.containers.map(({ name, image = '' }) => {
      return { name, image, imageID: '', ready: false, started: false, restartCount: 0, state: { waiting: this.#waiting } };
    });
  }

  #setCondition(type: string, status: 'True' | 'False'): void {
    const old = this.#conditions.find((condition) => condition.type === type);
    if (old?.status === status) return;
    const condition: PodCondition = { type, status, lastTransitionTime: new Date().toISOString() };
    this.#conditions = [...this.#conditions.filter((other) => other !== old), condition];
  }
}

function phaseOf(statuses: readonly ContainerStatus[], pod: Pod): PodPhase {
  const terminated = statuses.flatMap(({ state }) => state.terminated ?? []);
  if (terminated.length === statuses.length && (pod.spec.restartPolicy !== 'Always' || pod.metadata.deletionTimestamp)) {
    return terminated.every(({ exitCode }) => exitCode === 0) ? 'Succeeded' : 'Failed';
  }
  return statuses.every(({ started, restartCount }) => started || restartCount > 0) ? 'Running' : 'Pending';
}

/** One container of a pod on a process node: a local process that is started again when it ends, probed, and stopped. */
import { setTimeout as delay } from 'node:timers/promises';
import { constants } from 'node:os';

import type { V1Container, V1PodSpec } from '@kubernetes/client-node';

import { startChild, type Child, type Exit } from './child.ts';
import type { ContainerProcess } from './container-process.ts';
import type { Log } from './log.ts';
import type { ContainerStatus } from './pod.ts';
import { checkProbe, watchLiveness, watchReadiness } from './probe.ts';

/** As kubelet: the first restart comes at once, each further one twice as late, and ten good minutes forgive. */
const FIRST_BACKOFF_MS = 10_000;
const LONGEST_BACKOFF_MS = 300_000;
const FORGIVEN_AFTER_MS = 600_000;

export interface ProcessContainerOptions {
  readonly spec: V1Container;
  readonly process: ContainerProcess;
  readonly restartPolicy: V1PodSpec['restartPolicy'];
  readonly graceMs: number;
  readonly cwd: string;
  readonly logFile: string;
  readonly podIP: string;
  readonly log: Log;
  /** Called after every change of the status. */
  readonly onChange: () => void;
}

export class ProcessContainer {
  readonly #options: ProcessContainerOptions;
  readonly #stopping = new AbortController();
  #status: ContainerStatus;
  #child: Child | undefined;
  #ran: Promise<void> | undefined;

  /** @throws where the spec asks for what a process node cannot do. */
  constructor(options: ProcessContainerOptions) {
    const { name, image, readinessProbe, livenessProbe, startupProbe, lifecycle } = options.spec;
    for (const probe of [readinessProbe, livenessProbe]) if (probe) checkProbe(probe, options.spec);
    if (startupProbe || lifecycle) throw new Error(`process nodes know no startupProbe and no lifecycle hooks (container ${name})`);
    this.#options = options;
    this.#status = {
      name,
      image: image as string,
      imageID: `process://${image}`,
      ready: false,
      started: false,
      restartCount: 0,
      state: { waiting: { reason: 'ContainerCreating' } },
    };
  }

  get status(): ContainerStatus {
    return this.#status;
  }

  /** Of the running process, or undefined. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  start(): void {
    this.#ran = this.#run();
  }

  /** SIGTERM, and SIGKILL after the grace. Settles when the process has ended; it is not started again. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping.abort();
    await this.#child?.stop(graceMs);
    await this.#ran;
  }

  /** SIGKILL, as when the power fails. */
  async kill(): Promise<void> {
    this.#stopping.abort();
    this.#child?.kill('SIGKILL');
    await this.#ran;
  }

  async #run(): Promise<void> {
    for (let backoffMs = 0; !this.#stopping.signal.aborted; ) {
      const startedAt = performance.now();
      const exit = await this.#runOnce();
      if (this.#stopping.signal.aborted || !this.#restarts(exit)) return;
      if (performance.now() - startedAt >= FORGIVEN_AFTER_MS) backoffMs = 0;
      if (backoffMs > 0) {
        const message = `back-off ${backoffMs / 1000}s restarting failed container`;
        this.#change({ state: { waiting: { reason: 'CrashLoopBackOff', message } }, lastState: this.#status.state });
        await delay(backoffMs, undefined, { signal: this.#stopping.signal }).catch(() => {});
      }
      backoffMs = Math.min(LONGEST_BACKOFF_MS, backoffMs * 2 || FIRST_BACKOFF_MS);
    }
  }

  #restarts(exit: Exit): boolean {
    const { restartPolicy = 'Always' } = this.#options;
    return restartPolicy === 'Always' || (restartPolicy === 'OnFailure' && exit.code !== 0);
  }

  async #runOnce(): Promise<Exit> {
    const { process: { argv, env }, cwd, logFile, log, spec } = this.#options;
    const startedAt = new Date().toISOString();
    const [command, ...args] = argv as [string, ...string[]];
    const previous = this.#status;
    const restarted = previous.containerID !== undefined;
    const child = await startChild(command, args, { name: spec.name, env: { ...env }, cwd, logFile });
    this.#child = child;
    this.#change({
      containerID: `process://${child.pid}`,
      restartCount: previous.restartCount + (restarted ? 1 : 0),
      started: true,
      ready: spec.readinessProbe === undefined,
      state: { running: { startedAt } },
      ...(restarted ? { lastState: previous.lastState ?? previous.state } : {}),
    });
    using probes = this.#probe(child);
    const exit = await child.exited;
    probes[Symbol.dispose]();
    this.#child = undefined;
    const exitCode = exit.code ?? 128 + (exit.signal === null ? 0 : constants.signals[exit.signal]);
    if (!this.#stopping.signal.aborted) log(`container ${spec.name} ended with status ${exitCode}; the end of ${logFile}:\n${child.tail(5)}`);
    const reason = exitCode === 0 ? 'Completed' : 'Error';
    const terminated = { exitCode, reason, startedAt, finishedAt: new Date().toISOString() };
    this.#change({ started: false, ready: false, state: { terminated } });
    return exit;
  }

  #probe(child: Child): Disposable {
    const { spec, podIP, graceMs, log } = this.#options;
    const ended = new AbortController();
    const target = { container: spec, address: podIP, signal: ended.signal };
    if (spec.readinessProbe) void watchReadiness(spec.readinessProbe, target, (ready) => this.#change({ ready }));
    if (spec.livenessProbe) {
      void watchLiveness(spec.livenessProbe, target).then((failed) => {
        if (!failed) return;
        log(`container ${spec.name} failed its liveness probe and is started again`);
        void child.stop(graceMs);
      });
    }
    return { [Symbol.dispose]: () => ended.abort() };
  }

  #change(change: Partial<ContainerStatus>): void {
    this.#status = { ...this.#status, ...change };
    this.#options.onChange();
  }
}

/** The controller as it ships: the bundle, with the flags of its Deployment and the token of its account. */
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Child } from '../cluster/child.ts';
import { operatorImage } from '../cluster/image.ts';
import { startChild } from '../cluster/child.ts';
import { eventually, namespace } from './stage.ts';
import type { Stage } from './stage.ts';

const root = join(import.meta.dirname, '..', '..');
/** Linux counts CPU time in these. */
const ticksPerSecond = 100;

export interface LoopDelay {
  readonly ticks: number;
  readonly gross: { readonly p50: number; readonly p99: number; readonly max: number };
  readonly net: LoopDelay['gross'];
}

/** Started again where it ends by itself, as kubelet does: one that loses its lease ends. */
export class ControllerProcess implements AsyncDisposable {
  /** How often it ended before it was told to. */
  restarts = 0;
  readonly #start: () => Promise<Child>;
  readonly #delayFile: string;
  #child: Child;
  #stopping = false;
  readonly #running: Promise<void>;

  private constructor(start: () => Promise<Child>, first: Child, delayFile: string) {
    this.#start = start;
    this.#child = first;
    this.#delayFile = delayFile;
    this.#running = this.#keepRunning();
  }

  /** @param probed whether its event loop is watched, which costs a percent of a core */
  static async start({ controlPlane, token }: Stage, { probed = false } = {}): Promise<ControllerProcess> {
    const dir = controlPlane.runDir.dir('controller');
    writeFileSync(join(dir, 'token'), await token('cachepolicy-controller'), { mode: 0o600 });
    writeFileSync(join(dir, 'namespace'), namespace);
    copyFileSync(controlPlane.caFile, join(dir, 'ca.crt'));
    const delayFile = join(dir, 'loop-delay.jsonl');
    writeFileSync(delayFile, '');
    const { hostname, port } = new URL(controlPlane.server);
    const env = {
      PATH: process.env['PATH'], KUBERNETES_SERVICE_HOST: hostname, KUBERNETES_SERVICE_PORT: port,
      CACHEPOLICY_SERVICE_ACCOUNT_DIR: dir, POD_NAMESPACE: namespace, LOOP_DELAY_FILE: delayFile,
    };
    const probe = join(import.meta.dirname, 'loop-delay-probe.cjs');
    const args = [...nodeFlags(), ...(probed ? [`--require=${probe}`] : []), join(root, 'dist/cachepolicy.cjs'), 'controller', '--listen=127.0.0.1:0', `--image=${operatorImage}`];
    const start = () => startChild(process.execPath, args, { name: 'controller', env, logFile: join(dir, 'log') });
    return new ControllerProcess(start, await start(), delayFile);
  }

  /** Resident memory in MiB, at present and at its highest. */
  get memory(): { readonly rss: number; readonly highest: number } {
    const status = readFileSync(`/proc/${this.#child.pid}/status`, 'utf8');
    const mib = (key: string) => Number(new RegExp(`${key}:\\s+(\\d+) kB`).exec(status)?.[1]) / 1024;
    return { rss: mib('VmRSS'), highest: mib('VmHWM') };
  }

  /** Seconds of CPU used so far. */
  get cpuSeconds(): number {
    const fields = readFileSync(`/proc/${this.#child.pid}/stat`, 'utf8').replace(/^.*\) /, '').split(' ');
    return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
  }

  /** How late the event loop of a controller that is probed turned since this was asked last, in ms. */
  async loopDelay(): Promise<LoopDelay> {
    const lines = () => readFileSync(this.#delayFile, 'utf8').split('\n').filter((line) => line !== '');
    const before = lines().length;
    this.#child.kill('SIGUSR2');
    return eventually(() => {
      const last = lines()[before];
      if (last === undefined) throw new Error('the controller does not say how late its loop turns');
      return JSON.parse(last) as LoopDelay;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping = true;
    await this.#child.stop();
    await this.#running;
  }

  async #keepRunning(): Promise<void> {
    for (;;) {
      await this.#child.exited;
      if (this.#stopping) return;
      this.restarts += 1;
      console.error(`the controller ended by itself:\n${this.#child.tail(3)}`);
      await sleep(1_000);
      if (this.#stopping) return;
      this.#child = await this.#start();
    }
  }
}

/** As in deploy/controller.yaml. */
function nodeFlags(): string[] {
  const command = /command: \[\/nodejs\/bin\/node, (.*), \/app\/cachepolicy\.cjs\]/.exec(readFileSync(join(root, 'deploy/controller.yaml'), 'utf8'))?.[1];
  if (command === undefined) throw new Error('deploy/controller.yaml does not say how the controller is started');
  return command.split(', ');
}

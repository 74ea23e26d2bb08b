/**
 * The agent as it ships (its bundle, its flags, its environment) as a process of its own, against a small API server in this process: nothing
 * else of a cluster takes time on this machine.
 */
import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { childName, compiledPolicyKey } from '../../src/api/names.ts';
import type { CompiledCache, CompiledPolicy } from '../../src/policy/compiled.ts';
import { noLimits, noProtection } from '../../src/policy/limits.ts';
import { freePort } from '../cluster/free-port.ts';
import { selfSigned } from '../kube/certificate.ts';
import { ScriptedServer } from '../kube/scripted-server.ts';
import { SteppedClock } from '../kube/stepped-clock.ts';
import { agentEnv, agentFlags } from './agent-flags.ts';

const bundle = join(import.meta.dirname, '..', '..', 'dist', 'agent.cjs');
const namespace = 'cachepolicy-system';
const configMaps = `/api/v1/namespaces/${namespace}/configmaps`;

export interface AgentRigOptions {
  /** A directory of the rig's own, which is an allowed root, too. */
  readonly dir: string;
  readonly home: string;
  readonly limits?: Partial<CompiledCache['limits']>;
  readonly mode?: CompiledPolicy['mode'];
  readonly schedule?: CompiledPolicy['schedule'];
  /** Loaded into the agent before its own code: a CommonJS file. */
  readonly preload?: string;
  readonly env?: Readonly<Record<string, string>>;
}

export class AgentRig implements AsyncDisposable {
  readonly pid: number;
  readonly #child: ChildProcess;
  readonly #server: ScriptedServer;
  readonly #url: string;
  readonly #options: AgentRigOptions;
  #generation = 0;

  static async start(options: AgentRigOptions): Promise<AgentRig> {
    const { cert, key } = selfSigned('bench');
    const server = await ScriptedServer.start({ clock: new SteppedClock(), tls: { cert, key } });
    const port = await freePort();
    const rig = new AgentRig(options, server, { port, cert });
    rig.apply({});
    await until(async () => (await rig.metric('cachepolicy_cache_entries')) !== undefined, 'the agent has looked at its cache');
    return rig;
  }

  private constructor(options: AgentRigOptions, server: ScriptedServer, { port, cert }: { port: number; cert: string }) {
    const account = join(options.dir, 'service-account');
    mkdirSync(account, { recursive: true });
    const claims = Buffer.from(JSON.stringify({ 'kubernetes.io': { node: { uid: 'node-uid' } } })).toString('base64url');
    for (const [name, text] of [['token', `x.${claims}.x`], ['ca.crt', cert], ['namespace', namespace]] as const) writeFileSync(join(account, name), text);
    this.#options = options;
    this.#server = server;
    this.#url = `http://127.0.0.1:${port}`;
    const preload = options.preload === undefined ? [] : ['--require', options.preload];
    this.#child = spawn(process.execPath, [
      ...agentFlags(), ...preload, bundle, '--policy=bench', `--config=${join(options.dir, 'absent')}`, `--listen=127.0.0.1:${port}`, `--allowed-root=${options.dir}`,
    ], {
      env: {
        ...agentEnv(), ...options.env, NODE_NAME: 'node', POD_NAME: 'cachepolicy-bench-abcde', POD_NAMESPACE: namespace, POD_UID: 'pod-uid',
        KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: server.url.port, CACHEPOLICY_SERVICE_ACCOUNT_DIR: account,
      },
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    this.pid = this.#child.pid ?? 0;
  }

  /** Puts a policy in force, as the controller would. */
  apply(but: Pick<AgentRigOptions, 'limits' | 'mode'>): void {
    const { home, limits, mode = 'DryRun', schedule = null } = { ...this.#options, ...but };
    this.#generation += 1;
    const policy: CompiledPolicy = {
      formatVersion: 1, policy: { name: 'bench', uid: 'policy-uid', generation: this.#generation }, accepted: true, mode, schedule,
      caches: [{ name: 'rootfs', format: 'a3s-rootfs', root: join(home, 'cache/rootfs'), home, limits: { ...noLimits, maxEntries: 1_000_000, ...limits }, protect: noProtection }],
    } as CompiledPolicy;
    const object = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: childName('bench'), namespace }, data: { [compiledPolicyKey]: JSON.stringify(policy) } };
    this.#server.put(configMaps, object);
  }

  /** @param name with the prefix and, where it has any but the policy and the cache, its labels as `{…}` holds them. Undefined where it is not there */
  async metric(name: string): Promise<number | undefined> {
    const text = await this.get('/metrics').catch(() => '');
    const line = text.split('\n').find((each) => each.startsWith(`${name}{`) || each.startsWith(`${name} `));
    return line === undefined ? undefined : Number(line.slice(line.lastIndexOf(' ') + 1));
  }

  async get(path: string): Promise<string> {
    return await (await fetch(this.#url + path)).text();
  }

  /** Resident memory in bytes. */
  get rssBytes(): number {
    return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${this.pid}/status`, 'utf8'))?.[1]) * 1024;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise((resolve) => this.#child.once('close', resolve));
    if (this.#child.exitCode === null) {
      this.#child.kill('SIGTERM');
      await closed;
    }
    await this.#server[Symbol.asyncDispose]();
  }
}

/** @throws Error where it does not become true within ten minutes */
export async function until(holds: () => Promise<boolean>, what: string, pollMs = 50): Promise<void> {
  for (const endMs = performance.now() + 600_000; !(await holds()); await sleep(pollMs)) {
    if (performance.now() > endMs) throw new Error(`not within ten minutes: ${what}`);
  }
}

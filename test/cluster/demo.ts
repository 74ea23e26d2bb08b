/**
 * `make demo`: a cluster of three process nodes on this machine, each with an A3S home, and the operator at work on it. Stays until Ctrl-C;
 * with DEMO_ONCE=1 it ends by itself, with status 0 when all that it shows has come true.
 */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { messageOf } from '../../src/errors.ts';
import { unpackHome } from '../fixtures/homes.ts';
import type { ControlPlane } from './control-plane.ts';
import { stderrLog, type Log } from './log.ts';
import { startProcessCluster } from './process-cluster.ts';
import { Stopped, stopOnSignal } from './stop-signal.ts';

const repository = join(import.meta.dirname, '..', '..');
const policyFile = join(import.meta.dirname, 'demo-policy.yaml');
const NODES = 3;
/** redis:8 is in use on every node, and stays whatever the limit. */
const ENTRIES_BEFORE = 8 * NODES;
const ENTRIES_AFTER = 4 * NODES;
const STEP_DEADLINE_MS = 120_000;
const POLL_MS = 500;
const SHOWN_LINES = 3;

async function demo(once: boolean, signal: AbortSignal, stopWanted: Promise<void>): Promise<void> {
  if (!existsSync(join(repository, 'dist/agent.cjs'))) throw new Error('dist/agent.cjs is missing: run make build first, or make demo');
  say('Starting a control plane and three nodes on this machine. Nothing of it touches what runs here, and all of it goes at the end.');
  await using cluster = await startProcessCluster({
    nodes: NODES,
    labels: { 'a3s-box.io/runtime': 'true' },
    prepareHostRoot: (hostRoot) => void unpackHome(join(hostRoot, 'var/lib/a3s-box')),
    signal,
    log: startLog,
  });
  const show = new Tables(cluster.controlPlane, signal);

  say('Installing the operator: CRDs, RBAC, admission policies, and the controller.');
  await show.run(['apply', '-k', 'deploy']);
  await show.run(['rollout', 'status', 'deployment/cachepolicy-controller', '-n', 'cachepolicy-system', '--timeout=120s']);

  say(`Each node has a home of the A3S Box runtime with 8 root file systems in its cache. This policy allows 8:\n\n${readFileSync(policyFile, 'utf8').trim()}`);
  await show.run(['apply', '-f', relative(repository, policyFile)]);
  await show.until(ENTRIES_BEFORE, 0);

  say('Now 4 a node: the least recently used go, but never redis:8, which a box is using. They are hidden first, and deleted a minute later.');
  await show.run(['patch', 'cachepolicy', 'a3s-box', '--type=json', '-p', '[{"op": "replace", "path": "/spec/caches/0/limits/maxEntries", "value": 4}]']);
  await show.until(ENTRIES_AFTER, ENTRIES_BEFORE - ENTRIES_AFTER);
  if (once) return say('That was the demo.');

  sayWhatNext(cluster.controlPlane, cluster.nodes[0]?.hostRoot as string);
  await Promise.race([show.forever(), stopWanted]);
  say('Stopping.');
}

/** What kubectl shows, printed whenever it has changed. */
class Tables {
  readonly #controlPlane: ControlPlane;
  readonly #signal: AbortSignal;
  readonly #shown = new Map<string, string>();

  constructor(controlPlane: ControlPlane, signal: AbortSignal) {
    this.#controlPlane = controlPlane;
    this.#signal = signal;
  }

  /** Shows the command and the end of what it says. */
  async run(args: readonly string[]): Promise<void> {
    this.#signal.throwIfAborted();
    console.log(`\n$ kubectl ${args.map(quoted).join(' ')}`);
    const lines = (await this.#controlPlane.kubectl(args)).trim().split('\n');
    console.log(lines.length > SHOWN_LINES ? `… ${lines.length - SHOWN_LINES} lines …\n${lines.slice(-SHOWN_LINES).join('\n')}` : lines.join('\n'));
  }

  /** Until all nodes report, the policy is Ready, and these are the numbers of entries there and gone. @throws when that takes too long. */
  async until(entries: number, evicted: number): Promise<void> {
    const deadline = performance.now() + STEP_DEADLINE_MS;
    const wanted = `${NODES}/${NODES} ${entries} ${evicted} True`;
    const path = '{.status.reporting} {.status.stats.entryCount} {.status.evictedEntries} {.status.conditions[?(@.type=="Ready")].status}';
    for (;;) {
      await this.#refresh();
      const state = await this.#controlPlane.kubectl(['get', 'cachepolicy', 'a3s-box', '-o', `jsonpath=${path}`]);
      // It may have come about after the tables were shown.
      if (state === wanted) return await this.#refresh();
      if (performance.now() > deadline) throw new Error(`after ${STEP_DEADLINE_MS / 1000} s the policy shows ${JSON.stringify(state)}, not ${JSON.stringify(wanted)}`);
      await delay(POLL_MS, undefined, { signal: this.#signal });
    }
  }

  /** Ends with the signal. */
  async forever(): Promise<void> {
    while (!this.#signal.aborted) {
      // A visitor may delete what is shown, or stop the control plane.
      await this.#refresh().catch(() => {});
      await delay(POLL_MS, undefined, { signal: this.#signal }).catch(() => {});
    }
  }

  async #refresh(): Promise<void> {
    for (const kind of ['cachepolicies', 'nodecaches']) {
      const table = (await this.#controlPlane.kubectl(['get', kind])).trim();
      // Ages change every second, and are at the end of the lines.
      const state = table.replaceAll(/ +\S+$/gm, '');
      if (table === '' || state === this.#shown.get(kind)) continue;
      this.#shown.set(kind, state);
      console.log(`\n$ kubectl get ${kind}\n${table}`);
    }
  }
}

function sayWhatNext({ kubeconfigPath, kubectlPath }: ControlPlane, hostRoot: string): void {
  say(`The cluster stays until Ctrl-C, and changes show here. Try, in another terminal:

  export KUBECONFIG=${kubeconfigPath}
  export PATH=$PATH:${dirname(kubectlPath)}

  kubectl describe cachepolicy a3s-box
  kubectl explain cachepolicy.spec.caches.limits
  kubectl edit cachepolicy a3s-box                  # another limit, or mode: DryRun
  kubectl get pods -A -o wide                       # the controller, and an agent on each node
  ls ${join(hostRoot, 'var/lib/a3s-box/home/cache/rootfs')}
  kubectl delete cachepolicy a3s-box                # the agents go, the caches stay`);
}

/** Of the start only what takes time; what the nodes do with pods would stand between the tables. */
const startLog: Log = (line) => {
  if (!/^node-\d+: /.test(line)) stderrLog(line);
};

function say(text: string): void {
  const [headline, ...rest] = text.split('\n');
  console.log(['', process.stdout.isTTY ? `\u001b[1m${headline}\u001b[0m` : headline, ...rest].join('\n'));
}

function quoted(argument: string): string {
  return /^[\w./=:-]+$/.test(argument) ? argument : `'${argument}'`;
}

process.chdir(repository);
using stop = stopOnSignal();
try {
  await demo(process.env['DEMO_ONCE'] === '1', stop.signal, stop.wanted);
} catch (error) {
  if (error instanceof Stopped || stop.signal.aborted) console.log('stopped');
  else console.error(messageOf(error));
  process.exitCode = stop.signal.aborted ? 130 : 1;
}

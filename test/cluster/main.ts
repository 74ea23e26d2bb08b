/** Test clusters by hand: `up` brings one up and stays, `down` ends it from another terminal. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { setTimeout as delay } from 'node:timers/promises';

import { messageOf } from '../../src/errors.ts';
import { unpackHome } from '../fixtures/homes.ts';
import { cacheDir } from './binaries.ts';
import type { ControlPlane } from './control-plane.ts';
import { buildOperatorImage } from './image.ts';
import { stderrLog } from './log.ts';
import { startProcessCluster } from './process-cluster.ts';
import { canRun, startRealCluster } from './real-nodes.ts';
import { startTimeOf } from './run-dir.ts';
import { Stopped, stopOnSignal } from './stop-signal.ts';

const usage = `usage: node test/cluster/main.ts up [--nodes process:3 | --nodes real:2]
       node test/cluster/main.ts down`;

const stateFile = join(cacheDir(), 'cluster.json');
const DOWN_DEADLINE_MS = 60_000;
const POLL_MS = 100;
const nodeLabels = { 'a3s-box.io/runtime': 'true' };

interface State {
  readonly pid: number;
  readonly startTime: string | undefined;
}

interface Cluster extends AsyncDisposable {
  readonly controlPlane: ControlPlane;
}

async function up(nodes: string): Promise<void> {
  const [, kind, count] = /^(process|real):([1-9])$/.exec(nodes) ?? [];
  if (kind === undefined) throw new Error(`--nodes ${nodes}: write process:3 or real:2, with 1 to 9 nodes`);
  if (runningState() !== undefined) throw new Error('a cluster is up already; end it with: node test/cluster/main.ts down');
  using stop = stopOnSignal();
  await using cluster = kind === 'real' ? await startReal(Number(count), stop.signal) : await startProcesses(Number(count), stop.signal);
  const { kubeconfigPath, runDir } = cluster.controlPlane;
  writeState();
  try {
    console.log(`
The cluster is up. In another terminal:

  export KUBECONFIG=${kubeconfigPath}
  kubectl apply -k deploy        # the operator; its image is on the nodes
  kubectl get nodes,pods -A

  logs of the cluster: ${join(runDir.path, 'logs')}
  files of the nodes:  ${join(runDir.path, 'nodes')}

Ctrl-C ends it, and so does: node test/cluster/main.ts down`);
    await stop.wanted;
    stderrLog('stopping');
  } finally {
    rmSync(stateFile, { force: true });
  }
}

function startProcesses(count: number, signal: AbortSignal): Promise<Cluster> {
  return startProcessCluster({
    nodes: count,
    labels: nodeLabels,
    prepareHostRoot: (hostRoot) => void unpackHome(join(hostRoot, 'var/lib/a3s-box')),
    signal,
    log: stderrLog,
  });
}

async function startReal(count: number, signal: AbortSignal): Promise<Cluster> {
  const reason = canRun();
  if (reason !== undefined) throw new Error(reason);
  const nodes = Array.from({ length: count }, (_, index) => `node-${index + 1}`);
  const cluster = await startRealCluster({ nodes, labels: nodeLabels, images: [await buildOperatorImage(stderrLog, signal)], signal, log: stderrLog });
  for (const node of cluster.nodes) unpackHome(node.hostPath('/var/lib/a3s-box'));
  return cluster;
}

async function down(): Promise<void> {
  const state = runningState();
  if (state === undefined) {
    console.log('no cluster is up');
    return;
  }
  process.kill(state.pid, 'SIGTERM');
  const deadline = performance.now() + DOWN_DEADLINE_MS;
  while (isRunning(state)) {
    if (performance.now() > deadline) throw new Error(`process ${state.pid} does not end`);
    await delay(POLL_MS);
  }
  console.log('the cluster is down');
}

function writeState(): void {
  mkdirSync(cacheDir(), { recursive: true });
  const state: State = { pid: process.pid, startTime: startTimeOf(process.pid) };
  writeFileSync(stateFile, JSON.stringify(state));
}

/** Of the cluster that is up; undefined when there is none, or when its process was killed. */
function runningState(): State | undefined {
  try {
    const state = JSON.parse(readFileSync(stateFile, 'utf8')) as State;
    return isRunning(state) ? state : undefined;
  } catch {
    return undefined;
  }
}

function isRunning({ pid, startTime }: State): boolean {
  return startTimeOf(pid) === startTime;
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({ allowPositionals: true, options: { nodes: { type: 'string', default: 'process:3' } } });
  if (positionals[0] === 'up' && positionals.length === 1) return up(values.nodes);
  if (positionals[0] === 'down' && positionals.length === 1) return down();
  throw new Error(usage);
}

await main().catch((error: unknown) => {
  const stopped = error instanceof Stopped || (error as Error).name === 'AbortError';
  console.error(stopped ? 'stopped' : messageOf(error));
  process.exitCode = 1;
});

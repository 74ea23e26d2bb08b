/**
 * Memory of the agent and of the controller as they ship, on the embedded control plane: one node of local processes, the fixture home,
 * a put every 5 s into the governed cache and so an eviction every 5 s. The flags are those of the pods.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { stderrLog } from '../cluster/log.ts';
import type { ProcessCluster } from '../cluster/process-cluster.ts';
import { startProcessCluster } from '../cluster/process-cluster.ts';
import { unpackHome } from '../fixtures/homes.ts';
import { agentFlags } from './agent-flags.ts';
import type { Figure } from './bench.ts';
import { full } from './bench.ts';

const root = join(import.meta.dirname, '..', '..');
const home = '/var/lib/a3s-box/home';
const namespace = 'cachepolicy-system';
const seconds = full ? 600 : 90;

export async function agentMemory(): Promise<Figure[]> {
  const { agent, note } = await inCluster();
  return [{ value: mib(agent), unit: 'MiB', baseline: { what: 'bare node, same flags', value: mib(await bareNode(agentFlags())) }, note }];
}

export async function controllerMemory(): Promise<Figure[]> {
  const { controller, note } = await inCluster();
  return [{ value: mib(controller), unit: 'MiB', baseline: { what: 'bare node', value: mib(await bareNode([])) }, note }];
}

/** Resident memory of both, in bytes, once the puts have gone on for a while. */
async function inCluster(): Promise<{ agent: number; controller: number; note: string }> {
  const labels = { 'a3s-box.io/runtime': 'true' };
  await using cluster = await startProcessCluster({ nodes: 1, labels, log: stderrLog, prepareHostRoot: (hostRoot) => void unpackHome(join(hostRoot, 'var/lib/a3s-box')) });
  const [node] = cluster.nodes;
  if (node === undefined) throw new Error('no node');
  const { kubectl } = cluster.controlPlane;
  await kubectl(['apply', '-k', join(root, 'deploy')]);
  await kubectl(['rollout', 'status', 'deployment/cachepolicy-controller', '-n', namespace, '--timeout=120s']);
  const limits = { maxEntries: 6 };
  const policy = {
    apiVersion: 'cache.a3s.dev/v1alpha1', kind: 'CachePolicy', metadata: { name: 'bench' },
    spec: { caches: [{ name: 'rootfs', a3sBox: { home, store: 'Rootfs' }, limits, protect: { minIdle: '1s' } }] },
  };
  await kubectl(['apply', '-f', '-'], { input: JSON.stringify(policy) });
  await kubectl(['wait', '--for=condition=Ready', 'cachepolicy/bench', '--timeout=120s']);

  const agent = await pidOf(cluster, 'cache.a3s.dev/policy=bench');
  const controller = await pidOf(cluster, 'app.kubernetes.io/component=controller');
  const source = mkdtempSync(join(tmpdir(), 'cachepolicy-bench-'));
  unpackHome(source);
  let puts = 0;
  for (const end = performance.now() + seconds * 1000; performance.now() < end; await sleep(5_000)) {
    await put(join(node.hostRoot, home), join(source, 'home/cache/rootfs/0732d331fa4aacce9beb4cf9ca9e91ae5b6d88a93717aba81e16b27cba82e7b7'), puts);
    puts += 1;
    if (puts % 12 === 0) stderrLog(`${puts} puts; agent ${mib(rss(agent)).toFixed(1)} MiB, controller ${mib(rss(controller)).toFixed(1)} MiB`);
  }
  rmSync(source, { recursive: true });
  const { evictedEntries } = (JSON.parse(await kubectl(['get', 'cachepolicy', 'bench', '-o', 'json'])) as { status: { evictedEntries: number } }).status;
  stderrLog(`${puts} puts, ${evictedEntries} evictions`);
  if (evictedEntries < puts / 2) throw new Error(`the agent evicted ${evictedEntries} entries for ${puts} puts: this measures nothing`);
  return { agent: rss(agent), controller: rss(controller), note: `after ${puts} puts and ${evictedEntries} evictions in ${seconds} s` };
}

async function pidOf({ controlPlane, nodes }: ProcessCluster, selector: string): Promise<number> {
  const names = (await controlPlane.kubectl(['get', 'pods', '-n', namespace, '-l', selector, '-o', 'jsonpath={.items[*].metadata.name}'])).split(' ');
  // Of two controllers the one that leads does the work, and is the larger.
  const pids = names.map((name) => nodes[0]?.pid(name)).filter((pid) => pid !== undefined);
  const [largest] = pids.sort((a, b) => rss(b) - rss(a));
  if (largest === undefined) throw new Error(`no process for ${selector}`);
  return largest;
}

/** As the runtime would: by its own process, with a key of its own. */
async function put(homePath: string, source: string, number: number): Promise<void> {
  const key = number.toString(16).padStart(64, '0');
  const child = spawn(join(root, 'bin/cachepolicy'), [
    'entry', 'put', key, source, '--home', homePath, '--store', 'rootfs', '--description', `example.com/bench:${number}`, '--allowed-root', join(homePath, '..'),
  ], { stdio: ['ignore', 'ignore', 'inherit'] });
  const code = await new Promise((resolve) => child.on('close', resolve));
  if (code !== 0) throw new Error(`entry put ended with ${String(code)}`);
}

async function bareNode(flags: readonly string[]): Promise<number> {
  const child = spawn(process.execPath, [...flags, '-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
  await sleep(2_000);
  const bytes = rss(child.pid ?? 0);
  child.kill('SIGTERM');
  await new Promise((resolve) => child.on('close', resolve));
  return bytes;
}

/** Resident memory of a process, in bytes. */
function rss(pid: number): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024;
}

function mib(bytes: number): number {
  return bytes / 2 ** 20;
}

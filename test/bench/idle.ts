/** What an agent takes of a processor while nothing happens, beside a node that does nothing. */
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { agentFlags } from './agent-flags.ts';
import { AgentRig } from './agent-rig.ts';
import type { Measurement } from './bench.ts';
import { full } from './bench.ts';
import { anyScratch, makeHome } from './places.ts';

const minutes = full ? 10 : 2;

export async function idle(entries: number): Promise<readonly Measurement[]> {
  using scratch = anyScratch();
  const home = makeHome(scratch.path, { entries });
  await using rig = await AgentRig.start({ dir: scratch.path, home, mode: 'Enforce' });
  const bare = spawn(process.execPath, [...agentFlags(), '-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
  // The first report, and the first look after it.
  await sleep(10_000);
  const pids = [rig.pid, bare.pid ?? 0];
  const before = pids.map(onProcessorMs);
  await sleep(minutes * 60_000);
  const [agent = 0, node = 0] = pids.map((pid, i) => ((onProcessorMs(pid) - (before[i] ?? 0)) / (minutes * 60_000)) * 100);
  bare.kill('SIGTERM');
  return [{ value: agent, unit: '% of a core', baseline: { what: 'node that does nothing', value: node }, note: `over ${minutes} min` }];
}

/** Of all threads: exact, where /proc/<pid>/stat counts in ticks of 10 ms. */
function onProcessorMs(pid: number): number {
  return readdirSync(`/proc/${pid}/task`).reduce((sum, tid) => sum + Number(readFileSync(`/proc/${pid}/task/${tid}/schedstat`, 'utf8').split(' ')[0]) / 1e6, 0);
}

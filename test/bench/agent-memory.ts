/** Resident memory of the agent as it ships, once it has looked at its cache many times. */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { agentFlags } from './agent-flags.ts';
import { AgentRig } from './agent-rig.ts';
import type { Measurement } from './bench.ts';
import { full } from './bench.ts';
import { anyScratch, makeHome, writeUse } from './places.ts';

const seconds = full ? 300 : 30;

/** @param scheduled also with cron and time zones loaded */
export async function agentMemory(entries: number, { scheduled = false } = {}): Promise<readonly Measurement[]> {
  using scratch = anyScratch();
  const home = makeHome(scratch.path, { entries });
  const schedule = scheduled ? { cron: '0 3 * * *', timeZone: 'Europe/Berlin', jitterMs: 60_000 } : null;
  await using rig = await AgentRig.start({ dir: scratch.path, home, schedule });
  let peak = 0;
  for (let second = 0; second < seconds; second++) {
    // A use changes the root, and calls for another look.
    writeUse(join(home, 'cache/rootfs'), 0, { usedSecondsAgo: 0 });
    await rig.get('/metrics');
    await sleep(1_000);
    peak = Math.max(peak, rig.rssBytes);
  }
  const looks = await rig.metric('cachepolicy_cache_pass_duration_seconds_count');
  return [{ value: mib(rig.rssBytes), unit: 'MiB', baseline: { what: 'bare node, same flags', value: mib(await bareNodeBytes()) }, note: `after ${looks} looks in ${seconds} s, at most ${mib(peak).toFixed(1)}` }];
}

/** A node with the agent's flags that does nothing. */
export async function bareNodeBytes(): Promise<number> {
  const child = spawn(process.execPath, [...agentFlags(), '-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
  await sleep(2_000);
  const bytes = Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1]) * 1024;
  child.kill('SIGTERM');
  await new Promise((resolve) => child.on('close', resolve));
  return bytes;
}

function mib(bytes: number): number {
  return bytes / 2 ** 20;
}

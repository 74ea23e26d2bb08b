/**
 * How late the agent's loop turns, and how soon it answers, while it scans, plans, evicts and purges 100,000 entries. What it waited for a
 * processor that others had is not its own fault, and is taken off each sample.
 */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { agentFlags } from './agent-flags.ts';
import { AgentRig, until } from './agent-rig.ts';
import type { Measurement } from './bench.ts';
import { quantile } from './bench.ts';
import { anyScratch, makeHome, writeUse } from './places.ts';

type Sample = readonly [lateMs: number, waitedMs: number, onProcessorMs: number, betweenMs: number];

const probe = join(import.meta.dirname, 'loop-probe.cjs');
/** At least so much of the time between two samples on a processor: then it was at work. */
const busyPart = 0.5;

export async function busyAgent(entries: number): Promise<readonly Measurement[]> {
  using scratch = anyScratch();
  const home = makeHome(scratch.path, { entries, filesEach: 2 });
  const file = join(scratch.path, 'samples.json');
  await using rig = await AgentRig.start({ dir: scratch.path, home, preload: probe, env: { BENCH_SAMPLES: file } });
  const idle = await answersDuring(rig, () => sleep(3_000));
  let scans = 0;
  const busy = await answersDuring(rig, async () => {
    for (const before = await looks(rig); scans < 3; scans = (await looks(rig)) - before) {
      writeUse(join(home, 'cache/rootfs'), scans, { usedSecondsAgo: 0 });
      await sleep(500);
    }
    rig.apply({ mode: 'Enforce', limits: { maxEntries: 0 } });
    await until(async () => (await rig.metric('cachepolicy_cache_entries')) === 0, 'all is evicted', 1_000);
    await until(async () => (await rig.metric('cachepolicy_cache_purged_entries_total')) === entries, 'all is purged', 1_000);
  });
  const samples = (await samplesOf(rig.pid, file)).filter(([, , onMs, betweenMs]) => onMs >= busyPart * betweenMs);
  const baseline = await idleNode(join(scratch.path, 'idle.json'));
  return [
    {
      variant: 'main loop delay p99, net', value: quantile(samples.map(netMs), 0.99), unit: 'ms', baseline: { what: 'node that does nothing', value: quantile(baseline.map(netMs), 0.99) },
      note: `${samples.length} samples at work; longest ${Math.max(...samples.map(netMs)).toFixed(0)} ms; not net p99 ${quantile(samples.map(([late]) => late), 0.99).toFixed(0)} ms`,
    },
    {
      variant: 'slowest answer of /livez', target: { atMost: 100, unit: 'ms' }, value: Math.max(...busy), unit: 'ms', baseline: { what: 'slowest while idle', value: Math.max(...idle) },
      note: `${busy.length} answers; p99 ${quantile(busy, 0.99).toFixed(0)} ms`,
    },
  ];
}

function netMs([lateMs, waitedMs]: Sample): number {
  return Math.max(0, lateMs - waitedMs);
}

async function looks(rig: AgentRig): Promise<number> {
  return (await rig.metric('cachepolicy_cache_pass_duration_seconds_count')) ?? 0;
}

/** How long each answer takes, ten times a second. */
async function answersDuring(rig: AgentRig, act: () => Promise<unknown>): Promise<number[]> {
  const took: number[] = [];
  let done = false;
  const asking = (async () => {
    for (; !done; await sleep(100)) {
      const sinceMs = performance.now();
      await rig.get('/livez');
      took.push(performance.now() - sinceMs);
    }
  })();
  try {
    await act();
  } finally {
    // Also where it fails: whoever asks on would meet an agent that is gone, and end the process before it has cleared up.
    done = true;
    await asking;
  }
  return took;
}

async function samplesOf(pid: number, file: string): Promise<Sample[]> {
  rmSync(file, { force: true });
  process.kill(pid, 'SIGUSR2');
  await until(async () => existsSync(file) && readFileSync(file, 'utf8').endsWith(']]'), 'the samples are there');
  return JSON.parse(readFileSync(file, 'utf8')) as Sample[];
}

async function idleNode(file: string): Promise<Sample[]> {
  const child = spawn(process.execPath, [...agentFlags(), '--require', probe, '-e', 'setInterval(() => {}, 1000)'], { env: { BENCH_SAMPLES: file }, stdio: 'ignore' });
  await sleep(5_000);
  const samples = await samplesOf(child.pid ?? 0, file);
  child.kill('SIGTERM');
  await new Promise((resolve) => child.on('close', resolve));
  return samples;
}

/** How much CPU a decision over many entries takes, against sorting their bare last uses; and how long it keeps everything else waiting at a time. */
import { randomBytes } from 'node:crypto';
import { EntryTableBuilder } from '../../src/policy/entry-table.ts';
import type { Hold } from '../../src/policy/holds.ts';
import { noLimits } from '../../src/policy/limits.ts';
import type { PlanInput } from '../../src/policy/plan.ts';
import { planEviction, planSteps } from '../../src/policy/plan.ts';
import type { EntryName } from '../../src/policy/snapshot.ts';
import type { Figure } from './bench.ts';
import { quantile } from './bench.ts';

const day = 86_400_000;
const runs = 9;

export async function plan(entries: number): Promise<readonly Figure[]> {
  const input = inputOf(entries);
  const bare = cpuTimes(() => input.snapshot.entries.lastAccessedAtMs.slice().sort());
  const ours = cpuTimes(() => planEviction(input));
  const { evict, held } = planEviction(input);
  if (evict.length < entries / 10 || held.inUse.entries !== 100) throw new Error(`${evict.length} of ${entries} would go, ${held.inUse.entries} are in use: this measures nothing`);
  return [{
    value: quantile(ours.slice(2), 0.5), unit: 'ms', baseline: { what: 'sorting the bare times', value: quantile(bare.slice(2), 0.5) },
    note: `CPU, median of ${runs - 2} after 2 that warm up; the first took ${ours[0]?.toFixed(0)}; ${evict.length} go`,
  }];
}

/** The longest step, between two of which everything else has its turn. */
export async function planStep(entries: number): Promise<readonly Figure[]> {
  const input = inputOf(entries);
  const whole: number[] = [];
  const longest: number[] = [];
  for (let run = 0; run < runs; run += 1) {
    const steps = planSteps(input);
    const times: number[] = [];
    for (let done = false; !done; ) times.push(cpuTime(() => (done = steps.next().done === true)));
    whole.push(times.reduce((sum, ms) => sum + ms, 0));
    longest.push(Math.max(...times));
  }
  return [{
    value: quantile(longest, 0.5), unit: 'ms', baseline: { what: 'all steps', value: quantile(whole, 0.5) },
    note: `CPU, median of ${runs}`,
  }];
}

/** Used over the last week, in whole seconds as metadata says it; 100 in use, a tenth and more over every limit. */
function inputOf(count: number): PlanInput {
  const nowMs = Date.now();
  const builder = new EntryTableBuilder();
  for (let i = 0; i < count; i += 1) {
    const name = randomBytes(32).toString('hex') as EntryName;
    const lastAccessedAtMs = Math.floor((nowMs - Math.random() * 7 * day) / 1000) * 1000;
    builder.add({
      name, key: name, description: `docker.io/library/image:${i}`, sizeBytes: Math.floor(Math.random() * 1e8),
      cachedAtMs: nowMs - 7 * day, lastAccessedAtMs, stamp: { inode: BigInt(i), changedNs: 1n, size: 1 },
    });
  }
  const entries = builder.build(nowMs);
  const hold: Hold = { source: 'Box', detail: 'box bench' };
  const holds = { entries: new Map(Array.from({ length: 100 }, (_, i) => [entries.nameAt(i * Math.floor(count / 100)), hold] as const)), byDescription: new Map(), everything: undefined, sources: ['Box'] } as const;
  const limits = { ...noLimits, maxEntries: Math.floor(count * 0.9), maxBytes: count * 4e7, maxIdleMs: 6 * day, headroomPercent: 10 };
  return { snapshot: { takenAtMs: nowMs, entries, damaged: [], leftovers: [], unrecognised: [], filesRead: 0 }, limits, protect: { minIdleMs: 60_000, keep: [] }, holds, nowMs };
}

function cpuTimes(act: () => unknown): number[] {
  return Array.from({ length: runs }, () => cpuTime(act));
}

/** ms of CPU of this process, whatever else runs on the machine. */
function cpuTime(act: () => unknown): number {
  const before = process.cpuUsage();
  act();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

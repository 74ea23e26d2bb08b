/** How soon the agent's figures tell that an entry has appeared, or was used; the slowest of several. */
import { watch } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { AgentRig, until } from './agent-rig.ts';
import type { Measurement } from './bench.ts';
import { anyScratch, addEntry, makeHome, writeUse } from './places.ts';

const rounds = 5;
const hourMs = 3_600_000;

export async function freshness(entries: number): Promise<readonly Measurement[]> {
  using scratch = anyScratch();
  const home = makeHome(scratch.path, { entries, usedSecondsAgo: 7_200 });
  const root = join(home, 'cache/rootfs');
  // Whatever was not used for an hour would go: one that is used then would not.
  await using rig = await AgentRig.start({ dir: scratch.path, home, limits: { maxIdleMs: hourMs } });
  const appears = async (i: number) => await untilKnown(rig, root, 'cachepolicy_cache_entries', entries + i + 1, () => addEntry(root, entries + i, { usedSecondsAgo: 7_200 }));
  const isUsed = async (i: number) => await untilKnown(rig, root, 'cachepolicy_cache_would_evict_entries', entries + rounds - i - 1, () => writeUse(root, i, { usedSecondsAgo: 0 }));
  return [await slowest('appears', appears), await slowest('is used', isUsed)];
}

async function slowest(variant: string, round: (i: number) => Promise<{ knownMs: number; seenMs: number }>): Promise<Measurement> {
  const times: { knownMs: number; seenMs: number }[] = [];
  for (let i = 0; i < rounds; i++) {
    // At any moment between two looks.
    await sleep(1_000 + 370 * i);
    times.push(await round(i));
  }
  const worst = (of: 'knownMs' | 'seenMs') => Math.max(...times.map((each) => each[of])) / 1000;
  return { variant, value: worst('knownMs'), unit: 's', baseline: { what: 'fs.watch', value: worst('seenMs') }, note: `slowest of ${rounds}` };
}

async function untilKnown(rig: AgentRig, root: string, metric: string, value: number, act: () => void): Promise<{ knownMs: number; seenMs: number }> {
  let seenAtMs: number | undefined;
  const watcher = watch(root, () => (seenAtMs ??= performance.now()));
  const sinceMs = performance.now();
  act();
  await until(async () => (await rig.metric(metric)) === value, `${metric} is ${value}`, 100);
  const knownMs = performance.now() - sinceMs;
  watcher.close();
  return { knownMs, seenMs: (seenAtMs ?? Infinity) - sinceMs };
}

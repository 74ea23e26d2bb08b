/** How long it takes to delete 1,000 evicted entries of 100 files, against `rm -rf` of the same trees: in pairs, taking turns at going first. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Cache } from '../../src/cache/pass.ts';
import type { Measurement } from './bench.ts';
import { full, quantile } from './bench.ts';
import type { FilesystemName } from './places.ts';
import { makeHome, makeTree, scratchOn } from './places.ts';
import { noLimits, noProtection } from '../../src/policy/limits.ts';

const trees = 1_000;
const filesEach = 100;
const pairs = full ? 9 : 3;

export async function purge(variant: FilesystemName): Promise<readonly Measurement[]> {
  return [await purgeOn(variant)];
}

async function purgeOn(variant: FilesystemName): Promise<Measurement> {
  using scratch = scratchOn(variant);
  if (scratch === undefined) return { variant, notMeasured: `no ${variant} here` };
  const ours: number[] = [];
  const theirs: number[] = [];
  for (let pair = 0; pair < pairs; pair++) {
    const home = makeHome(scratch.path, { entries: trees, filesEach });
    const forRm = makeTrees(join(scratch.path, 'rm'));
    using cache = evictable(home, scratch.path);
    await evictAll(cache);
    execFileSync('sync');
    const acts = [async () => ours.push(await timed(() => purgeAll(cache))), async () => theirs.push(await timed(async () => execFileSync('rm', ['-rf', forRm])))];
    for (const act of pair % 2 === 0 ? acts : acts.toReversed()) await act();
    rmSync(home, { recursive: true });
  }
  const ratios = ours.map((ms, i) => ms / (theirs[i] ?? NaN));
  return {
    variant, value: quantile(ours, 0.5), unit: 'ms', baseline: { what: 'rm -rf', value: quantile(theirs, 0.5) },
    note: `${pairs} pairs, ratios ${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)}`,
  };
}

function evictable(home: string, allowedRoot: string): Cache {
  const limits = { ...noLimits, maxEntries: 0 };
  const spec = { name: 'rootfs', format: 'a3s-rootfs', root: join(home, 'cache/rootfs'), home, limits, protect: noProtection } as const;
  return new Cache(spec, { allowedRoots: [allowedRoot], settleMs: 0, restMs: 0 });
}

/** Into the trash, where the purge takes them from. */
async function evictAll(cache: Cache): Promise<void> {
  const { evicted } = await cache.pass({ mode: 'Enforce', trigger: 'Manual' });
  if (evicted.length !== trees) throw new Error(`${evicted.length} of ${trees} trees were evicted`);
}

async function purgeAll(cache: Cache): Promise<void> {
  const { purgedEntries } = await cache.purge();
  if (purgedEntries !== trees) throw new Error(`${purgedEntries} of ${trees} trees were purged`);
}

function makeTrees(path: string): string {
  mkdirSync(path);
  for (let i = 0; i < trees; i++) makeTree(join(path, `t${i}`), filesEach);
  return path;
}

async function timed(act: () => Promise<unknown>): Promise<number> {
  const startedAtMs = performance.now();
  await act();
  return performance.now() - startedAtMs;
}

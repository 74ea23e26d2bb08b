/** What it costs to know what lies in a store: from nothing, again, after one change, and after a restart. */
import { lstatSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Cache } from '../../src/cache/pass.ts';
import { DirWatch } from '../../src/disk/dir-watch.ts';
import { noLimits, noProtection } from '../../src/policy/limits.ts';
import type { Measurement } from './bench.ts';
import { full, quantile } from './bench.ts';
import { anyScratch, keyOf, makeHome } from './places.ts';

const rounds = full ? 9 : 5;
/** Stamps younger than two seconds are not believed. */
const untilSettledMs = 3_000;

function openCache(home: string, remembers: boolean): Cache {
  const spec = { name: 'rootfs', format: 'a3s-rootfs', root: join(home, 'cache/rootfs'), home, limits: noLimits, protect: noProtection } as const;
  return new Cache(spec, { allowedRoots: [join(home, '..')], remembers });
}

export async function fullScan(entries: number): Promise<readonly Measurement[]> {
  using scratch = anyScratch();
  const home = makeHome(scratch.path, { entries });
  using cache = openCache(home, false);
  const scan = async () => expectEqual((await cache.scan()).filesRead, entries);
  const [ours, theirs] = await taken(scan, () => void readAndParseAll(join(home, 'cache/rootfs')));
  return [{ value: quantile(ours, 0.5), unit: 'ms', baseline: { what: 'read and parse each in a loop', value: quantile(theirs, 0.5) }, note: `${rounds} pairs` }];
}

export async function rescan(entries: number): Promise<readonly Measurement[]> {
  using scratch = anyScratch();
  const home = makeHome(scratch.path, { entries });
  using cache = await settledCache(home);
  const [ours, theirs] = await taken(async () => expectEqual((await cache.scan()).filesRead, 0), () => void lookAtAll(join(home, 'cache/rootfs')));
  return [{ value: quantile(ours, 0.5), unit: 'ms', baseline: { what: 'readdir + lstat', value: quantile(theirs, 0.5) }, note: 'no file opened' }];
}

/** @param watched false: as where no watch is to be had */
export async function oneChange(entries: number, watched: boolean): Promise<readonly Measurement[]> {
  using scratch = anyScratch();
  const home = makeHome(scratch.path, { entries });
  const root = join(home, 'cache/rootfs');
  if (!watched) DirWatch.on = () => undefined;
  using cache = await settledCache(home);
  let reads = 0;
  const act = async () => {
    reads = (await cache.scan()).filesRead;
  };
  let used = 0;
  const [ours, theirs] = await taken(act, () => void lookAtAll(root), async () => {
    used += 1;
    use(root, used);
    // Without a watch what was read just now is read once more, and so is not yet what is measured.
    if (!watched) await sleep(untilSettledMs);
  });
  expectEqual(reads, 1);
  return [{ value: quantile(ours, 0.5), unit: 'ms', baseline: { what: 'readdir + lstat', value: quantile(theirs, 0.5) }, note: 'one file opened' }];
}

export async function restart(entries: number): Promise<readonly Measurement[]> {
  using scratch = anyScratch();
  const home = makeHome(scratch.path, { entries });
  {
    using before = await settledCache(home);
    await before.save();
  }
  const changed = Math.floor(entries / 100);
  for (let i = 0; i < changed; i += 1) use(join(home, 'cache/rootfs'), i * 7);
  using cache = openCache(home, true);
  const startedAtMs = performance.now();
  const { filesRead, entries: found } = await cache.scan();
  const tookMs = performance.now() - startedAtMs;
  expectEqual(found.length, entries);
  return [{ value: filesRead, unit: 'files', baseline: { what: 'changed', value: changed }, note: `in ${tookMs.toFixed(0)} ms` }];
}

/** One that knows the store, and whose stamps are old enough to be believed. */
async function settledCache(home: string): Promise<Cache> {
  await sleep(untilSettledMs);
  const cache = openCache(home, true);
  await cache.scan();
  return cache;
}

/** In pairs, taking turns at going first. */
async function taken(ours: () => Promise<void>, theirs: () => void, before: () => void | Promise<void> = () => {}): Promise<[number[], number[]]> {
  const times: [number[], number[]] = [[], []];
  for (let round = 0; round < rounds; round += 1) {
    const acts = [async () => { await before(); times[0].push(await timed(ours)); }, async () => times[1].push(await timed(async () => theirs()))];
    for (const act of round % 2 === 0 ? acts : acts.toReversed()) await act();
  }
  return times;
}

async function timed(act: () => Promise<void>): Promise<number> {
  const startedAtMs = performance.now();
  await act();
  return performance.now() - startedAtMs;
}

function readAndParseAll(root: string): number {
  let bytes = 0;
  for (const name of readdirSync(root)) if (name.endsWith('.meta.json')) bytes += (JSON.parse(readFileSync(join(root, name), 'utf8')) as { size_bytes: number }).size_bytes;
  return bytes;
}

function lookAtAll(root: string): number {
  let bytes = 0;
  for (const name of readdirSync(root)) if (name.endsWith('.meta.json')) bytes += lstatSync(`${root}/${name}`).size;
  return bytes;
}

/** As a hit of the runtime: a new file takes the place of the old one. */
function use(root: string, number: number): void {
  const path = join(root, `${keyOf(number)}.meta.json`);
  const text = readFileSync(path, 'utf8').replace(/"last_accessed": \d+/, `"last_accessed": ${Math.floor(Date.now() / 1000)}`);
  writeFileSync(join(root, '.tmpBench1'), text);
  renameSync(join(root, '.tmpBench1'), path);
}

function expectEqual(value: number, expected: number): void {
  if (value !== expected) throw new Error(`${value} instead of ${expected}: this measures something else`);
}

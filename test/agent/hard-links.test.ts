import { linkSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { CacheWorker } from '../../src/agent/cache-worker.ts';
import { silentLog } from '../../src/observe/log.ts';
import type { CompiledPolicy } from '../../src/policy/compiled.ts';
import { nodeReport } from '../../src/policy/node-report.ts';
import { DirectoryOnDisk } from '../cache/directory-on-disk.ts';

const { signal } = new AbortController();
const kib = 1024;
const hour = 3_600_000;

/** Folders a to h, the first letter least recently used, of about 20 KiB each, and with a link each to the same file of 1,000 KiB. */
function copies(): DirectoryOnDisk {
  const disk = new DirectoryOnDisk();
  for (const [i, letter] of [...'abcdefgh'].entries()) {
    const usedSecondsAgo = 10_000 - 100 * i;
    disk.folder(letter, { usedSecondsAgo });
    const [first, blob] = [join(disk.root, 'a', 'blob'), join(disk.root, letter, 'blob')];
    if (letter === 'a') writeFileSync(blob, Buffer.alloc(1_000 * kib, 1));
    else linkSync(first, blob);
    const at = Date.now() / 1000;
    utimesSync(blob, at - 20_000, at - 20_000);
    utimesSync(join(disk.root, letter), at - usedSecondsAgo, at - usedSecondsAgo);
  }
  return disk;
}

/** @param isScheduled due once, now; without a schedule limits are applied as soon as something calls for it */
function aWorker(disk: DirectoryOnDisk, maxBytes: number, { isScheduled = false } = {}): CacheWorker {
  const spec = disk.spec({ maxBytes });
  const policy: CompiledPolicy = { formatVersion: 1, policy: { name: 'p', uid: 'u', generation: 1 }, accepted: true, mode: 'Enforce', schedule: null, caches: [spec] };
  let dues = 0;
  const nextDueAtMs = (afterMs: number) => {
    dues += 1;
    return isScheduled ? afterMs + (dues === 1 ? 0 : 1_000 * hour) : null;
  };
  const worker = new CacheWorker({ policy, spec, allowedRoots: [dirname(disk.root)], settleMs: 1, restMs: hour, log: silentLog, nextDueAtMs, previous: undefined, knownTotals: undefined });
  onTestFinished(() => worker[Symbol.dispose]());
  return worker;
}

const tick = (worker: CacheWorker, times = 1) => Array.from({ length: times }).reduce<Promise<unknown>>((before, _, i) => before.then(() => worker.tick(Date.now() + (i + 1) * 10_000, signal)), Promise.resolve());
const readyIn = (worker: CacheWorker) => nodeReport([worker.state]).findings.find(({ type }) => type === 'Ready')?.status;

describe('an agent, where entries are hard links of one another', () => {
  it('holds the limit by one pass, and counts as evicted what the filesystem gets back', async () => {
    const disk = copies();
    const worker = aWorker(disk, 800 * kib);
    await tick(worker);
    expect(disk.names).toEqual([]);
    const { evictedEntries, evictedBytes } = worker.state.totals;
    expect(evictedEntries).toBe(8);
    expect(evictedBytes).toBeGreaterThanOrEqual(1_000 * kib);
    expect(evictedBytes).toBeLessThan(1_300 * kib);
    expect(worker.state.look?.wouldEvict).toEqual({ entries: 0, bytes: 0 });
    expect(readyIn(worker)).toBe('True');
  });

  it.each([['beside a schedule, in the run that was due', true], ['without a schedule', false]])('goes on as soon as a purge shows that a pass fell short: %s', async (_, isScheduled) => {
    const disk = copies();
    // Four of the links lie in the trash, which is none of the worker's entries.
    using other = disk.cache({ maxEntries: 4 }, { restMs: hour });
    await other.pass({ mode: 'Enforce', trigger: 'Manual' });
    expect(disk.names).toEqual(['e', 'f', 'g', 'h']);
    const worker = aWorker(disk, 450 * kib, { isScheduled });
    // The second one looks at what the first has changed, and finds the limit met.
    await tick(worker, 2);
    expect(disk.names.length).toBeGreaterThan(0);
    await worker.purge();
    await tick(worker);
    expect(disk.names).toEqual([]);
    expect(readyIn(worker)).toBe('True');
    await tick(worker, 3);
    expect(worker.state.totals.evictedEntries).toBe(4);
  });
});

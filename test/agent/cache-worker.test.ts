import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CacheWorker } from '../../src/agent/cache-worker.ts';
import type { Witness } from '../../src/agent/metrics.ts';
import type { PassReport } from '../../src/cache/report.ts';
import { Room } from '../../src/cache/room.ts';
import { readMemory } from '../../src/cache/state.ts';
import { lockStore } from '../cache/store.ts';
import { openRoot } from '../../src/disk/pinned-root.ts';
import { silentLog } from '../../src/observe/log.ts';
import type { CompiledPolicy } from '../../src/policy/compiled.ts';
import type { CacheState } from '../../src/policy/node-report.ts';
import { nodeReport, noTotals } from '../../src/policy/node-report.ts';
import { rootfsKeys, unpackHome } from '../fixtures/homes.ts';
import { noLimits, noProtection } from '../../src/policy/limits.ts';

const minute = 60_000;
const { signal } = new AbortController();

let dir: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'cachepolicy-worker-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

interface WorkerOptions {
  mode?: CompiledPolicy['mode'];
  accepted?: boolean;
  nextDueAtMs?: (afterMs: number) => number | null;
  previous?: CacheState;
  home?: string;
  maxEntries?: number;
  mostAtOnce?: number;
  settleMs?: number;
  room?: Room;
  witness?: Witness;
}

/** A worker of a policy for a fresh home with eight entries, one of them in use; three may stay. */
function aWorker(options: WorkerOptions = {}): CacheWorker {
  const { mode = 'Enforce', nextDueAtMs = () => null, accepted = true, previous, home = unpackHome(dir), maxEntries = 3, mostAtOnce, settleMs = 20, room, witness } = options;
  const spec = {
    name: 'rootfs', format: 'a3s-rootfs', root: join(home, 'cache/rootfs'), home,
    limits: { ...noLimits, maxEntries }, protect: { ...noProtection, minIdleMs: 5_000 },
  } as const;
  const policy: CompiledPolicy = { formatVersion: 1, policy: { name: 'p', uid: 'u', generation: 1 }, accepted, mode, schedule: null, caches: [spec] };
  return new CacheWorker({ policy, spec, allowedRoots: [dir], mostAtOnce, room, witness, settleMs, restMs: 0, log: silentLog, nextDueAtMs, previous, knownTotals: undefined });
}

const entries = (worker: CacheWorker) => worker.state.look?.stats.entryCount;

it('adds to what another worker in the same cache has written since it started, and takes nothing of that for its own', async () => {
  const home = unpackHome(dir);
  using worker = aWorker({ home });
  using other = aWorker({ home, maxEntries: 1 });
  const evicted = () => readMemory({ root: join(home, 'cache/rootfs'), format: 'a3s-rootfs', allowedRoots: [dir] })?.totals.evictedEntries;
  // Both know the cache as it was before either evicts.
  using held = openRoot(join(home, 'cache/rootfs'), { allowedRoots: [dir] });
  {
    using _busy = lockStore(held);
    await other.tick(Date.now(), signal);
  }
  await worker.tick(Date.now(), signal);
  expect(evicted()).toBe(5);
  await other.tick(Date.now() + minute, signal);
  expect([evicted(), worker.state.totals.evictedEntries, other.state.totals.evictedEntries]).toEqual([7, 5, 2]);
});

it('keeps no rows of what an eviction left, and those of the last look', async () => {
  const reports: PassReport[] = [];
  using worker = aWorker({ witness: { passed: (_, report) => void reports.push(report), purged: () => {} } });
  await worker.tick(Date.now(), signal);
  expect(reports.map(({ before, after, evicted }) => [before.entries.length, after.entries.length, evicted.length])).toEqual([[8, 0, 5]]);
  await worker.tick(Date.now() + minute, signal);
  expect(reports.at(-1)).toMatchObject({ before: { entries: { length: 3 } }, after: { entries: { length: 3 } } });
});

it('goes on at its next turns where one pass may not take out all', async () => {
  using worker = aWorker({ mostAtOnce: 2 });
  const left: (number | undefined)[] = [];
  for (let turn = 0; turn < 4; turn += 1) {
    await worker.tick(Date.now() + turn * 5_000, signal);
    left.push(entries(worker));
  }
  expect(left).toEqual([6, 4, 3, 3]);
});

it('deletes what has rested between passes that follow each other at once', async () => {
  const home = unpackHome(dir);
  // A pass takes longer than the least time between two.
  using worker = aWorker({ home, mostAtOnce: 2, settleMs: 700 });
  const resting: number[] = [];
  for (const aheadMs of [0, 1_000, 2_000]) {
    await worker.tick(Date.now() + aheadMs, signal);
    resting.push(readdirSync(join(home, 'cache/rootfs/.cachepolicy/trash')).length);
  }
  expect([entries(worker), ...resting]).toEqual([3, 2, 2, 1]);
});

it('says of a directory that is more than it can keep in mind that it is, and takes it up when it is not', async () => {
  const home = unpackHome(dir);
  const root = join(home, 'cache/rootfs');
  using worker = aWorker({ home, room: new Room(8) });
  mkdirSync(join(root, 'f'.repeat(64)));
  await worker.tick(Date.now(), signal);
  expect(worker.state).toMatchObject({ look: undefined, lastRun: undefined, problem: { reason: 'RootCrowded', message: expect.stringContaining(`${root} has too many entries`) } });
  rmdirSync(join(root, 'f'.repeat(64)));
  await worker.tick(Date.now() + minute, signal);
  expect(worker.state).toMatchObject({ problem: undefined, look: { stats: { entryCount: 3 } } });
});

it('evicts nothing from a directory that turns into a known layout, and says so with what was evicted before', async () => {
  const root = join(dir, 'models');
  for (const name of ['a', 'b', 'c', 'd']) mkdirSync(join(root, name), { recursive: true });
  const spec = { name: 'models', format: 'directory', root, home: null, limits: { ...noLimits, maxEntries: 2 }, protect: { ...noProtection, minIdleMs: 0 } } as const;
  const policy: CompiledPolicy = { formatVersion: 1, policy: { name: 'p', uid: 'u', generation: 1 }, accepted: true, mode: 'Enforce', schedule: null, caches: [spec] };
  using worker = new CacheWorker({ policy, spec, allowedRoots: [dir], settleMs: 0, restMs: 0, log: silentLog, nextDueAtMs: () => null, previous: undefined, knownTotals: undefined });
  await worker.tick(Date.now(), signal);
  expect([worker.state.problem, entries(worker)]).toEqual([undefined, 2]);
  for (const name of ['blobs', 'manifests', 'x']) mkdirSync(join(root, name));
  await worker.tick(Date.now() + minute, signal);
  expect(worker.state.problem).toMatchObject({ reason: 'RootKnownLayout', message: expect.stringMatching(/is the model store of Ollama, .*; until now it was governed as a directory of entries, and 2 were evicted/) });
  expect(readdirSync(root).filter((name) => !name.startsWith('.'))).toHaveLength(5);
  // The condition of the policy, and the Event that tells of it, carry the words of the node.
  expect(nodeReport([worker.state]).findings.find(({ type }) => type === 'Degraded')).toMatchObject({ status: 'True', message: expect.stringContaining('2 were evicted') });
});

describe('a worker with a schedule', () => {
  it('goes on within the run where one pass may not take out all, and then waits for the next', async () => {
    const start = Date.now();
    using worker = aWorker({ mostAtOnce: 2, nextDueAtMs: (afterMs) => (afterMs < start + minute ? start + minute : start + 60 * minute) });
    const left: (number | undefined)[] = [];
    for (const seconds of [0, 60, 61, 62, 63]) {
      await worker.tick(start + seconds * 1_000, signal);
      left.push(entries(worker));
    }
    expect(left).toEqual([8, 6, 4, 3, 3]);
    expect(worker.state.lastRun).toMatchObject({ trigger: 'Schedule', evictedEntries: 1 });
  });

  it('looks before it is due, enforces when it is, and asks for the next time then', async () => {
    const start = Date.now();
    const asked: number[] = [];
    using worker = aWorker({
      nextDueAtMs: (afterMs) => {
        asked.push(afterMs);
        return afterMs < start + minute ? start + minute : start + 10 * minute;
      },
    });
    expect(worker.hasLooked).toBe(false);
    expect(await worker.tick(start, signal)).toBe(true);
    expect([worker.hasLooked, entries(worker), worker.state.lastRun]).toEqual([true, 8, undefined]);
    await worker.tick(start + minute - 1, signal);
    expect(entries(worker)).toBe(8);
    await worker.tick(start + minute, signal);
    expect(worker.state).toMatchObject({ look: { stats: { entryCount: 3 } }, lastRun: { trigger: 'Schedule', evictedEntries: 5 } });
    expect(asked.at(-1)).toBe(start + minute);
    await worker.tick(start + 2 * minute, signal);
    expect(worker.state.lastRun).toMatchObject({ evictedEntries: 5 });
  });

  it('enforces nothing in mode DryRun, though it is due', async () => {
    const start = Date.now();
    using worker = aWorker({ mode: 'DryRun', nextDueAtMs: () => start });
    for (const later of [0, minute, 2 * minute]) await worker.tick(start + later, signal);
    expect([entries(worker), worker.state.lastRun]).toEqual([8, undefined]);
  });
});

describe('a run that is due and cannot work', () => {
  /** Nobody knows what a box uses that says it so. */
  const spoil = () => writeFileSync(join(dir, 'home/boxes/box-1/.rootfs-cache-key'), 'no key');
  const mend = () => writeFileSync(join(dir, 'home/boxes/box-1/.rootfs-cache-key'), rootfsKeys['redis:8']);

  it('is tried again until it can', async () => {
    const start = Date.now() + minute;
    using worker = aWorker({ nextDueAtMs: (afterMs) => (afterMs < start ? start : start + 1000 * minute) });
    spoil();
    await worker.tick(start, signal);
    expect(worker.state).toMatchObject({ problem: { reason: 'HoldsUnreadable' }, lastRun: { evictedEntries: 0 } });
    mend();
    await worker.tick(start + minute, signal);
    expect(worker.state).toMatchObject({ problem: undefined, lastRun: { trigger: 'Schedule', evictedEntries: 5 } });
  });

  it('is not made up for later, outside its hours', async () => {
    const start = Date.now() + minute;
    using worker = aWorker({ nextDueAtMs: (afterMs) => (afterMs < start ? start : start + 1000 * minute) });
    spoil();
    await worker.tick(start, signal);
    mend();
    await worker.tick(start + 11 * minute, signal);
    expect(worker.state).toMatchObject({ problem: undefined, look: { wouldEvict: { entries: 5 } }, lastRun: { evictedEntries: 0 } });
  });

  it('does not fire hours late where the directory was missing when it was due', async () => {
    const start = Date.now() + minute;
    using worker = aWorker({ nextDueAtMs: (afterMs) => (afterMs < start ? start : start + 1000 * minute) });
    renameSync(join(dir, 'home'), join(dir, 'away'));
    await worker.tick(start, signal);
    renameSync(join(dir, 'away'), join(dir, 'home'));
    await worker.tick(start + 600 * minute, signal);
    expect(worker.state).toMatchObject({ look: { stats: { entryCount: 8 } }, lastRun: undefined });
  });
});

describe('a worker that may not enforce', () => {
  it.each([['in mode Suspended', { mode: 'Suspended' }], ['in mode DryRun', { mode: 'DryRun' }], ['of a policy that is not accepted', { accepted: false }]] as const)(
    'deletes nothing that another evicted, %s', async (_, options) => {
      using before = aWorker();
      await before.tick(Date.now(), signal);
      const trash = () => readdirSync(join(dir, 'home/cache/rootfs/.cachepolicy/trash'));
      const resting = trash();
      using worker = aWorker({ ...options, home: join(dir, 'home') });
      for (const later of [0, 1, 2, 3]) await worker.tick(Date.now() + later * minute, signal);
      expect(trash()).toEqual(resting);
      expect(resting).toHaveLength(5);
    });
});

describe('what a worker has counted', () => {
  it('is kept when the policy changes while the directory is missing', async () => {
    using before = aWorker();
    await before.tick(Date.now(), signal);
    const home = join(dir, 'home');
    renameSync(home, join(dir, 'away'));
    using between = aWorker({ home, previous: before.state });
    await between.tick(Date.now() + minute, signal);
    expect(between.state).toMatchObject({ problem: { reason: 'RootMissing' }, totals: { evictedEntries: 5 } });
    renameSync(join(dir, 'away'), home);
    // What was told meanwhile was nothing, as where an agent starts with the directory missing.
    using after = aWorker({ home, previous: { ...between.state, totals: noTotals } });
    expect(after.state.totals.evictedEntries).toBe(0);
    await after.tick(Date.now() + 2 * minute, signal);
    expect(after.state.totals.evictedEntries).toBe(5);
  });
});

describe('a worker beside another process that evicts', () => {
  function lockedOut(): Disposable {
    using root = openRoot(join(dir, 'home/cache/rootfs'), { allowedRoots: [dir] });
    return lockStore(root);
  }

  it('goes on reporting, says so only when it does not end, and catches up when it does', async () => {
    const start = Date.now();
    using worker = aWorker();
    const lock = lockedOut();
    await worker.tick(start, signal);
    expect(worker.state).toMatchObject({ look: { stats: { entryCount: 8 }, wouldEvict: { entries: 5 } }, lastRun: undefined, problem: undefined });
    await worker.tick(start + 2 * minute, signal);
    expect(worker.state).toMatchObject({ look: { stats: { entryCount: 8 } }, problem: { reason: 'LockBusy' } });
    lock[Symbol.dispose]();
    await worker.tick(start + 3 * minute, signal);
    expect(worker.state).toMatchObject({ look: { stats: { entryCount: 3 } }, problem: undefined, lastRun: { evictedEntries: 5 } });
  });

  it('does not lose a run that was due meanwhile', async () => {
    const start = Date.now();
    using worker = aWorker({ nextDueAtMs: (afterMs) => (afterMs < start + minute ? start + minute : start + 100 * minute) });
    const lock = lockedOut();
    await worker.tick(start + minute, signal);
    expect(worker.state.lastRun).toBeUndefined();
    lock[Symbol.dispose]();
    await worker.tick(start + minute + 5_000, signal);
    expect(worker.state.lastRun).toMatchObject({ trigger: 'Schedule', evictedEntries: 5 });
  });
});

describe('a worker without a schedule', () => {
  /** Lets time pass until the worker has nothing left to do. */
  async function rests(worker: CacheWorker): Promise<void> {
    while (await worker.tick(Date.now() + 2_000, signal));
  }

  it('deletes what it evicted, and then does nothing while nothing happens', async () => {
    using worker = aWorker();
    await worker.tick(Date.now(), signal);
    const trash = () => readdirSync(join(dir, 'home/cache/rootfs/.cachepolicy/trash'));
    expect(trash()).toHaveLength(5);
    await rests(worker);
    expect(trash()).toEqual([]);
    expect(await worker.tick(Date.now() + 4_000, signal)).toBe(false);
    expect(worker.state).toMatchObject({ look: { stats: { entryCount: 3 }, leftovers: 0 }, totals: { evictedEntries: 5 } });
  });

  it('sees what came while it was evicting', async () => {
    const spare = join(unpackHome(join(dir, 'spare')), 'cache/rootfs');
    using worker = aWorker();
    const root = join(dir, 'home/cache/rootfs');
    const evicting = worker.tick(Date.now(), signal);
    while (existsSync(join(root, `${rootfsKeys['postgres:17']}.meta.json`))) await new Promise((resolve) => setImmediate(resolve));
    renameSync(join(spare, rootfsKeys['python:3.14-slim']), join(root, 'f'.repeat(64)));
    await evicting;
    await worker.tick(Date.now() + 2_000, signal);
    expect(worker.state.look?.leftovers).toBe(1);
  });

  it('has nothing to delete in a cache that is not there', async () => {
    using worker = aWorker();
    rmSync(join(dir, 'home'), { recursive: true });
    expect(await worker.tick(Date.now(), signal)).toBe(true);
    expect(await worker.tick(Date.now() + 2_000, signal)).toBe(false);
  });

  it('looks again after five seconds at a cache that fails', async () => {
    using worker = aWorker();
    await worker.tick(Date.now(), signal);
    await rests(worker);
    rmSync(join(dir, 'home'), { recursive: true });
    const ticked: boolean[] = [];
    await worker.tick(Date.now() + 2_000, signal);
    expect(worker.state.problem?.reason).toBe('RootMissing');
    for (const laterMs of [4_000, 5_100]) ticked.push(await worker.tick(Date.now() + laterMs, signal));
    expect(ticked).toEqual([false, true]);
  });
});

import { execFileSync } from 'node:child_process';
import { closeSync, openSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { CacheWorker } from '../../src/agent/cache-worker.ts';
import { planTogether } from '../../src/cache/free-space.ts';
import { FreeSpaceWatch } from '../../src/agent/free-space-watch.ts';
import { runLoop } from '../../src/agent/loop.ts';
import type { Log } from '../../src/observe/log.ts';
import { silentLog } from '../../src/observe/log.ts';
import type { CompiledPolicy } from '../../src/policy/compiled.ts';
import type { Limits } from '../../src/policy/limits.ts';
import { noLimits, noProtection } from '../../src/policy/limits.ts';
import { nodeReport } from '../../src/policy/node-report.ts';
import { largeEntry, Mi, SmallDisk } from '../cache/full-disk.ts';
import type { StoreOnDisk } from '../cache/store.ts';
import { key } from '../cache/store.ts';
import { asRoot } from '../disk/scratch.ts';

const { signal } = new AbortController();
const hour = 3_600_000;

afterEach(() => void vi.useRealTimers());

/** Only the clock: what waits for the disk waits in truth. */
function stepClock(): void {
  vi.useFakeTimers({ toFake: ['Date'] });
}

interface Rig {
  readonly watch: FreeSpaceWatch;
  readonly workers: readonly CacheWorker[];
  /** What was said, as levels and words. */
  readonly said: string[];
}

/** Workers of one policy that have had their first look; unless told otherwise a schedule is far away; evicted entries would rest for an hour. */
async function aRig(stores: readonly StoreOnDisk[], limits: Partial<Limits>, { mode = 'Enforce', minIdleMs = 0, isScheduled = true, beforeFirstLook = () => undefined }: { mode?: CompiledPolicy['mode']; minIdleMs?: number; isScheduled?: boolean; beforeFirstLook?: () => void } = {}): Promise<Rig> {
  const caches = stores.map((store, i) => ({ ...store.spec(limits), name: `cache-${i}`, limits: { ...noLimits, ...limits }, protect: { ...noProtection, minIdleMs } }));
  const policy: CompiledPolicy = { formatVersion: 1, policy: { name: 'p', uid: 'u', generation: 1 }, accepted: true, mode, schedule: null, caches };
  const said: string[] = [];
  const note = (level: string) => (_: unknown, words: string) => void said.push(`${level}: ${words}`);
  const log = { ...silentLog, warn: note('warn'), info: note('info') } as Log;
  const workers = caches.map((spec) => new CacheWorker({
    policy, spec, allowedRoots: stores.map(({ home }) => join(home, '..')), settleMs: 1, restMs: hour, log, nextDueAtMs: (afterMs) => (isScheduled ? afterMs + 1_000 * hour : null), previous: undefined, knownTotals: undefined,
  }));
  onTestFinished(() => workers.forEach((worker) => worker[Symbol.dispose]()));
  // The reserve takes its MiB before anything is measured.
  for (const store of stores) await store.cache().pass({ mode: 'Enforce', trigger: 'Manual' });
  beforeFirstLook();
  for (const worker of workers) await worker.tick(Date.now(), signal);
  return { watch: new FreeSpaceWatch(workers, { log }), workers, said };
}

const letters = 'abcdefghijkl';

/** Entries of 1 MiB, the first letter least recently used. */
function filled(store: StoreOnDisk, some = letters): StoreOnDisk {
  for (const letter of some) largeEntry(store, key(letter), { usedSecondsAgo: 10_000 - 100 * letters.indexOf(letter) });
  return store;
}

const lettersIn = (store: StoreOnDisk) => store.names.filter((name) => name.length === 64).map((name) => name[0]).join('');
const conditions = (workers: readonly CacheWorker[]) => nodeReport(workers.map(({ state }) => state)).findings.map(({ type, status, reason }) => `${type}=${status} ${reason}`);

describe.runIf(asRoot)('a filesystem that has less free than a policy wants', () => {
  it('gets it back at once, between scheduled runs and without a rest, by the entries used least recently in any of its caches', async () => {
    const disk = new SmallDisk('size=18m');
    const stores = [filled(disk.store('one'), 'acegik'), filled(disk.store('two'), 'bdfhjl')];
    const { watch, workers } = await aRig(stores, { minFree: { count: 8 * Mi }, maxEntries: 1 });
    expect(disk.availableBytes).toBeLessThan(4 * Mi);
    expect(await watch.tick(signal)).toBe(true);
    expect(disk.availableBytes).toBeGreaterThanOrEqual(8 * Mi);
    // Twelve entries, two reserves and what else is there fill more than 14 of 18 MiB: five go, and none for the limit of one, whose time has not come.
    expect(stores.map(lettersIn)).toEqual(['gik', 'fhjl']);
    expect(stores.map(({ trash }) => trash)).toEqual([[], []]);
    expect(workers.map(({ state }) => state.lastRun?.trigger)).toEqual(['FreeSpace', 'FreeSpace']);
    expect(workers.map(({ state }) => state.totals.evictedEntries)).toEqual([3, 2]);
    expect(await watch.tick(signal)).toBe(false);
  });

  it('goes further by the headroom, and then rests until it is short again', async () => {
    const disk = new SmallDisk('size=17m');
    const store = filled(disk.store());
    const { watch } = await aRig([store], { minFree: { count: 4 * Mi }, headroomPercent: 50 });
    // More than 13 MiB are in use, so less than 4 are free; and 6 are, once it has been short.
    await watch.tick(signal);
    expect(lettersIn(store)).toBe('defghijkl');
    expect(await watch.tick(signal)).toBe(false);
    largeEntry(store, key('m'));
    expect(await watch.tick(signal)).toBe(false);
  });

  it('shows in mode DryRun what would go, once a minute, and evicts nothing', async () => {
    stepClock();
    const disk = new SmallDisk('size=17m');
    const store = filled(disk.store());
    const { watch, workers: [worker] } = await aRig([store], { minFree: { count: 8 * Mi } }, { mode: 'DryRun' });
    expect(await watch.tick(signal)).toBe(true);
    expect(await watch.tick(signal)).toBe(false);
    await worker!.tick(Date.now() + 10_000, signal);
    expect(worker!.state.look).toMatchObject({ wouldEvict: { entries: 5, bytes: 5 * Mi }, stats: { entryCount: 12 } });
    largeEntry(store, key('m'));
    expect(await watch.tick(signal)).toBe(false);
    vi.setSystemTime(Date.now() + 60_000);
    expect(await watch.tick(signal)).toBe(true);
    expect(lettersIn(store)).toBe(`${letters}m`);
  });

  it('evicts nothing where what rests in the trash is enough', async () => {
    const disk = new SmallDisk('size=17m');
    const store = filled(disk.store());
    const { watch } = await aRig([store], { minFree: { count: 6 * Mi } });
    using other = store.cache({ maxEntries: 8 }, { restMs: hour });
    await other.pass({ mode: 'Enforce', trigger: 'Manual' });
    expect([lettersIn(store), store.trash.length]).toEqual(['efghijkl', 4]);
    await watch.tick(signal);
    expect([lettersIn(store), store.trash.length]).toEqual(['efghijkl', 0]);
    expect(disk.availableBytes).toBeGreaterThanOrEqual(6 * Mi);
  });
});

describe.runIf(asRoot)('several filesystems', () => {
  it('wait for none of them', async () => {
    const [slow, quick] = [new SmallDisk('size=17m'), new SmallDisk('size=17m')];
    const stores = [slow, quick].map((disk) => filled(disk.store()));
    const { watch, workers: [held] } = await aRig(stores, { minFree: { count: 8 * Mi } });
    const released = Promise.withResolvers<void>();
    const { purge } = held!;
    held!.purge = async (until) => {
      await released.promise;
      await purge.call(held, until);
    };
    const stop = new AbortController();
    let changes = 0;
    const running = watch.run(stop.signal, () => void (changes += 1));
    await vi.waitFor(() => expect([quick.availableBytes >= 8 * Mi, changes >= 1]).toEqual([true, true]), { timeout: 20_000 });
    expect(stores.map(lettersIn)).toEqual([letters, 'fghijkl']);
    released.resolve();
    await vi.waitFor(() => expect([slow.availableBytes >= 8 * Mi, changes >= 2]).toEqual([true, true]), { timeout: 20_000 });
    stop.abort();
    await running;
    expect(stores.map(lettersIn)).toEqual(['fghijkl', 'fghijkl']);
  });

  it('are all left by what is a bug in one', async () => {
    const stores = [new SmallDisk('size=17m'), new SmallDisk('size=17m')].map((disk) => filled(disk.store()));
    const { watch, workers: [broken] } = await aRig(stores, { minFree: { count: 8 * Mi } });
    broken!.draft = () => Promise.reject(new TypeError('a bug'));
    await expect(watch.run(signal, () => undefined)).rejects.toThrow('a bug');
  });
});

describe.runIf(asRoot)('a filesystem that stays short', () => {
  it('because all is in use is said to be, once, and left alone for a while', async () => {
    stepClock();
    const disk = new SmallDisk('size=9m');
    const store = filled(disk.store(), 'abcdef');
    for (const letter of 'abcdef') store.box(`box-${letter}`, key(letter));
    const { watch, workers, said } = await aRig([store], { minFree: { count: 4 * Mi } });
    said.length = 0;
    for (let i = 0; i < 5; i += 1) {
      await watch.tick(signal);
      await workers[0]!.tick(Date.now() + 2_000, signal);
    }
    expect(conditions(workers)).toEqual(['Ready=False OverLimit', 'LimitUnreachable=True HeldInUse']);
    expect(said.filter((words) => words.startsWith('warn'))).toEqual(['warn: nothing more may go, and the filesystem has less free than it has to']);
    expect(lettersIn(store)).toBe('abcdef');
  });

  it('because what was evicted gives no space back is told apart, after two tries in vain, and all is well again when it does', async () => {
    stepClock();
    const disk = new SmallDisk('size=9m');
    const store = filled(disk.store(), 'abcdef');
    const { watch, workers, said } = await aRig([store], { minFree: { count: 4 * Mi } });
    const open = [...'abcdef'].map((letter) => openSync(join(store.root, key(letter), 'files/0'), 'r'));
    // What is deleted and still open takes its space.
    for (let i = 0; i < 4; i += 1) {
      await watch.tick(signal);
      await workers[0]!.tick(Date.now() + 2_000, signal);
    }
    expect(conditions(workers)).toEqual(['Ready=False OverLimit', 'LimitUnreachable=True NotReclaimable']);
    expect(said.filter((words) => words.includes('nothing more may go'))).toHaveLength(1);
    // Two tries took what they wanted of it; a third has to wait.
    const left = lettersIn(store);
    expect(left.length).toBeLessThan(6);
    open.forEach(closeSync);
    vi.setSystemTime(Date.now() + 31_000);
    await watch.tick(signal);
    await workers[0]!.tick(Date.now() + 2_000, signal);
    expect(conditions(workers)).toEqual(['Ready=True Ready']);
    expect(lettersIn(store)).toBe(left);
    expect(said.at(-1)).toBe('info: the filesystem can be kept within its limits again');
  });

  it.each(['Enforce', 'DryRun'] as const)('because it is smaller than what is wanted loses nothing for that, neither entries nor what rests, and is told what to do: in mode %s', async (mode) => {
    const disk = new SmallDisk('size=17m');
    const store = filled(disk.store());
    const { watch, workers, said } = await aRig([store], { minFree: { count: 18 * Mi }, maxEntries: mode === 'DryRun' ? null : 8 }, { mode, isScheduled: false });
    const kept = mode === 'DryRun' ? letters : 'efghijkl';
    for (let i = 1; i <= 3; i += 1) {
      await watch.tick(signal);
      await workers[0]!.tick(Date.now() + i * 10_000, signal);
    }
    expect([lettersIn(store), store.trash.length]).toEqual([kept, 12 - kept.length]);
    const message = 'minFree wants 18Mi to be free where at most 17Mi can be: nothing is evicted for it; lower it';
    const finding = nodeReport(workers.map(({ state }) => state)).findings.find(({ type }) => type === 'LimitUnreachable');
    expect(finding).toMatchObject({ status: 'True', reason: 'BeyondCapacity', message: expect.stringContaining(`cache-0: ${message}`) });
    expect(said.filter((words) => words === `warn: ${message}`)).toHaveLength(mode === 'DryRun' ? 0 : 1);
    execFileSync('mount', ['-o', 'remount,size=64m', disk.dir]);
    await watch.tick(signal);
    await workers[0]!.tick(Date.now() + 60_000, signal);
    expect(conditions(workers)).toEqual(['Ready=True Ready']);
  });

  it('because something else fills it, is not held by anybody', async () => {
    const disk = new SmallDisk('size=9m');
    const store = disk.store();
    largeEntry(disk.store('elsewhere'), key('z'), { sizeBytes: 6 * Mi });
    const { watch, workers } = await aRig([store], { minFree: { count: 4 * Mi } });
    await watch.tick(signal);
    await workers[0]!.tick(Date.now() + 2_000, signal);
    expect(conditions(workers)).toEqual(['Ready=False OverLimit', 'LimitUnreachable=True NotReclaimable']);
    rmSync(join(disk.dir, 'elsewhere'), { recursive: true });
    expect(await watch.tick(signal)).toBe(true);
    await workers[0]!.tick(Date.now() + 2_000, signal);
    expect(conditions(workers)).toEqual(['Ready=True Ready']);
  });

  it('for what was used just now is tried again as soon as that may go', async () => {
    stepClock();
    const disk = new SmallDisk('size=9m');
    const store = disk.store();
    for (const letter of 'abcdef') largeEntry(store, key(letter), { usedSecondsAgo: 0 });
    const { watch } = await aRig([store], { minFree: { count: 4 * Mi } }, { minIdleMs: 5_000 });
    await watch.tick(signal);
    expect(lettersIn(store)).toBe('abcdef');
    vi.setSystemTime(Date.now() + 6_000);
    await watch.tick(signal);
    expect(disk.availableBytes).toBeGreaterThanOrEqual(4 * Mi);
  });
});

describe.runIf(asRoot)('a cache', () => {
  it('does one thing after another: what free space wants waits for a pass that is under way', async () => {
    const disk = new SmallDisk('size=17m');
    const store = filled(disk.store(), 'abcd');
    const { workers: [worker] } = await aRig([store], { minFree: { count: Mi } });
    const { capacityBytes } = worker!.filesystem();
    const filesystem = { device: 'd', capacityBytes, availableBytes: 0 };
    const planned = (await planTogether({ filesystem, caches: [worker!] })).shares.get(worker!)!.outlook;
    // What the first has evicted is not there for the second, which leaves everything else alone.
    expect(await Promise.all([worker!.evict(planned), worker!.tick(Date.now() + 10_000, signal), worker!.evict(planned)])).toEqual([{ entries: 1, bytes: Mi }, true, { entries: 0, bytes: 0 }]);
    expect(lettersIn(store)).toBe('bcd');
    expect(worker!.state).toMatchObject({ problem: undefined, totals: { evictedEntries: 1, raced: 1 } });
  });
});

describe.runIf(asRoot)('a cache whose directory comes late', () => {
  it('loses to its first passes nothing that free space wanted of it before', async () => {
    const disk = new SmallDisk('size=17m');
    const store = filled(disk.store());
    const away = `${store.root}.away`;
    const { watch, workers: [worker] } = await aRig([store], { minFree: { count: 8 * Mi } }, { isScheduled: false, beforeFirstLook: () => renameSync(store.root, away) });
    expect(worker!.state.problem?.reason).toBe('RootMissing');
    renameSync(away, store.root);
    // Seen before the worker knows what was enforced here.
    expect(await watch.tick(signal)).toBe(true);
    for (let i = 1; i <= 3; i += 1) await worker!.tick(Date.now() + i * 10_000, signal);
    expect(lettersIn(store)).toBe(letters);
    while (await watch.tick(signal));
    for (let i = 4; i <= 6; i += 1) await worker!.tick(Date.now() + i * 10_000, signal);
    expect(lettersIn(store)).toBe('fghijkl');
    expect(conditions([worker!])).toEqual(['Ready=True Ready']);
  });
});

describe.runIf(asRoot)('a cache of which something was told before it could be enforced', () => {
  it('is told of it no more once the filesystem has enough', async () => {
    const disk = new SmallDisk('size=9m');
    const store = disk.store();
    largeEntry(disk.store('elsewhere'), key('z'), { sizeBytes: 6 * Mi });
    const away = `${store.root}.away`;
    const { watch, workers } = await aRig([store], { minFree: { count: 4 * Mi } }, { isScheduled: false, beforeFirstLook: () => renameSync(store.root, away) });
    renameSync(away, store.root);
    await watch.tick(signal);
    await workers[0]!.tick(Date.now() + 10_000, signal);
    expect(conditions(workers)).toEqual(['Ready=False OverLimit', 'LimitUnreachable=True NotReclaimable']);
    rmSync(join(disk.dir, 'elsewhere'), { recursive: true });
    expect(await watch.tick(signal)).toBe(true);
    await workers[0]!.tick(Date.now() + 20_000, signal);
    expect(conditions(workers)).toEqual(['Ready=True Ready']);
  });
});

describe.runIf(asRoot)('an agent', () => {
  it('watches the filesystems beside its caches', async () => {
    const disk = new SmallDisk('size=17m');
    const store = filled(disk.store());
    const spec = { ...store.spec({ minFree: { count: 8 * Mi } }), protect: noProtection };
    const policy: CompiledPolicy = {
      formatVersion: 1, policy: { name: 'p', uid: 'u', generation: 1 }, accepted: true, mode: 'Enforce', schedule: { cron: '0 0 1 1 *', timeZone: 'UTC', jitterMs: 0 }, caches: [spec],
    };
    const stop = new AbortController();
    const source = { follow: async (until: AbortSignal, onPolicy: (policy: CompiledPolicy) => void) => (onPolicy(policy), await new Promise<void>((resolve) => until.addEventListener('abort', () => resolve()))) };
    const options = { allowedRoots: [disk.dir], log: silentLog, settleMs: 1, restMs: hour, tickMs: 20, freeSpaceEveryMs: 20, nodeName: 'node-1' };
    const running = runLoop(source, { report: () => undefined }, stop.signal, options);
    await vi.waitFor(() => expect(disk.availableBytes).toBeGreaterThanOrEqual(8 * Mi), { timeout: 20_000 });
    stop.abort();
    await running;
    expect(letters.endsWith(lettersIn(store))).toBe(true);
  }, 30_000);
});

describe.runIf(asRoot)('a filesystem that runs out of inodes', () => {
  it('is never short of them where it does not count them', async () => {
    const disk = new SmallDisk('size=16m,nr_inodes=0');
    const store = filled(disk.store(), 'abc');
    const { watch, workers } = await aRig([store], { minFreeInodes: { percent: 99 } });
    expect(workers[0]!.filesystem()).not.toHaveProperty('inodes');
    expect(await watch.tick(signal)).toBe(false);
    expect(workers[0]!.state.look?.filesystem).toEqual({ capacityBytes: 16 * Mi, availableBytes: expect.any(Number) });
    expect(lettersIn(store)).toBe('abc');
  });

  it('gets them back in steps, and loses no more entries than a step too many', async () => {
    const disk = new SmallDisk('size=64m,nr_inodes=600');
    const store = disk.store();
    for (const letter of letters) largeEntry(store, key(letter), { sizeBytes: 4096, usedSecondsAgo: 10_000 - 100 * letters.indexOf(letter), files: 30 });
    const { watch } = await aRig([store], { minFreeInodes: { percent: 50 } });
    expect(disk.inodesFree).toBeLessThan(200);
    expect(await watch.tick(signal)).toBe(true);
    while (await watch.tick(signal));
    expect(disk.inodesFree).toBeGreaterThanOrEqual(300);
    // About 35 each: those that go are the least recently used, and two at once at most.
    expect(disk.inodesFree).toBeLessThan(300 + 3 * 36);
    expect(letters.endsWith(lettersIn(store))).toBe(true);
  });
});

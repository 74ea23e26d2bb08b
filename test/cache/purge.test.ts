import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmdirSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { storeFormats } from '../../src/cache/formats/registry.ts';
import type { CacheOptions } from '../../src/cache/pass-options.ts';
import type { PassProgress } from '../../src/cache/report.ts';
import { itemsIn } from '../../src/cache/trash.ts';
import { diskError, errno } from '../../src/disk/disk-error.ts';
import { Slices } from '../../src/disk/slices.ts';
import { asRoot, pin } from '../disk/scratch.ts';
import { SteppedClock } from './stepped-clock.ts';
import { key, lockStore, StoreOnDisk } from './store.ts';

const [a, b, c] = [key('a'), key('b'), key('c')];
const enforce = { mode: 'Enforce', trigger: 'Manual' } as const;

/** a and b are evicted and rest for a minute; c stayed. */
async function evicted() {
  const store = new StoreOnDisk().entry(a, { usedSecondsAgo: 300, sizeBytes: 11 }).entry(b, { usedSecondsAgo: 200, sizeBytes: 22 }).entry(c, { usedSecondsAgo: 100 });
  const clock = new SteppedClock();
  // Files get their times from the system: 2 s are more than the two can be apart.
  clock.advance(2_000);
  const cache = store.cache({ maxEntries: 1 }, { clock, restMs: 60_000 });
  const report = await cache.pass(enforce);
  return { store, clock, cache, report };
}

test('what was evicted rests, and goes when its time has come', async () => {
  const { store, clock, cache, report } = await evicted();
  expect((report.purgeDueAtMs ?? 0) - clock.now()).toBeGreaterThan(50_000);
  expect(await cache.purge()).toMatchObject({ purgedEntries: 0, purgedBytes: 0 });
  expect(store.trash).toHaveLength(2);
  clock.advance((report.purgeDueAtMs ?? 0) - clock.now() - 1);
  expect(await cache.purge()).toMatchObject({ purgedEntries: 0, nextDueAtMs: clock.now() + 1 });
  clock.advance(2_000);
  const progress: PassProgress[] = [];
  expect(await cache.purge({ onProgress: (at) => progress.push(at) })).toEqual({ purgedEntries: 2, purgedBytes: 33, revived: 0, revivedNames: [], nextDueAtMs: null, errors: [] });
  expect(progress).toEqual([{ step: 'Purge', done: 0, total: 2 }, { step: 'Purge', done: 1, total: 2 }]);
  expect(store.trash).toEqual([]);
});

test('what came into use while it rested goes back instead, directory first and metadata second', async () => {
  const { store, clock, cache } = await evicted();
  store.box('new', a);
  clock.advance(70_000);
  expect(await cache.purge()).toMatchObject({ purgedEntries: 1, purgedBytes: 22, revived: 1, revivedNames: [a], nextDueAtMs: null });
  expect([store.isServed(a), store.isWhole(a)]).toEqual([true, true]);
  expect(existsSync(join(store.root, b))).toBe(false);
});

test('it goes back at once, whether it has rested or not', async () => {
  const { store, cache } = await evicted();
  store.box('new', a);
  await cache.purge();
  expect([store.isServed(a), store.isWhole(a)]).toEqual([true, true]);
});

test('what rests goes at once where free space is short, and still not what came into use', async () => {
  const { store, cache } = await evicted();
  store.box('new', a);
  expect(await cache.restingBytes()).toBe(22);
  expect(await cache.purge({ now: true })).toMatchObject({ purgedEntries: 1, purgedBytes: 22, revived: 1, nextDueAtMs: null });
  expect([store.isServed(a), store.isWhole(a), store.trash]).toEqual([true, true, []]);
  expect(await cache.restingBytes()).toBe(0);
});

test('so it does at the start of a pass', async () => {
  const { store, clock } = await evicted();
  store.box('new', a);
  const { after, revived } = await store.cache({}, { clock, restMs: 60_000 }).pass(enforce);
  expect(revived).toBe(1);
  expect([...after.entries].map((entry) => entry.key).toSorted()).toEqual([a, c]);
  expect([store.isServed(a), store.isWhole(a)]).toEqual([true, true]);
});

test('while it is unknown what is in use, everything goes back', async () => {
  const { store, clock, cache } = await evicted();
  store.box('bad', 'no key');
  clock.advance(70_000);
  expect(await cache.purge()).toMatchObject({ purgedEntries: 0 });
  expect([a, b].map((name) => store.isServed(name) && store.isWhole(name))).toEqual([true, true]);
});

test('what the runtime hit at the last moment, and wrote metadata for, goes back with the size known before', async () => {
  const { store, clock, cache } = await evicted();
  store.metadata(a, { size_bytes: 0 });
  clock.advance(70_000);
  await cache.purge();
  expect([store.isServed(a), store.isWhole(a)]).toEqual([true, true]);
  expect(JSON.parse(readFileSync(join(store.root, `${a}.meta.json`), 'utf8'))).toMatchObject({ size_bytes: 11 });
});

describe('where a new put has taken the name', () => {
  test('the old tree goes, and the new one stays', async () => {
    const { store, clock, cache } = await evicted();
    store.entry(a);
    writeFileSync(join(store.root, a, 'new'), '');
    clock.advance(70_000);
    expect(await cache.purge()).toMatchObject({ purgedEntries: 2 });
    expect([store.isServed(a), store.isWhole(a), existsSync(join(store.root, a, 'new'))]).toEqual([true, true, true]);
  });

  test('the old tree stays as long as a box marks the name: it may be mounted', async () => {
    const { store, clock, cache } = await evicted();
    store.entry(a).box('one', a);
    clock.advance(70_000);
    const report = await cache.purge();
    expect(report).toMatchObject({ purgedEntries: 1 });
    expect(report.nextDueAtMs).toBeGreaterThan(clock.now());
    expect(store.trash).toHaveLength(1);
    store.box('one', b);
    clock.advance(20_000);
    expect(await cache.purge()).toMatchObject({ purgedEntries: 1, nextDueAtMs: null });
    expect(store.isServed(a)).toBe(true);
  });
});

test('what another evicted a moment ago rests its minute, however short our own rest is', async () => {
  const { store, clock } = await evicted();
  const other = store.cache({ maxEntries: 0 }, { clock, restMs: 0 });
  await other.pass(enforce);
  const report = await other.purge();
  expect(report).toMatchObject({ purgedEntries: 1, purgedBytes: 100 });
  expect((report.nextDueAtMs ?? 0) - clock.now()).toBeGreaterThan(50_000);
  expect(store.trash).toHaveLength(2);
  clock.advance(60_000);
  expect(await other.purge()).toMatchObject({ purgedEntries: 2, nextDueAtMs: null });
});

test('it rests from the moment its name was gone, however long the pass was held up before that', async () => {
  const store = new StoreOnDisk().entry(a);
  const clock: SteppedClock = new SteppedClock(() => {}, () => clock.advance(120_000));
  const cache = store.cache({ maxEntries: 0 }, { clock, restMs: 60_000 });
  await cache.pass(enforce);
  clock.advance(59_000);
  expect(await cache.purge()).toMatchObject({ purgedEntries: 0 });
  clock.advance(2_000);
  expect(await cache.purge()).toMatchObject({ purgedEntries: 1 });
});

test('a clock that was set back does not make the trash rest for years', async () => {
  const { store, clock, cache } = await evicted();
  const inAYear = Date.now() / 1000 + 365 * 86_400;
  for (const id of store.trash) utimesSync(join(store.root, '.cachepolicy/trash', id), inAYear, inAYear);
  expect(await cache.purge()).toMatchObject({ purgedEntries: 0, nextDueAtMs: clock.now() + 60_000 });
  clock.advance(61_000);
  expect(await cache.purge()).toMatchObject({ purgedEntries: 2 });
});

test('without trash there is nothing to do, and nothing is written', async () => {
  const store = new StoreOnDisk().entry(a);
  const before = store.fingerprint;
  expect(await store.cache().purge()).toEqual({ purgedEntries: 0, purgedBytes: 0, revived: 0, revivedNames: [], nextDueAtMs: null, errors: [] });
  expect(store.fingerprint).toBe(before);
});

test('nothing is decided while a pass runs', async () => {
  const { store, cache } = await evicted();
  using lock = lockStore(pin(store.root));
  expect(lock).toBeDefined();
  await expect(cache.purge()).rejects.toMatchObject({ code: 'ERR_LOCK_BUSY' });
});

test('deleting needs no lock: a pass may run meanwhile', async () => {
  const { store, clock, cache } = await evicted();
  clock.advance(70_000);
  let other: Promise<unknown> | undefined;
  await cache.purge({ onProgress: () => void (other ??= store.cache({}, { clock }).pass(enforce)) });
  await expect(other).resolves.toMatchObject({ evicted: [] });
  expect(store.trash).toEqual([]);
});

describe('where more rests than may be kept in mind at once', () => {
  const letters = [...'abcdefg'];

  async function seven(options: Partial<CacheOptions> = {}) {
    const store = new StoreOnDisk();
    for (const letter of letters) store.entry(key(letter), { sizeBytes: 10 });
    await store.cache({ maxEntries: 0 }, { clock: new SteppedClock() }).pass(enforce);
    const clock = new SteppedClock();
    clock.advance(70_000);
    return { store, cache: store.cache({}, { clock, mostAtOnce: 2, ...options }) };
  }

  test('it goes in turns, and is told as one purge, with what came back in any of them', async () => {
    let most = 0;
    const { store, cache } = await seven({
      fault: (step) => {
        if (step.startsWith('rmdir')) most = Math.max(most, store.trash.filter((name) => name.startsWith('gone-')).length);
      },
    });
    store.box('new', key('d'));
    store.box('newer', key('e'));
    expect(await cache.purge()).toMatchObject({ purgedEntries: 5, purgedBytes: 50, revived: 2, nextDueAtMs: null, errors: [] });
    expect([store.trash, most]).toEqual([[], 2]);
    expect(letters.filter((letter) => store.isServed(key(letter)))).toEqual(['d', 'e']);
  });

  test('it ends for now where a pass begins between two turns, and the next purge goes on', async () => {
    let lock: Disposable | undefined;
    const { store, cache } = await seven({ fault: (step) => { if (step.startsWith('rmdir')) lock ??= lockStore(pin(store.root)); } });
    const purged = await cache.purge();
    expect(purged).toMatchObject({ purgedEntries: 2, errors: [{ code: 'ERR_LOCK_BUSY' }] });
    expect(purged.nextDueAtMs).not.toBeNull();
    lock?.[Symbol.dispose]();
    lock = new DisposableStack();
    expect(await cache.purge()).toMatchObject({ purgedEntries: 5, errors: [], nextDueAtMs: null });
  });

  test('it is read as it is gone through', async () => {
    const store = new StoreOnDisk();
    const trash = join(store.root, 'trash');
    mkdirSync(trash);
    for (let i = 0; i < 3_000; i += 1) mkdirSync(join(trash, `${i}.${key('a')}`));
    let met = 0;
    for await (const { name } of itemsIn(pin(trash), storeFormats['a3s-rootfs'], new Slices())) {
      expect(name).toBe(key('a'));
      met += 1;
      if (met === 1) for (const each of readdirSync(trash)) rmdirSync(join(trash, each));
    }
    expect(met).toBeLessThan(3_000);
  });

  test('of what is being deleted no more than a thousand names are told', async () => {
    const store = new StoreOnDisk();
    await store.cache().pass(enforce);
    for (let i = 0; i < 1_001; i += 1) mkdirSync(join(store.root, '.cachepolicy/trash', `gone-${i}`));
    expect((await store.cache().scan()).leftovers).toHaveLength(1_000);
    await store.cache().purge();
    expect((await store.cache().scan()).leftovers).toEqual([]);
  });
});

test('more garbage than one turn takes is deleted by one purge', async () => {
  const { store, cache } = await evicted();
  const trash = join(store.root, '.cachepolicy/trash');
  for (let i = 0; i < 10_001; i += 1) writeFileSync(join(trash, `gone-${'x'.repeat(200)}${i}`), '');
  expect(await cache.purge({ now: true })).toMatchObject({ purgedEntries: 2, errors: [], nextDueAtMs: null });
  expect(readdirSync(trash)).toEqual([]);
});

test('an item that cannot be deleted is named, and 10,000 others go in the same purge', async () => {
  const store = new StoreOnDisk();
  await store.cache().pass(enforce);
  const trash = join(store.root, '.cachepolicy/trash');
  for (let i = 0; i < 10_100; i += 1) mkdirSync(join(trash, `gone-${i}`));
  const fault = (step: string) => {
    if (step === `rmdir ${trash}/gone-7`) throw diskError(step, -errno.EIO);
  };
  const clock = new SteppedClock();
  const cache = store.cache({}, { fault, clock });
  expect(await cache.purge()).toMatchObject({ errors: [{ code: 'ERR_DISK_IO', message: expect.stringContaining('gone-7') }], nextDueAtMs: clock.now() + 60_000 });
  expect(store.trash).toEqual(['gone-7']);
});

test('names in the trash that are not ours are left alone', async () => {
  const { store, clock, cache } = await evicted();
  const foreign = join(store.root, '.cachepolicy/trash/x..hidden');
  writeFileSync(foreign, '');
  clock.advance(70_000);
  expect(await cache.purge()).toMatchObject({ purgedEntries: 2, errors: [] });
  expect(existsSync(foreign)).toBe(true);
});

describe.runIf(asRoot)('what cannot be deleted', () => {
  test('is a leftover, is reported, and is tried again with growing patience', async ({ skip }) => {
    const { store, clock, cache } = await evicted();
    const file = join(store.root, '.cachepolicy/trash', store.trash.find((id) => id.endsWith(a)) ?? '', 'd', 'data');
    try {
      execFileSync('chattr', ['+i', file], { stdio: 'ignore' });
    } catch {
      return skip('the filesystem has no immutable files');
    }
    const stuck = () => execFileSync('find', [join(store.root, '.cachepolicy/trash'), '-name', 'data'], { encoding: 'utf8' }).trim();
    onTestFinished(() => {
      if (stuck() !== '') execFileSync('chattr', ['-i', stuck()]);
    });
    clock.advance(70_000);
    const first = await cache.purge();
    expect(first).toMatchObject({ purgedEntries: 1, purgedBytes: 22, nextDueAtMs: clock.now() + 60_000, errors: [{ code: 'ERR_DISK_IO', message: expect.stringContaining('EPERM') }] });
    expect((await cache.scan()).leftovers).toMatchObject([{ kind: 'Trash', removable: true }]);
    expect(await cache.purge()).toMatchObject({ errors: [], nextDueAtMs: clock.now() + 60_000 });
    clock.advance(61_000);
    expect(await cache.purge()).toMatchObject({ errors: { length: 1 }, nextDueAtMs: clock.now() + 120_000 });
    execFileSync('chattr', ['-i', stuck()]);
    clock.advance(121_000);
    expect(await cache.purge()).toMatchObject({ errors: [], nextDueAtMs: null });
    expect(readdirSync(join(store.root, '.cachepolicy/trash'))).toEqual([]);
  });
});

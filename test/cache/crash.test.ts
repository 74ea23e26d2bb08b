import { existsSync, readdirSync, readFileSync, unlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { FilesystemCache } from '../../src/cache/filesystem-cache.ts';
import type { JournalRecord } from '../../src/cache/journal.ts';
import { appendToJournal, readJournal } from '../../src/cache/journal.ts';
import type { Cache } from '../../src/cache/pass.ts';
import { readMemory, writeMemory } from '../../src/cache/state.ts';
import type { Fault } from '../../src/disk/dir.ts';
import { openRoot } from '../../src/disk/pinned-root.ts';
import { noTotals } from '../../src/policy/node-report.ts';
import { listing, scratchDir } from '../disk/scratch.ts';
import { unpackHome } from '../fixtures/homes.ts';
import { tree } from './contract.ts';
import { SteppedClock } from './stepped-clock.ts';
import { StoppingDisk, stops } from './stopping-disk.ts';
import { key, openStoreOwn, StoreOnDisk } from './store.ts';

const [a, b, c] = [key('a'), key('b'), key('c')];
const aDay = 86_400_000;
/** A few seconds of work, on a machine that has much else to do. */
const patienceMs = process.env['CRASH_PLACES'] === undefined ? 180_000 : 1_800_000;
const enforce = { mode: 'Enforce', trigger: 'Start' } as const;

/** a and b may go, c is in use. */
function three(): StoreOnDisk {
  return new StoreOnDisk().entry(a, { usedSecondsAgo: 300 }).entry(b, { usedSecondsAgo: 200 }).entry(c, { usedSecondsAgo: 400 }).box('one', c);
}

interface Scenario {
  readonly make: () => StoreOnDisk;
  readonly act: (store: StoreOnDisk, fault: Fault) => Promise<unknown>;
  /** What must hold at any moment, stopped or not. */
  readonly always: (store: StoreOnDisk) => void;
}

/** Each is served whole or a miss; what its path leads to is whole or nothing; what is in use is served. */
function eachWholeOrMissing(store: StoreOnDisk): void {
  for (const name of [a, b, c]) {
    if (store.isServed(name) || existsSync(join(store.root, name))) expect(store.isWhole(name), `${name[0]} is whole`).toBe(true);
  }
  expect(store.isServed(c)).toBe(true);
  expect(readJournal({ root: store.root, format: 'a3s-rootfs', allowedRoots: [dirname(store.home)] }).strangeLines).toBe(0);
}

/** a and b are evicted, rest in the trash, and then a box wants a. */
function resting(comesBack: (cache: Cache) => Promise<unknown>): Scenario {
  const evicted = async (store: StoreOnDisk): Promise<SteppedClock> => {
    const clock = new SteppedClock();
    // Files get their times from the system, a little later than the clock stands.
    clock.advance(2_000);
    await store.cache({ maxEntries: 1 }, { clock, restMs: 60_000 }).pass(enforce);
    store.box('two', a);
    return clock;
  };
  return {
    make: three,
    act: async (store, fault) => {
      const clock = await evicted(store);
      await comesBack(store.cache({}, { clock, restMs: 60_000, fault }));
    },
    always: (store) => {
      eachWholeOrMissing(store);
      // Wherever it is on its way back, it is there.
      expect(store.isWhole(a) || store.trash.some((id) => existsSync(join(store.root, '.cachepolicy/trash', id, 'd', 'data')))).toBe(true);
    },
  };
}

function evicting(...duringWaits: ((store: StoreOnDisk) => void)[]): Scenario {
  return {
    make: three,
    act: async (store, fault) => {
      const clock = new SteppedClock(...duringWaits.map((act) => () => act(store)));
      const cache = store.cache({ maxEntries: 1 }, { clock, fault });
      await cache.pass(enforce);
      await cache.purge();
    },
    always: eachWholeOrMissing,
  };
}

const scenarios: Record<string, Scenario> = {
  'an eviction with its purge': evicting(),
  'a revival by metadata in the first wait': evicting((store) => void store.metadata(a)),
  'a revival by metadata of another size in the second wait': evicting(() => {}, (store) => void store.metadata(a, { size_bytes: 0 })),
  'a revival by a box in the second wait': evicting(() => {}, (store) => void store.box('two', b)),
  'a revival out of the trash by a purge': resting((cache) => cache.purge()),
  'a revival out of the trash at the start of a pass': resting((cache) => cache.pass(enforce)),
  'a put of the runtime that took the name of an evicted entry': evicting(() => {}, (store) => {
    unlinkSync(join(store.root, a));
    store.entry(a);
  }),
  'the leftovers of a damaged home': {
    make: () => new StoreOnDisk(unpackHome(scratchDir(), { damaged: true })),
    act: async (store, fault) => {
      const clock = new SteppedClock();
      clock.advance(aDay + 60_000);
      const cache = store.cache({}, { clock, fault });
      await cache.pass(enforce);
      await cache.purge();
    },
    always: (store) => {
      expect(store.names).toEqual(expect.arrayContaining(['linked-entry', 'linked-entry.meta.json', 'neg', 'neg.meta.json', 'notes.txt', 'unrelated-folder']));
    },
  },
  'an invalidation': {
    make: three,
    act: async (store, fault) => await onDisk(store, fault).invalidate(a),
    always: eachWholeOrMissing,
  },
  'a hit': {
    make: three,
    act: async (store, fault) => await onDisk(store, fault).get(a),
    always: (store) => {
      expect(store.isServed(a)).toBe(true);
      eachWholeOrMissing(store);
    },
  },
  'a put': putting(false),
  'a put that replaces': putting(true),
};

function onDisk(store: StoreOnDisk, fault?: Fault): FilesystemCache {
  return new FilesystemCache(store.spec(), { allowedRoots: [dirname(store.home)], clock: new SteppedClock(), restMs: 0, ...(fault && { fault }) });
}

/** Puts a tree under a; what is served there is always one that was put, with its own size. */
function putting(replaces: boolean): Scenario {
  const sources = new Map<StoreOnDisk, string>();
  return {
    make: () => {
      const store = new StoreOnDisk().entry(c).box('one', c);
      sources.set(store, tree(250));
      return replaces ? store.entry(a, { sizeBytes: 74 }) : store;
    },
    act: async (store, fault) => await onDisk(store, fault).put(a, sources.get(store) ?? '', ''),
    always: (store) => {
      expect(store.isServed(c) && store.isWhole(c)).toBe(true);
      if (!store.isServed(a)) return;
      const { size_bytes: size } = JSON.parse(readFileSync(join(store.root, `${a}.meta.json`), 'utf8')) as { size_bytes: number };
      if (size === 74) expect(store.isWhole(a)).toBe(true);
      else expect([size, listing(join(store.root, a))]).toEqual([250, listing(sources.get(store) ?? '')]);
    },
  };
}

/** A new start, days later: what was left is finished, and nothing of it remains. */
async function finishes(store: StoreOnDisk, { days, fault }: { days: number; fault?: Fault }): Promise<void> {
  const clock = new SteppedClock();
  clock.advance(days * aDay);
  const cache = store.cache({}, { clock, ...(fault && { fault }) });
  const { errors } = await cache.pass(enforce);
  expect(errors).toEqual([]);
  const purged = await cache.purge();
  expect(purged).toMatchObject({ errors: [], nextDueAtMs: null });
}

function isTidy(store: StoreOnDisk): void {
  expect(store.trash).toEqual([]);
  const links = readdirSync(store.root, { withFileTypes: true }).filter((entry) => entry.isSymbolicLink() && entry.name !== 'linked-entry');
  expect(links.map(({ name }) => name)).toEqual([]);
  expect(store.names.filter((name) => name.startsWith('.'))).toEqual([]);
}

describe.each(Object.entries(scenarios))('wherever the disk stops during %s', (_, { make, act, always }) => {
  test('every entry is whole and served or a miss, and the next start finishes it', async () => {
    let steps = 0;
    for (; ; steps += 1) {
      const store = make();
      if (!(await stops(steps, (fault) => act(store, fault)))) break;
      always(store);
      await finishes(store, { days: 2 });
      always(store);
      isTidy(store);
      // What came back is an entry again, and what went has gone whole.
      const { entries, leftovers } = await store.cache({}, { clock: new SteppedClock() }).scan();
      expect(leftovers).toEqual([]);
      for (const { name } of entries) expect(store.isServed(name)).toBe(true);
      for (const name of [a, b, c]) expect(existsSync(join(store.root, name))).toBe([...entries].some((entry) => entry.name === name));
    }
    // It has steps to stop between, or this tested nothing.
    expect(steps).toBeGreaterThan(3);
  }, patienceMs);

  test('and so it is where the disk stops again while that is finished', async () => {
    const most = await stepsOf(make(), act);
    // About a dozen places for the first stop, and as many for the second; in the soak more, which is every one but for the longest.
    const stride = Math.ceil(most / Number(process.env['CRASH_PLACES'] ?? 12));
    for (let steps = 1; steps <= most; steps += stride) {
      for (let again = 0; ; again += stride) {
        const store = make();
        await stops(steps, (fault) => act(store, fault));
        const stoppedAgain = await stops(again, (fault) => finishes(store, { days: 2, fault }));
        always(store);
        if (!stoppedAgain) break;
        await finishes(store, { days: 4 });
        always(store);
        isTidy(store);
      }
    }
  }, patienceMs);
});

/** Something that is kept in one file, and replaced as a whole. */
async function oldOrNew<T>(store: StoreOnDisk, write: (fault: Fault) => void, read: () => T): Promise<readonly T[]> {
  const seen: T[] = [read()];
  for (let steps = 0; await stops(steps, async (fault) => write(fault)); steps += 1) seen.push(read());
  seen.push(read());
  expect(readdirSync(join(store.root, '.cachepolicy')).filter((name) => name.endsWith('.new'))).toEqual([]);
  return seen;
}

test('wherever the disk stops while the state is saved, the old one is read or the new one', async () => {
  const store = three();
  const place = { root: store.root, format: 'a3s-rootfs', allowedRoots: [dirname(store.home)] } as const;
  const memory = (generation: number) => ({ policy: { uid: 'uid', generation }, totals: { ...noTotals, evictedEntries: generation } });
  writeMemory(place, memory(1));
  const seen = await oldOrNew(store, (fault) => writeMemory({ ...place, fault }, memory(2)), () => readMemory(place)?.totals.evictedEntries);
  expect(new Set(seen)).toEqual(new Set([1, 2]));
  expect(seen).toEqual(seen.toSorted());
});

test('wherever the disk stops while the index is saved, the next start finds what lies there', async () => {
  const store = three();
  const there = async () => [...(await store.cache().scan()).entries].map((entry) => [entry.key, entry.sizeBytes]).toSorted();
  const startsWith = async () => [...(await store.cache({}, { remembers: true }).scan()).entries].map((entry) => [entry.key, entry.sizeBytes]).toSorted();
  const changed = async (sizeBytes: number) => {
    store.metadata(a, { size_bytes: sizeBytes });
    return await there();
  };
  const save = async (fault?: Fault) => {
    using cache = store.cache({}, { remembers: true, ...(fault && { fault }) });
    await cache.scan();
    await cache.save();
  };
  await save();
  let steps = 0;
  for (let expected = await changed(1_000); await stops(steps, save); steps += 1, expected = await changed(1_000 + steps)) expect(await startsWith()).toEqual(expected);
  expect(steps).toBeGreaterThan(3);
  expect(await startsWith()).toEqual(await there());
  expect(readdirSync(join(store.root, '.cachepolicy')).filter((name) => name.endsWith('.new'))).toEqual([]);
});

test('wherever the disk stops while the journal is shortened, every line is one that was written, and none of the last thousand is missing', async () => {
  const store = three();
  const place = { root: store.root, format: 'a3s-rootfs', allowedRoots: [dirname(store.home)] } as const;
  const record = (n: number): JournalRecord => ({ atMs: n, event: 'Evicted', key: `${n}`.padEnd(200, '.'), description: '', sizeBytes: n, reason: null, trigger: null });
  using whole = openRoot(store.root, place);
  using wholeOwn = openStoreOwn(whole);
  let n = 0;
  const more = () => Array.from({ length: 150 }, () => record((n += 1)));
  // As many as it holds; the next ones make it too long.
  for (let i = 0; i < 10; i += 1) appendToJournal(wholeOwn, more());
  const write = (fault: Fault) => {
    using root = openRoot(store.root, { ...place, fault });
    using own = openStoreOwn(root);
    appendToJournal(own, more());
  };
  const seen = await oldOrNew(store, write, () => readJournal(place));
  expect(seen.length).toBeGreaterThan(5);
  for (const { records, strangeLines } of seen) expect([records.length, strangeLines]).toEqual([1_000, 0]);
  expect(seen.at(-1)?.records.at(-1)?.sizeBytes).toBe(n);
});

test('wherever an eviction was stopped, a put of the entry lands, and what was evicted half way goes', async () => {
  let steps = 0;
  for (; ; steps += 1) {
    const store = three();
    const stopped = await stops(steps, (fault) => store.cache({ maxEntries: 1 }, { fault }).pass(enforce));
    const source = tree(250);
    await onDisk(store).put(a, source, 'put again');
    expect(store.isServed(a)).toBe(true);
    await finishes(store, { days: 2 });
    expect([store.isServed(a), listing(join(store.root, a))]).toEqual([true, listing(source)]);
    isTidy(store);
    if (!stopped) break;
  }
  expect(steps).toBeGreaterThan(10);
}, patienceMs);

async function stepsOf(store: StoreOnDisk, act: Scenario['act']): Promise<number> {
  const disk = new StoppingDisk(Number.POSITIVE_INFINITY);
  await act(store, disk.fault);
  return disk.taken;
}

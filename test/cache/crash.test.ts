import { existsSync, readdirSync, readFileSync, unlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { FilesystemCache } from '../../src/cache/filesystem-cache.ts';
import type { Fault } from '../../src/disk/dir.ts';
import { listing, scratchDir } from '../disk/scratch.ts';
import { unpackHome } from '../fixtures/homes.ts';
import { tree } from './contract.ts';
import { SteppedClock } from './stepped-clock.ts';
import { StoppingDisk, stops } from './stopping-disk.ts';
import { key, StoreOnDisk } from './store.ts';

const [a, b, c] = [key('a'), key('b'), key('c')];
const aDay = 86_400_000;
/** A few seconds of work, on a machine that has much else to do. */
const patienceMs = 180_000;
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
    // About a dozen places for the first stop, and as many for the second.
    const stride = Math.ceil((await stepsOf(make(), act)) / 12);
    for (let steps = 1; steps <= stride * 12; steps += stride) {
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

async function stepsOf(store: StoreOnDisk, act: Scenario['act']): Promise<number> {
  const disk = new StoppingDisk(Number.POSITIVE_INFINITY);
  await act(store, disk.fault);
  return disk.taken;
}

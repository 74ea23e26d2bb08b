import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Cache } from '../../src/cache/pass.ts';
import { Room } from '../../src/cache/room.ts';
import { DirectoryOnDisk } from './directory-on-disk.ts';
import { SteppedClock } from './stepped-clock.ts';
import { key, StoreOnDisk } from './store.ts';

const enforce = { mode: 'Enforce', trigger: 'Change' } as const;
const crowded = { code: 'ERR_ROOT_CROWDED' };

describe('the room of an agent', () => {
  const others = 0;

  test('is taken up to the last place, by all caches together, and each counts as it was found last', () => {
    const room = new Room(10);
    room.take('/a', { entries: 4, others });
    room.take('/a', { entries: 6, others });
    room.take('/b', { entries: 4, others });
    expect(() => room.take('/b', { entries: 5, others })).toThrow('/b has too many entries (5 or more): the agent of a policy can keep 10 entries in mind, and its other caches have 6');
    // Of what was refused nothing is kept in mind.
    room.take('/a', { entries: 10, others });
    expect(() => room.take('/a', { entries: 11, others })).toThrow('/a has too many entries (11 or more): the agent of a policy can keep 10 entries in mind');
  });

  test('stays taken while a cache that had it is looked through once more: nobody else gets in meanwhile', () => {
    const room = new Room(10);
    room.take('/a', { entries: 8, others });
    room.takeSoFar('/a', { entries: 1, others });
    expect(() => room.takeSoFar('/b', { entries: 3, others })).toThrow(expect.objectContaining(crowded));
    room.takeSoFar('/a', { entries: 9, others });
    expect(() => room.takeSoFar('/b', { entries: 2, others })).toThrow(expect.objectContaining(crowded));
    room.take('/a', { entries: 7, others });
    room.take('/b', { entries: 3, others });
  });

  test('is given back after a look that failed, but for what is kept in mind, and that is never more than was taken', () => {
    const room = new Room(10);
    room.take('/a', { entries: 8, others });
    room.giveBack('/a', 9);
    expect(() => room.take('/b', { entries: 3, others })).toThrow(expect.objectContaining(crowded));
    room.giveBack('/a', 6);
    room.take('/b', { entries: 4, others });
    room.giveBack('/a');
    room.take('/b', { entries: 10, others });
  });

  test('is taken by a name that is no entry for three', () => {
    const room = new Room(10);
    room.take('/a', { entries: 1, others: 3 });
    expect(() => room.take('/a', { entries: 2, others: 3 })).toThrow(expect.objectContaining(crowded));
    expect(() => room.take('/a', { entries: 0, others: 4 })).toThrow('/a has too many names that are no entries (4 or more)');
  });
});

interface Crowded {
  readonly cache: Cache;
  readonly names: () => readonly string[];
  /** Adds and removes one entry. */
  readonly add: (name: string) => void;
  readonly remove: (name: string) => void;
  /** Adds a name that is no entry. */
  readonly litter: (name: string) => void;
  readonly root: string;
  readonly clock: SteppedClock;
  /** How many entries are kept in mind where a look fails. */
  readonly remembers: number;
}

/** Of five entries. */
const kinds: Record<string, (room: Room) => Crowded> = {
  'a store of the runtime': (room) => {
    const store = new StoreOnDisk();
    const add = (name: string) => void store.entry(key(name));
    for (const name of 'abcde') add(name);
    const clock = new SteppedClock();
    clock.advance(10_000);
    return {
      cache: store.cache({ maxEntries: 0 }, { room, clock, remembers: true }), names: () => store.names.filter((name) => name.length === 64).map((name) => name[0]!), add,
      remove: (name) => { rmSync(join(store.root, key(name)), { recursive: true }); rmSync(join(store.root, `${key(name)}.meta.json`)); },
      litter: (name) => writeFileSync(join(store.root, `${key(name)}.meta.json`), 'damaged'),
      root: store.root, clock, remembers: 0,
    };
  },
  'a directory': (room) => {
    const disk = new DirectoryOnDisk();
    const add = (name: string) => void disk.file(name);
    for (const name of 'abcde') add(name);
    const clock = new SteppedClock();
    return {
      cache: disk.cache({ maxEntries: 0 }, { room, clock }), names: () => readdirSync(disk.root).filter((name) => name.length === 1).toSorted(), add,
      remove: (name) => rmSync(join(disk.root, name)), litter: (name) => mkdirSync(join(disk.root, name.repeat(250))),
      root: disk.root, clock, remembers: 5,
    };
  },
};

describe.each(Object.entries(kinds))('%s', (_, make) => {
  test('that fills the room is worked on, and one entry more is refused, with nothing evicted, until there is room again', async () => {
    const { cache, names, add, remove } = make(new Room(5));
    using _cache = cache;
    const look = () => cache.pass({ mode: 'DryRun', trigger: 'Change' });
    expect((await look()).plan.evict).toHaveLength(5);
    add('f');
    await expect(cache.pass(enforce)).rejects.toMatchObject(crowded);
    await expect(look()).rejects.toMatchObject(crowded);
    expect(names()).toEqual([...'abcdef']);
    remove('f');
    expect((await cache.pass(enforce)).evicted).toHaveLength(5);
    expect(names()).toEqual([]);
  });

  test('is refused for what is no entry, too', async () => {
    const { cache, litter } = make(new Room(10));
    using _cache = cache;
    litter('y');
    expect((await cache.scan()).entries).toHaveLength(5);
    litter('z');
    await expect(cache.scan()).rejects.toMatchObject(crowded);
  });

  test('shares the room with others', async () => {
    const room = new Room(9);
    room.take('/elsewhere', { entries: 5, others: 0 });
    const { cache, remove } = make(room);
    using _cache = cache;
    await expect(cache.scan()).rejects.toMatchObject(crowded);
    remove('a');
    expect((await cache.scan()).entries).toHaveLength(4);
  });

  test('keeps its place while it is looked through, and has no more than what was found once that is over', async () => {
    let looks = 0;
    const room = new (class extends Room {
      override takeSoFar(path: string): void {
        // As if many more were to come.
        super.takeSoFar(path, { entries: 1, others: 0 });
        if (looks > 0) expect(() => super.takeSoFar('/elsewhere', { entries: 5, others: 0 })).toThrow(expect.objectContaining(crowded));
        looks += 1;
      }
    })(9);
    const { cache, remove, clock } = make(room);
    using _cache = cache;
    await cache.scan();
    clock.advance(60_000);
    remove('a');
    await cache.scan();
    expect(looks).toBeGreaterThan(1);
    room.take('/elsewhere', { entries: 5, others: 0 });
  });

  test('leaves the room to others where its directory is gone, but for what it remembers', async () => {
    const room = new Room(9);
    const { cache, root, remembers } = make(room);
    using _cache = cache;
    await cache.scan();
    renameSync(root, `${root}-away`);
    await expect(cache.scan()).rejects.toMatchObject({ code: 'ERR_ROOT_MISSING' });
    room.take('/elsewhere', { entries: 9 - remembers, others: 0 });
    expect(() => room.take('/elsewhere', { entries: 10 - remembers, others: 0 })).toThrow(expect.objectContaining(crowded));
  });

  test('leaves the room to others where a look through it failed, but for what it remembers', async () => {
    const room = new Room(9);
    const { cache, remembers, clock, add } = make(room);
    using _cache = cache;
    await cache.scan();
    clock.advance(60_000);
    add('f');
    const stop = new AbortController();
    room.takeSoFar = (path, found) => {
      Room.prototype.takeSoFar.call(room, path, found);
      stop.abort();
      throw new Error('stopped');
    };
    await expect(cache.scan(stop.signal)).rejects.toThrow('stopped');
    room.take('/elsewhere', { entries: 9 - remembers, others: 0 });
    expect(() => room.take('/elsewhere', { entries: 10 - remembers, others: 0 })).toThrow(expect.objectContaining(crowded));
  });

  test('is not refused where as many came as left', async () => {
    const { cache, add, remove } = make(new Room(5));
    using _cache = cache;
    await cache.scan();
    remove('a');
    add('f');
    expect((await cache.scan()).entries).toHaveLength(5);
  });
});

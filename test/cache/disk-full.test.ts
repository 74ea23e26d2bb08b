import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmdirSync, rmSync, statfsSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readJournal } from '../../src/cache/journal.ts';
import { readMemory, writeMemory } from '../../src/cache/state.ts';
import type { SmallDisk } from '../disk/scratch.ts';
import { asRoot, smallDisk } from '../disk/scratch.ts';
import { SteppedClock } from './stepped-clock.ts';
import { key, StoreOnDisk } from './store.ts';

const [a, b, c] = [key('a'), key('b'), key('c')];
const enforce = { mode: 'Enforce', trigger: 'Manual' } as const;

interface Disk {
  readonly kind: SmallDisk;
  readonly inodes?: number;
}

/** A home on a small filesystem of its own; a was used least recently. */
function onSmallDisk({ kind, inodes }: Disk, skip: (why: string) => void): StoreOnDisk {
  const dir = smallDisk(kind, { sizeMiB: 12, inodes });
  if (dir === undefined) skip(`no ${kind} can be mounted here`);
  return new StoreOnDisk(join(dir ?? '', 'home')).entry(a, { usedSecondsAgo: 3_000 }).entry(b, { usedSecondsAgo: 2_000 }).entry(c);
}

/** Until nobody can write a byte, or make a file, any more. */
const fillings = {
  bytes({ home }: StoreOnDisk): void {
    // dd ends with an error, which is what is wanted of it.
    execFileSync('sh', ['-c', `dd if=/dev/zero of=${home}/fill bs=4k 2>/dev/null; sync ${home}; dd if=/dev/zero of=${home}/rest bs=1 2>/dev/null; true`]);
    expect(() => writeFileSync(join(home, 'more'), Buffer.alloc(4096))).toThrow(/ENOSPC/);
  },
  inodes({ home }: StoreOnDisk): void {
    mkdirSync(join(home, 'many'));
    const fill = () => {
      for (let n = 0; ; n += 1) writeFileSync(join(home, 'many', `${n}`), '');
    };
    expect(fill).toThrow(/ENOSPC/);
    expect(statfsSync(home).bavail).toBeGreaterThan(0);
  },
};

const reserveOf = ({ root }: StoreOnDisk) => {
  const own = join(root, '.cachepolicy');
  return existsSync(join(own, 'reserve')) ? { bytes: statSync(join(own, 'reserve')).blocks * 512, spares: readdirSync(join(own, 'spare')).length } : undefined;
};
const whole = { bytes: 1024 * 1024, spares: 12 };

const ofNothing: Disk = { kind: 'tmpfs' };

describe.runIf(asRoot)('the reserve', () => {
  test('is there from the first pass on, and is no entry, no leftover and nothing unknown', async ({ skip }) => {
    const store = onSmallDisk(ofNothing, skip);
    const { after } = await store.cache({ maxEntries: 9 }).pass(enforce);
    expect(reserveOf(store)).toEqual(whole);
    expect({ leftovers: after.leftovers, unrecognised: after.unrecognised, entries: after.entries.length }).toEqual({ leftovers: [], unrecognised: [], entries: 3 });
  });

  test.each(['DryRun', 'Suspended'] as const)('is not made in mode %s', async (mode) => {
    const store = new StoreOnDisk().entry(a);
    await store.cache({ maxEntries: 0 }).pass({ mode, trigger: 'Manual' });
    expect(existsSync(join(store.root, '.cachepolicy'))).toBe(false);
  });

  test('is made as far as there is room, and whole once there is more', async ({ skip }) => {
    const store = onSmallDisk(ofNothing, skip);
    fillings.bytes(store);
    execFileSync('truncate', ['-s', `-${400 * 1024}`, join(store.home, 'fill')]);
    const cache = store.cache({ maxEntries: 9 });
    expect((await cache.pass(enforce)).errors).toEqual([]);
    expect(reserveOf(store)?.bytes).toBeLessThan(whole.bytes);
    rmSync(join(store.home, 'fill'));
    await cache.pass(enforce);
    expect(reserveOf(store)).toEqual(whole);
  });
});

test.runIf(asRoot)('what is left of the reserve is not spent on making it whole', async ({ skip }) => {
  const store = onSmallDisk({ kind: 'tmpfs', inodes: 120 }, skip);
  const cache = store.cache({ maxEntries: 9 });
  await cache.pass(enforce);
  for (const n of [0, 3, 7]) rmdirSync(join(store.root, '.cachepolicy/spare', `${n}`));
  fillings.inodes(store);
  expect((await cache.pass(enforce)).errors).toEqual([]);
  expect(reserveOf(store)).toEqual({ ...whole, spares: 9 });
});

const fullDisks: [kind: SmallDisk, of: keyof typeof fillings, disk: Disk][] = [
  ['tmpfs', 'bytes', { kind: 'tmpfs' }],
  ['tmpfs', 'inodes', { kind: 'tmpfs', inodes: 120 }],
  ['ext4', 'bytes', { kind: 'ext4' }],
  ['ext4', 'inodes', { kind: 'ext4', inodes: 128 }],
];

describe.runIf(asRoot).each(fullDisks)('on a %s without any %s left', (_, of, disk) => {
  /** As the last pass before it left it: nothing to do, and all of its own there. */
  async function full(skip: (why: string) => void): Promise<StoreOnDisk> {
    const store = onSmallDisk(disk, skip);
    await store.cache({ maxEntries: 9 }).pass(enforce);
    mkdirSync(join(store.home, 'parked'));
    writeFileSync(join(store.home, 'parked/.rootfs-cache-key'), a);
    fillings[of](store);
    return store;
  }

  test('eviction goes on, frees space at once, and the reserve is whole again', async ({ skip }) => {
    const store = await full(skip);
    const before = statfsSync(store.home);
    const cache = store.cache({ maxEntries: 1 }, { restMs: 60_000 });
    const report = await cache.pass(enforce);
    expect(report.evicted.map((entry) => entry.key)).toEqual([a, b]);
    expect(report.errors).toEqual([]);
    expect(report.purgeDueAtMs).toBeLessThanOrEqual(report.finishedAtMs);
    expect(await cache.purge()).toMatchObject({ purgedEntries: 2, errors: [], nextDueAtMs: null });
    expect(statfsSync(store.home).ffree).toBeGreaterThan(before.ffree);
    // Written once the purge had freed some space.
    const { records } = readJournal({ root: store.root, format: 'a3s-rootfs', allowedRoots: [store.home] });
    expect(records.map(({ event, key: evicted }) => [event, evicted])).toEqual([['Evicted', a], ['Evicted', b]]);
    expect(store.names).toEqual([c, `${c}.meta.json`]);
    expect(store.isServed(c) && store.isWhole(c)).toBe(true);
    if (of === 'bytes') {
      rmSync(join(store.home, 'fill'));
      await cache.pass(enforce);
    }
    expect(reserveOf(store)).toEqual(whole);
  });

  // An inode of tmpfs takes none of its bytes.
  test.skipIf(disk.kind === 'tmpfs' && of === 'bytes')('without a reserve eviction makes the first space by itself', async ({ skip }) => {
    const store = await full(skip);
    rmSync(join(store.root, '.cachepolicy/spare'), { recursive: true });
    rmSync(join(store.root, '.cachepolicy/reserve'));
    const filler = join(store.home, 'filler');
    const fill = () => {
      for (let n = 0; ; n += 1) writeFileSync(of === 'bytes' ? filler : `${filler}-${n}`, Buffer.alloc(of === 'bytes' ? 4096 : 0), { flag: 'a' });
    };
    expect(fill).toThrow(/ENOSPC/);
    const { evicted, errors } = await store.cache({ maxEntries: 1 }).pass(enforce);
    expect({ evicted: evicted.map((entry) => entry.key), errors }).toEqual({ evicted: [a, b], errors: [] });
    expect(store.isServed(c) && store.isWhole(c)).toBe(true);
  });

  test('an entry that comes back is whole, and served with its own metadata', async ({ skip }) => {
    const store = await full(skip);
    const metadata = readFileSync(join(store.root, `${a}.meta.json`), 'utf8');
    const clock = new SteppedClock(() => {}, () => renameSync(join(store.home, 'parked'), join(store.home, 'boxes/one')));
    const { evicted, revived } = await store.cache({ maxEntries: 2 }, { clock }).pass(enforce);
    expect({ evicted, revived, served: store.isServed(a), whole: store.isWhole(a) }).toEqual({ evicted: [], revived: 1, served: true, whole: true });
    expect(readFileSync(join(store.root, `${a}.meta.json`), 'utf8')).toBe(metadata);
  });

  test('a state that cannot be saved leaves the old one, and takes nothing of the reserve', async ({ skip }) => {
    const place = (store: StoreOnDisk) => ({ root: store.root, format: 'a3s-rootfs', allowedRoots: [store.home] }) as const;
    const memory = (evictedEntries: number) => ({ policy: { uid: 'u', generation: 1 }, totals: { evictedEntries, evictedBytes: 0, revived: 0, raced: 0, lastEvictionAtMs: null } });
    const store = onSmallDisk(disk, skip);
    writeMemory(place(store), memory(1));
    await store.cache({ maxEntries: 9 }).pass(enforce);
    fillings[of](store);
    expect(() => writeMemory(place(store), memory(2))).toThrow(/no space is left/);
    expect(readMemory(place(store))).toEqual(memory(1));
    expect(reserveOf(store)).toEqual(whole);
  });
});

test.runIf(asRoot)('where the reserve is not enough for all that are to go, some go, and the others right after them', async ({ skip }) => {
  const store = onSmallDisk({ kind: 'tmpfs', inodes: 200 }, skip);
  const names = Array.from({ length: 12 }, (_, n) => n.toString(16).repeat(64));
  for (const name of names) store.entry(name, { usedSecondsAgo: 5_000 });
  const cache = store.cache({ maxEntries: 0 }, { restMs: 60_000 });
  await store.cache({ maxEntries: 20 }).pass(enforce);
  fillings.inodes(store);
  const { evicted, errors, after } = await cache.pass(enforce);
  expect(evicted.length).toBeGreaterThan(0);
  expect(new Set(errors.map(({ code }) => code))).toEqual(new Set(['ERR_DISK_FULL']));
  for (const { name } of after.entries) expect(store.isServed(name) && store.isWhole(name)).toBe(true);
  expect((await cache.purge()).purgedEntries).toBe(evicted.length);
  expect((await cache.pass(enforce)).after.entries.length).toBe(0);
});

test.runIf(asRoot)('the bytes of the reserve are there for more than its directories make room for', async ({ skip }) => {
  const store = onSmallDisk({ kind: 'ext4' }, skip);
  const names = Array.from({ length: 16 }, (_, n) => n.toString(16).repeat(64));
  for (const name of names) store.entry(name, { usedSecondsAgo: 5_000 });
  await store.cache({ maxEntries: 20 }).pass(enforce);
  fillings.bytes(store);
  expect((await store.cache({ maxEntries: 0 }).pass(enforce)).evicted.map(({ key: name }) => name).toSorted()).toEqual(names);
});

describe.runIf(asRoot)('on a full disk a box leaves an empty marker', () => {
  test('and holds the entries of its image, while others go', async ({ skip }) => {
    const image = 'docker.io/library/redis:8';
    const store = onSmallDisk(ofNothing, skip).metadata(a, { description: image, last_accessed: 1_700_000_000 });
    await store.cache({ maxEntries: 9 }).pass(enforce);
    writeFileSync(join(store.home, 'boxes.json'), JSON.stringify([{ id: 'one', image }]));
    mkdirSync(join(store.home, 'boxes/one/merged'), { recursive: true });
    const marker = join(store.home, 'boxes/one/.rootfs-cache-key');
    writeFileSync(marker, '');
    fillings.bytes(store);
    expect(() => writeFileSync(marker, a)).toThrow(/ENOSPC/);
    expect(statSync(marker).size).toBe(0);
    const { evicted, plan } = await store.cache({ maxEntries: 0 }).pass(enforce);
    expect(evicted.map((entry) => entry.key)).toEqual([b, c]);
    expect([...plan.verdicts].map(({ detail }) => detail)[0]).toBe('box one, which left an empty marker');
  });
});

import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { Cache } from '../../src/cache/pass.ts';
import type { Snapshot } from '../../src/policy/snapshot.ts';
import { statsOf } from '../../src/policy/snapshot.ts';
import type { Image } from '../fixtures/homes.ts';
import { images, rootfsKeys, unpackHome } from '../fixtures/homes.ts';
import { asRoot, mount, scratchDir } from '../disk/scratch.ts';
import { SteppedClock } from './stepped-clock.ts';
import { key, noLimits, StoreOnDisk } from './store.ts';
import { noProtection } from '../../src/policy/limits.ts';

function imageOf(snapshot: Snapshot): string[] {
  return [...snapshot.entries].toSorted((a, b) => a.lastAccessedAtMs - b.lastAccessedAtMs).map(({ description }) => description.replace('docker.io/library/', ''));
}

async function scanHome(home: string, store: 'rootfs' | 'layers', leftoverAgeMs = 86_400_000): Promise<Snapshot> {
  const root = join(home, 'cache', store);
  using cache = new Cache({ name: store, format: `a3s-${store}`, root, home, limits: noLimits, protect: noProtection }, { allowedRoots: [dirname(home)], leftoverAgeMs });
  return await cache.scan();
}

/** With its rows in the open, for comparing. */
async function seen(store: StoreOnDisk) {
  const snapshot = await store.cache().scan();
  return { ...snapshot, entries: [...snapshot.entries] };
}

test('a home of the runtime reads as it was written', async () => {
  const home = unpackHome(scratchDir(), { ageSeconds: 500 });
  const snapshot = await scanHome(home, 'rootfs');
  expect(imageOf(snapshot)).toEqual(images);
  expect(statsOf(snapshot)).toEqual({ entryCount: 8, totalBytes: 232_568 });
  expect(snapshot).toMatchObject({ damaged: [], leftovers: [], unrecognised: [] });
  const newest = [...snapshot.entries].find(({ key: each }) => each === rootfsKeys['nginx:1.27']);
  expect((snapshot.takenAtMs - (newest?.lastAccessedAtMs ?? 0)) / 1000).toBeCloseTo(500, -1);
});

test('so do its layers, by digest', async () => {
  const snapshot = await scanHome(unpackHome(scratchDir()), 'layers');
  expect([...snapshot.entries].map(({ name, key: digest }) => [name, digest])).toEqual([...snapshot.entries].map(({ name }) => [name, name.replace('_', ':')]));
  expect(snapshot.entries).toHaveLength(5);
  expect(snapshot).toMatchObject({ damaged: [], leftovers: [], unrecognised: [] });
});

describe('the damaged home reads exactly as its description says', () => {
  const read = async () => await scanHome(unpackHome(scratchDir(), { damaged: true }), 'rootfs', 0);
  const name = (image: Image) => rootfsKeys[image];

  test('entries: what is whole, half a tree that cannot be told from it, and a clock ahead as used now', async () => {
    const snapshot = await read();
    expect(imageOf(snapshot)).toEqual(['redis:8', 'node:24-slim', 'nginx:1.27', 'alpine:3.22']);
    expect([...snapshot.entries].filter(({ clockAhead }) => clockAhead)).toMatchObject([{ key: name('alpine:3.22'), lastAccessedAtMs: snapshot.takenAtMs }]);
    expect(statsOf(snapshot)).toEqual({ entryCount: 4, totalBytes: 14_071 + 32_071 + 8_071 + 50_071 });
  });

  test('damage, each with its reason', async () => {
    const { damaged } = await read();
    expect(damaged.map((each) => [each.name, each.reason])).toEqual([
      [name('golang:1.26'), 'MetadataMalformed'],
      [name('busybox:1.37'), 'MetadataNamesAnotherKey'],
      ['linked-entry', 'NotADirectory'],
      ['neg', 'MetadataValueInvalid'],
    ]);
    expect(damaged[1]?.message).toContain('../../../victim');
    expect(damaged[3]?.message).toMatch(/neg\.meta\.json: "size_bytes" is -5$/);
  });

  test('leftovers', async () => {
    const { leftovers } = await read();
    expect(leftovers.map((each) => [each.name, each.kind, each.removable])).toEqual([
      ['.staging-Ab12Cd', 'Staging', true],
      ['.tmpQw3rTy', 'Temp', true],
      [name('postgres:17'), 'Orphan', true],
      [name('python:3.14-slim'), 'Ghost', true],
    ]);
  });

  test('names that the format does not know', async () => {
    expect((await read()).unrecognised).toEqual(['notes.txt', 'unrelated-folder']);
  });
});

describe('a leftover is removable once nothing of it has changed for a day, by times that nobody can set', () => {
  const days = (n: number) => n * 86_400_000;

  test.each([
    ['a staging directory', (store: StoreOnDisk) => mkdirSync(join(store.root, '.staging-Ab12Cd', 'd'), { recursive: true })],
    ['a temp file', (store: StoreOnDisk) => writeFileSync(join(store.root, '.tmpQw3rTy'), '')],
    ['an orphan', (store: StoreOnDisk) => mkdirSync(join(store.root, key('a')))],
    ['a ghost', (store: StoreOnDisk) => void store.metadata(key('a'))],
  ])('%s', async (_, make) => {
    const store = new StoreOnDisk();
    make(store);
    execFileSync('find', [store.root, '-exec', 'touch', '-d', '2001-01-01', '{}', '+']);
    const clock = new SteppedClock();
    const removable = async () => (await store.cache({}, { clock }).scan()).leftovers.map((each) => each.removable);
    clock.advance(days(1) - 60_000);
    expect(await removable()).toEqual([false]);
    clock.advance(120_000);
    expect(await removable()).toEqual([true]);
  });

  test('a change deep inside keeps a staging directory', async () => {
    const store = new StoreOnDisk();
    mkdirSync(join(store.root, '.staging-Ab12Cd/d/usr'), { recursive: true });
    writeFileSync(join(store.root, '.staging-Ab12Cd/d/usr/file'), '');
    // The kernel's change times are some milliseconds behind the clock.
    await new Promise((resolve) => setTimeout(resolve, 200));
    const between = Date.now();
    chmodSync(join(store.root, '.staging-Ab12Cd/d/usr/file'), 0o600);
    const clock = new SteppedClock();
    clock.advance(between + days(1) - clock.now() - 100);
    expect((await store.cache({}, { clock }).scan()).leftovers).toMatchObject([{ kind: 'Staging', removable: false }]);
  });
});

describe('hostile content is data', () => {
  const hostile: [string, (store: StoreOnDisk, path: string) => void, object][] = [
    ['a gibibyte of metadata', (store, path) => { store.file(`${key('a')}.meta.json`, ''); truncateSync(path, 2 ** 30); }, { damaged: [{ reason: 'MetadataTooLarge' }] }],
    ['a FIFO as metadata', (_, path) => execFileSync('mkfifo', [path]), { damaged: [{ reason: 'MetadataNotAFile' }] }],
    ['a directory as metadata', (_, path) => mkdirSync(path), { damaged: [{ reason: 'MetadataNotAFile' }] }],
    ['a link as metadata', (_, path) => symlinkSync('/etc/hostname', path), { damaged: [{ reason: 'MetadataNotAFile' }] }],
    ['deeply nested metadata', (store) => store.file(`${key('a')}.meta.json`, '{"a":'.repeat(10_000)), { damaged: [{ reason: 'MetadataMalformed' }] }],
    ['a use in the year 292 million', (store) => store.metadata(key('a'), { last_accessed: Number.MAX_SAFE_INTEGER }), { entries: [{ clockAhead: true }], damaged: [] }],
    ['cached in the future', (store) => store.metadata(key('a'), { cached_at: 4_102_444_800 }), { entries: [{ clockAhead: false }], damaged: [] }],
    ['a use long ago', (store) => store.metadata(key('a'), { last_accessed: 0 }), { entries: [{ lastAccessedAtMs: 0 }] }],
  ];
  test.each(hostile)('%s', async (_, make, expected) => {
    const store = new StoreOnDisk();
    mkdirSync(join(store.root, key('a')));
    make(store, join(store.root, `${key('a')}.meta.json`));
    const startedAt = performance.now();
    expect(await seen(store)).toMatchObject(expected);
    expect(performance.now() - startedAt).toBeLessThan(1_000);
  });

  test('names of any kind are entries, or reported, and nothing else', async () => {
    const store = new StoreOnDisk();
    for (const name of ['__proto__', 'constructor', '-rf', 'new\nline', 'x'.repeat(240)]) store.entry(name);
    for (const name of ['.hidden', 'y'.repeat(255), 'back\\slash']) mkdirSync(join(store.root, name));
    mkdirSync(Buffer.concat([Buffer.from(`${store.root}/`), Buffer.from([0xff, 0xfe])]));
    const snapshot = await store.cache().scan();
    expect([...snapshot.entries].map(({ key: each }) => each).toSorted()).toEqual(['-rf', '__proto__', 'constructor', 'new\nline', 'x'.repeat(240)]);
    expect(snapshot.unrecognised).toEqual(['.hidden', '\\xff\\xfe', 'back\\slash', 'y'.repeat(255)]);
  });

  test('metadata under a foreign name is not taken for a ghost', async () => {
    const store = new StoreOnDisk().file('tsconfig.meta.json', '{"strict": true}');
    expect(await seen(store)).toMatchObject({ leftovers: [], damaged: [{ name: 'tsconfig', reason: 'MetadataMalformed' }] });
  });

  test('a link under the name of a key, without metadata, is unrecognised', async () => {
    const store = new StoreOnDisk();
    symlinkSync('/etc', join(store.root, key('a')));
    expect(await seen(store)).toMatchObject({ entries: [], unrecognised: [key('a')] });
  });

  test.each(['file', 'link'])('a %s in the place of our own folder hinders no scan', async (kind) => {
    const store = new StoreOnDisk().entry(key('a'));
    if (kind === 'file') store.file('.cachepolicy', '');
    else symlinkSync('/etc', join(store.root, '.cachepolicy'));
    expect((await store.cache().scan()).entries).toHaveLength(1);
  });

  test.runIf(asRoot)('metadata that cannot be read for a fault of the disk is damaged, and the rest is read', async () => {
    const store = new StoreOnDisk().entry(key('a')).entry(key('b'));
    // A mount on the metadata file stands for any error of one file.
    mount('--bind', '/etc/hostname', join(store.root, `${key('a')}.meta.json`));
    expect(await seen(store)).toMatchObject({ damaged: [{ name: key('a'), reason: 'MetadataUnreadable' }], entries: [{ key: key('b') }] });
  });
});

test('a scan writes nothing at all', async () => {
  const home = unpackHome(scratchDir(), { damaged: true });
  const store = new StoreOnDisk(home);
  const before = store.fingerprint;
  await scanHome(home, 'rootfs');
  expect(store.fingerprint).toBe(before);
});

test('a scan of many entries lets the event loop turn', async () => {
  const store = new StoreOnDisk();
  for (let i = 0; i < 3_000; i += 1) {
    mkdirSync(join(store.root, `entry-${i}`));
    store.metadata(`entry-${i}`);
  }
  let turns = 0;
  let ended = false;
  const scanned = store.cache().scan().finally(() => (ended = true));
  while (!ended) {
    await nextTurn();
    turns += 1;
  }
  expect((await scanned).entries).toHaveLength(3_000);
  // A slice takes 5 ms, and 3,000 files more than two of them on any machine.
  expect(turns).toBeGreaterThan(2);
});

test('a scan can be called off', async () => {
  const store = new StoreOnDisk();
  for (let i = 0; i < 2_000; i += 1) store.metadata(`entry-${i}`);
  await expect(store.cache().scan(AbortSignal.abort(new Error('called off')))).rejects.toThrow('called off');
});

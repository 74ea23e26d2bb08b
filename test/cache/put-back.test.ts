import { closeSync, mkdirSync, openSync, statSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { Cache } from '../../src/cache/pass.ts';
import { Dir } from '../../src/disk/dir.ts';
import { diskError, errno } from '../../src/disk/disk-error.ts';
import * as libc from '../../src/disk/libc.ts';
import { noLimits, noProtection } from '../../src/policy/limits.ts';
import type { SmallDisk } from '../disk/scratch.ts';
import { asRoot, pin, smallDisk } from '../disk/scratch.ts';
import { DirectoryOnDisk } from './directory-on-disk.ts';
import { SteppedClock } from './stepped-clock.ts';
import { key, StoreOnDisk } from './store.ts';

const enforce = { mode: 'Enforce', trigger: 'Manual' } as const;

afterEach(() => void vi.restoreAllMocks());

const lastUses = async (cache: Cache) => Object.fromEntries([...(await cache.scan()).entries].map(({ key: name, lastAccessedAtMs }) => [name, lastAccessedAtMs]));

/** Lets every move of what has the name fail. */
function refuseToMove(name: string): { refused: number } {
  const seen = { refused: 0 };
  for (const method of ['rename', 'exchange'] as const) {
    const real = Dir.prototype[method] as (this: Dir, ...args: unknown[]) => unknown;
    vi.spyOn(Dir.prototype, method).mockImplementation(function (this: Dir, ...args: unknown[]) {
      if (args[0] !== name && args[0] !== `${name}.meta.json`) return real.apply(this, args);
      seen.refused += 1;
      throw diskError(`move ${this.pathOf(name)}`, -errno.EPERM);
    } as never);
  }
  return seen;
}

const kinds: Record<string, () => { make: (name: string, usedSecondsAgo: number) => void; cache: (clock: SteppedClock) => Cache }> = {
  directory: () => {
    const disk = new DirectoryOnDisk();
    return { make: (name, usedSecondsAgo) => void disk.folder(name, { usedSecondsAgo }), cache: (clock) => disk.cache({ maxEntries: 2 }, { clock }) };
  },
  'a3sBox store': () => {
    const store = new StoreOnDisk();
    return { make: (name, usedSecondsAgo) => void store.entry(name, { usedSecondsAgo }), cache: (clock) => store.cache({ maxEntries: 2 }, { clock }) };
  },
};

describe.each(Object.entries(kinds))('an entry of a %s that fails to leave', (_, setUp) => {
  test('keeps its last use, is named by every pass, is tried again after a minute, then two, and costs no newer entry its place', async () => {
    const { make, cache: cacheWith } = setUp();
    const [stuck, old, young, fresh] = ['a', 'b', 'c', 'd'].map(key) as [string, string, string, string];
    for (const [i, name] of [stuck, old, young, fresh].entries()) make(name, 4_000 - 1_000 * i);
    const clock = new SteppedClock();
    using cache = cacheWith(clock);
    const before = await lastUses(cache);
    const seen = refuseToMove(stuck);
    const pass = async () => {
      const tries = seen.refused;
      const { evicted, errors, revived, raced } = await cache.pass(enforce);
      return { evicted: evicted.map(({ key: name }) => name), failed: errors.map(({ code, entry }) => `${code} ${entry}`), revived, raced, isTried: seen.refused > tries };
    };
    const named = { failed: [`ERR_DISK_IO ${stuck}`], revived: 0, raced: 0 };
    expect(await pass()).toEqual({ evicted: [old], isTried: true, ...named });
    expect(await pass()).toEqual({ evicted: [], isTried: false, ...named });
    clock.advance(61_000);
    expect(await pass()).toEqual({ evicted: [], isTried: true, ...named });
    clock.advance(61_000);
    expect(await pass()).toEqual({ evicted: [], isTried: false, ...named });
    clock.advance(61_000);
    expect(await pass()).toEqual({ evicted: [], isTried: true, ...named });
    vi.restoreAllMocks();
    expect(await lastUses(cache)).toEqual({ [stuck]: before[stuck], [young]: before[young], [fresh]: before[fresh] });
    clock.advance(10 * 60_000);
    expect(await pass()).toMatchObject({ evicted: [stuck], failed: [] });
  });
});

describe('an entry of a directory', () => {
  test('that nobody can ask whether it is in use stays, and keeps its last use', async () => {
    const disk = new DirectoryOnDisk().folder('old', { usedSecondsAgo: 9_000 }).folder('new', { usedSecondsAgo: 100 });
    using cache = disk.cache({ maxEntries: 0 });
    const before = await lastUses(cache);
    vi.spyOn(libc, 'tryLease').mockReturnValue(-errno.EACCES);
    const { evicted, errors } = await cache.pass(enforce);
    expect({ evicted, codes: errors.map(({ code }) => code) }).toEqual({ evicted: [], codes: ['ERR_HOLDS_UNREADABLE', 'ERR_HOLDS_UNREADABLE'] });
    expect(await lastUses(cache)).toEqual(before);
  });

  test('is named where nobody can be asked in the settle, is given back and keeps its last use', async () => {
    const disk = new DirectoryOnDisk().folder('old', { usedSecondsAgo: 9_000 });
    using cache = disk.cache({ maxEntries: 0 }, { clock: new SteppedClock(() => void vi.spyOn(libc, 'tryLease').mockReturnValue(-errno.EACCES)) });
    const before = await lastUses(cache);
    const { evicted, errors, revived } = await cache.pass(enforce);
    expect({ evicted, revived, failed: errors.map(({ code, entry }) => [code, entry]) }).toEqual({ evicted: [], revived: 0, failed: [['ERR_HOLDS_UNREADABLE', 'old']] });
    expect(disk.isWhole('old')).toBe(true);
    expect(await lastUses(cache)).toEqual(before);
  });

  test('that is opened in the settle is given back, used now', async () => {
    const clock = new SteppedClock(() => {
      const fd = openSync(join(disk.root, 'old/config.json'), 'r');
      onTestFinished(() => closeSync(fd));
    });
    const disk = new DirectoryOnDisk().folder('old', { usedSecondsAgo: 9_000 });
    using cache = disk.cache({ maxEntries: 0 }, { clock });
    expect(await cache.pass(enforce)).toMatchObject({ revived: 1, errors: [] });
    expect((await lastUses(cache))['old']).toBe(clock.now());
  });

  test('was seen in use, and another process begins to evict it and gives it back: the use is still known', async () => {
    const disk = new DirectoryOnDisk().folder('old', { usedSecondsAgo: 9_000 });
    const clock = new SteppedClock();
    using cache = disk.cache({}, { clock });
    const fd = openSync(join(disk.root, 'old/config.json'), 'r');
    await cache.scan();
    closeSync(fd);
    const before = await lastUses(cache);
    expect(before['old']).toBe(clock.now());
    clock.advance(60_000);
    let meanwhile: object | undefined;
    const stop = new AbortController();
    using other = disk.cache({ maxEntries: 0 }, { clock: new SteppedClock(async () => {
      meanwhile = await lastUses(cache);
      stop.abort();
    }) });
    await other.pass({ ...enforce, signal: stop.signal });
    expect(meanwhile).toEqual({});
    expect(await lastUses(cache)).toEqual(before);
  });
});

const filesystems: readonly [SmallDisk, number][] = [['tmpfs', 16], ['ext4', 16], ['xfs', 320]];

describe.runIf(asRoot).each(filesystems)('on %s', (kind, sizeMiB) => {
  test('what is exchanged keeps its times', () => {
    const disk = smallDisk(kind, { sizeMiB });
    if (disk === undefined) return;
    for (const name of ['a', 'b', 'a/folder', 'b/folder']) mkdirSync(join(disk, name));
    writeFileSync(join(disk, 'a/file'), 'x');
    symlinkSync('nowhere', join(disk, 'b/link'));
    for (const name of ['a/folder', 'b/folder', 'a/file']) utimesSync(join(disk, name), 1_000, 2_000);
    const [a, b] = [pin(join(disk, 'a')), pin(join(disk, 'b'))];
    for (const [one, other] of [['folder', 'link'], ['file', 'link'], ['folder', 'folder']] as const) {
      for (let i = 0; i < 2; i += 1) a.exchange(one, b, other);
      const { atimeMs, mtimeMs } = statSync(join(disk, 'a', one));
      expect([one, atimeMs, mtimeMs]).toEqual([one, 1_000_000, 2_000_000]);
    }
  });

  test('an entry that is given back keeps its last use, and one that nobody wants is evicted', async () => {
    const disk = smallDisk(kind, { sizeMiB });
    if (disk === undefined) return;
    const scratch = new DirectoryOnDisk().folder('old', { usedSecondsAgo: 9_000 });
    const root = join(disk, 'models');
    mkdirSync(join(root, 'old/shards'), { recursive: true });
    for (const name of ['old/config.json', 'old/shards/weights']) writeFileSync(join(root, name), 'old');
    for (const name of ['old/config.json', 'old/shards/weights', 'old/shards', 'old']) utimesSync(join(root, name), 1_000_000, 1_000_000);
    const spec = { ...scratch.spec({ maxEntries: 0 }), root, limits: { ...noLimits, maxEntries: 0 }, protect: noProtection };
    const stop = new AbortController();
    using stopped = new Cache(spec, { allowedRoots: [disk], clock: new SteppedClock(() => stop.abort()) });
    await stopped.pass({ ...enforce, signal: stop.signal });
    using cache = new Cache(spec, { allowedRoots: [disk], clock: new SteppedClock() });
    expect(await lastUses(cache)).toEqual({ old: 1_000_000_000 });
    expect((await cache.pass(enforce)).evicted.map(({ key: name }) => name)).toEqual(['old']);
  });
});

test('an entry that a crash left half way out keeps its last use', async () => {
  const disk = new DirectoryOnDisk().folder('old', { usedSecondsAgo: 9_000 });
  const before = await lastUses(disk.cache());
  const crash = new Error('crash');
  using crashing = disk.cache({ maxEntries: 0 }, { clock: new SteppedClock(() => { throw crash; }) });
  await expect(crashing.pass(enforce)).rejects.toBe(crash);
  using cache = disk.cache();
  await cache.pass(enforce);
  expect(await lastUses(cache)).toEqual(before);
});

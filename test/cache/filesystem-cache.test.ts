import { existsSync, mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { FilesystemCache } from '../../src/cache/filesystem-cache.ts';
import type { CacheOptions } from '../../src/cache/pass-options.ts';
import { diskError, errno } from '../../src/disk/disk-error.ts';
import { tryLock } from '../../src/disk/lock.ts';
import { OperatorError } from '../../src/errors.ts';
import { rootfsKeys, unpackHome } from '../fixtures/homes.ts';
import { asRoot, listing, mount, pin, scratchDir } from '../disk/scratch.ts';
import { tree } from './contract.ts';
import { SteppedClock } from './stepped-clock.ts';
import { key, StoreOnDisk } from './store.ts';

const [a, b] = [key('a'), key('b')];

function backend(store: StoreOnDisk, options: Partial<CacheOptions> = {}): FilesystemCache {
  return new FilesystemCache(store.spec(), { allowedRoots: [dirname(store.home)], clock: new SteppedClock(), restMs: 0, ...options });
}

function metadataOf(store: StoreOnDisk, name: string): Record<string, unknown> {
  return JSON.parse(readFileSync(join(store.root, `${name}.meta.json`), 'utf8')) as Record<string, unknown>;
}

describe('get', () => {
  test('writes the use as the runtime does: whole seconds, private, all else as it was', async () => {
    const store = new StoreOnDisk(unpackHome(scratchDir()));
    const clock = new SteppedClock();
    const redis = rootfsKeys['redis:8'];
    const before = metadataOf(store, redis);
    expect(await backend(store, { clock }).get(redis)).toBe(join(store.root, redis));
    expect(metadataOf(store, redis)).toEqual({ ...before, last_accessed: clock.now() / 1000 });
    expect(statSync(join(store.root, `${redis}.meta.json`)).mode & 0o777).toBe(0o600);
  });

  test('waits for whoever writes the metadata', async () => {
    const store = new StoreOnDisk().entry(a);
    let hit: Promise<string | undefined>;
    {
      using lock = tryLock(pin(store.root), `${a}.meta.json.lock`);
      expect(lock).toBeDefined();
      hit = backend(store).get(a);
      store.metadata(a, { description: 'written meanwhile' });
    }
    expect(await hit).toBeDefined();
    expect(metadataOf(store, a)).toMatchObject({ description: 'written meanwhile' });
  });

  test('makes no metadata for an entry that was evicted while it waited', async () => {
    const store = new StoreOnDisk().entry(a);
    let hit: Promise<string | undefined>;
    {
      using lock = tryLock(pin(store.root), `${a}.meta.json.lock`);
      expect(lock).toBeDefined();
      hit = backend(store).get(a);
      rmSync(join(store.root, `${a}.meta.json`));
    }
    expect(await hit).toBeUndefined();
    expect(existsSync(join(store.root, `${a}.meta.json`))).toBe(false);
  });

  test.each(['postgres:17', 'python:3.14-slim', 'golang:1.26', 'busybox:1.37'] as const)('misses %s of the damaged home', async (image) => {
    const store = new StoreOnDisk(unpackHome(scratchDir(), { damaged: true }));
    const before = store.names;
    expect(await backend(store).get(rootfsKeys[image])).toBeUndefined();
    expect(store.names).toEqual(before);
  });

  test.runIf(asRoot)('hits on a full disk, too', async () => {
    const home = join(scratchDir(), 'home');
    mkdirSync(home);
    mount('-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', home);
    const store = new StoreOnDisk(home).entry(a);
    fill(home);
    expect(await backend(store).get(a)).toBe(join(store.root, a));
    expect(store.isServed(a)).toBe(true);
  });
});

describe('put', () => {
  test('of a key in use is refused, and leaves nothing behind', async () => {
    const store = new StoreOnDisk().entry(a).box('one', a);
    const names = store.names;
    await expect(backend(store).put(a, tree(100), '')).rejects.toMatchObject({ code: 'ERR_ENTRY_IN_USE', message: `${a} is in use: box one` });
    expect(store.names).toEqual(names);
  });

  test('of a key that a box marks and that is not there is what the box waits for', async () => {
    const store = new StoreOnDisk().box('one', a);
    await backend(store).put(a, tree(100), '');
    expect(store.isServed(a)).toBe(true);
  });

  test('while it is unknown what is in use replaces nothing', async () => {
    const store = new StoreOnDisk().entry(a).box('bad', '');
    await expect(backend(store).put(a, tree(100), '')).rejects.toMatchObject({ code: 'ERR_ENTRY_IN_USE', message: expect.stringContaining('box bad') });
  });

  test('lets the tree it replaces rest in the trash, for who has just got its path', async () => {
    const store = new StoreOnDisk().entry(a);
    await backend(store, { restMs: 60_000 }).put(a, tree(100), '');
    expect(store.trash).toEqual([expect.stringMatching(new RegExp(`^[0-9a-f]{12}\\.${a}$`))]);
    expect(listing(join(store.root, '.cachepolicy/trash', store.trash[0] ?? '', 'd')).join()).toContain('etc/file');
    const clock = new SteppedClock();
    clock.advance(62_000);
    await store.cache({}, { clock }).purge();
    expect(store.trash).toEqual([]);
    expect(store.isServed(a)).toBe(true);
  });

  test.each([['exchange', a], ['replace', `${a}.meta.json`], ['sync', '.']])('that fails at the last moment (%s) leaves the old entry as it was: its path may have been handed out', async (step, name) => {
    const store = new StoreOnDisk().entry(a);
    const before = metadataOf(store, a);
    let failures = 0;
    const fault = (at: string) => {
      if (at !== `${step} ${store.root}/${name}` || failures > 0) return;
      failures += 1;
      throw new OperatorError('ERR_DISK_FULL', 'no space left');
    };
    await expect(backend(store, { fault }).put(a, tree(100), 'new')).rejects.toMatchObject({ code: 'ERR_DISK_FULL' });
    expect(failures).toBe(1);
    expect([store.isServed(a), store.isWhole(a)]).toEqual([true, true]);
    expect(metadataOf(store, a)).toEqual(before);
    expect(store.trash).toEqual([]);
  });

  test('that fails and cannot be taken back leaves the old tree in its staging directory', async () => {
    const store = new StoreOnDisk().entry(a);
    let exchanges = 0;
    const fault = (at: string) => {
      if (at.startsWith('exchange')) exchanges += 1;
      if ((at.startsWith('replace') && !at.includes('.cachepolicy')) || (at.startsWith('exchange') && exchanges > 1)) throw new OperatorError('ERR_DISK_IO', 'broken');
    };
    await expect(backend(store, { fault }).put(a, tree(100), 'new')).rejects.toMatchObject({ code: 'ERR_DISK_IO' });
    const staging = store.names.find((name) => name !== a) ?? '';
    expect(existsSync(join(store.root, staging, 'd', 'etc', 'file'))).toBe(true);
  });

  test('over metadata without a directory makes a whole entry', async () => {
    const store = new StoreOnDisk().metadata(a, { size_bytes: 9 });
    await backend(store).put(a, tree(100), 'new');
    expect(metadataOf(store, a)).toMatchObject({ size_bytes: 100, description: 'new' });
    expect(store.isServed(a)).toBe(true);
  });

  test('under a name that something else has is refused', async () => {
    const store = new StoreOnDisk();
    symlinkSync('/etc', join(store.root, a));
    await expect(backend(store).put(a, tree(100), '')).rejects.toMatchObject({ code: 'ERR_ENTRY_DAMAGED', message: `${store.root}/${a} is no directory` });
    expect(store.names).toEqual([a]);
  });

  test.runIf(asRoot)('of a tree that cannot be copied whole is given up, and leaves nothing behind', async () => {
    const store = new StoreOnDisk().entry(a);
    const source = tree(100);
    mkdirSync(join(source, 'mnt'));
    mount('-t', 'tmpfs', 'tmpfs', join(source, 'mnt'));
    await expect(backend(store).put(b, source, '')).rejects.toMatchObject({ code: 'ERR_INPUT_UNREADABLE' });
    expect(store.names).toEqual([a, `${a}.meta.json`]);
    expect(store.trash).toEqual([]);
  });

  test.runIf(asRoot)('on a full disk is given up, and leaves nothing behind', async () => {
    const home = join(scratchDir(), 'home');
    mkdirSync(home);
    mount('-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', home);
    const store = new StoreOnDisk(home).entry(a);
    await expect(backend(store).put(b, tree(500_000), '')).rejects.toMatchObject({ code: 'ERR_DISK_FULL' });
    expect(store.names).toEqual([a, `${a}.meta.json`]);
    expect(store.trash).toEqual([]);
  });

  test.each([
    ['the old metadata cannot be removed', /^unlink .*\/\.staging-\w{6}\/meta$/],
    ['the old tree cannot be moved', /^rename .*\/\.staging-\w{6}$/],
  ])('has succeeded also where at the very end %s; the old tree stays whole for a day', async (_, failing) => {
    const store = new StoreOnDisk().entry(a);
    const fault = (step: string) => {
      if (failing.test(step)) throw diskError(step, -errno.EIO);
    };
    expect(await backend(store, { fault }).put(a, tree(100), 'new')).toBe(join(store.root, a));
    expect(store.isServed(a)).toBe(true);
    const [staging = ''] = store.names.filter((name) => name.startsWith('.staging-'));
    expect(readFileSync(join(store.root, staging, 'd/etc/file'), 'utf8')).toBe(a);
    const clock = new SteppedClock();
    clock.advance(2 * 86_400_000);
    expect((await store.cache({}, { clock }).pass({ mode: 'Enforce', trigger: 'Manual' })).leftoversRemoved).toBe(1);
    expect(store.names).toEqual([a, `${a}.meta.json`]);
  });

  test('waits for a pass to end', async () => {
    const store = new StoreOnDisk().entry(a);
    let put: Promise<unknown> = Promise.resolve();
    let servedDuringPass: boolean | undefined;
    const clock = new SteppedClock(
      () => void (put = backend(store).put(b, tree(100), '')),
      async () => {
        await new Promise((resolve) => setTimeout(resolve, 100));
        servedDuringPass = store.isServed(b);
      },
    );
    await store.cache({ maxEntries: 0 }, { clock }).pass({ mode: 'Enforce', trigger: 'Manual' });
    await put;
    expect([servedDuringPass, store.isServed(b)]).toEqual([false, true]);
  });
});

describe('invalidate', () => {
  test('refuses an entry in use, unless it is forced; then it does not rest', async () => {
    const store = new StoreOnDisk().entry(a).entry(b).box('one', a).box('two', b);
    const cache = backend(store, { restMs: 60_000 });
    await expect(cache.invalidate(a)).rejects.toMatchObject({ code: 'ERR_ENTRY_IN_USE', message: `${a} is in use: box one` });
    expect(store.isServed(a)).toBe(true);
    await cache.invalidate(a, { force: true });
    expect(store.names).toEqual([b, `${b}.meta.json`]);
    expect(store.trash).toEqual([]);
  });

  test('lets the entry rest in the trash like an evicted one, and touches no other there', async () => {
    const store = new StoreOnDisk().entry(a).entry(b);
    await backend(store, { restMs: 60_000 }).invalidate(a);
    expect(store.trash).toHaveLength(1);
    await backend(store, { restMs: 0 }).invalidate(b, { force: true });
    expect(store.trash).toEqual([expect.stringContaining(a)]);
  });

  test('gives up where the entry is used meanwhile', async () => {
    const store = new StoreOnDisk().entry(a);
    const clock = new SteppedClock(() => void store.box('new', a));
    await expect(backend(store, { clock }).invalidate(a)).rejects.toMatchObject({ code: 'ERR_ENTRY_IN_USE', message: `${a} was used while it was being removed` });
    expect([store.isServed(a), store.isWhole(a)]).toEqual([true, true]);
  });

  test('removes a directory without metadata', async () => {
    const store = new StoreOnDisk(unpackHome(scratchDir(), { damaged: true }));
    await backend(store).invalidate(rootfsKeys['postgres:17']);
    expect(store.names).not.toContain(rootfsKeys['postgres:17']);
  });

  test('removes metadata without a directory', async () => {
    const store = new StoreOnDisk().metadata(a);
    await backend(store).invalidate(a);
    expect(store.names).toEqual([]);
    expect(store.trash).toEqual([]);
  });

  test('leaves metadata that somebody writes at this moment', async () => {
    const store = new StoreOnDisk().metadata(a);
    using lock = tryLock(pin(store.root), `${a}.meta.json.lock`);
    expect(lock).toBeDefined();
    await expect(backend(store).invalidate(a)).rejects.toMatchObject({ code: 'ERR_ENTRY_IN_USE' });
    expect(store.names).toEqual([`${a}.meta.json`]);
  });

  test.each(['linked-entry', 'neg', rootfsKeys['busybox:1.37']])('leaves what is damaged to be looked at: %s', async (name) => {
    const store = new StoreOnDisk(unpackHome(scratchDir(), { damaged: true }));
    await expect(backend(store).invalidate(name)).rejects.toMatchObject({ code: 'ERR_ENTRY_DAMAGED' });
    expect(store.names).toContain(name);
  });
});

describe('prune', () => {
  test('says that it did nothing while it is unknown what is in use', async () => {
    const store = new StoreOnDisk().entry(a).box('bad', 'no key');
    await expect(backend(store).prune(0, 0)).rejects.toMatchObject({ code: 'ERR_HOLDS_UNREADABLE' });
    expect(store.isServed(a)).toBe(true);
  });

  test('keeps what is in use, whatever the limit', async () => {
    const store = new StoreOnDisk().entry(a).entry(b).box('one', a);
    expect(await backend(store).prune(0, 0)).toBe(1);
    expect(store.isServed(a)).toBe(true);
  });
});

test('a root that is missing is told, and not made', async () => {
  const store = new StoreOnDisk();
  rmSync(store.root, { recursive: true });
  await expect(backend(store).get(a)).rejects.toMatchObject({ code: 'ERR_ROOT_MISSING' });
  await expect(backend(store).put(a, tree(100), '')).rejects.toMatchObject({ code: 'ERR_ROOT_MISSING' });
  expect(existsSync(store.root)).toBe(false);
});

function fill(dir: string): void {
  try {
    for (let i = 0; ; i += 1) writeFileSync(join(dir, `filler-${i}`), 'x'.repeat(4096));
  } catch {}
}

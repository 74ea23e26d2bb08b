import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, renameSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { Cache } from '../../src/cache/pass.ts';
import type { PassReport } from '../../src/cache/report.ts';
import { asRoot, mount, scratchDir } from '../disk/scratch.ts';
import { key, StoreOnDisk } from './store.ts';

const [a, b, c] = [key('a'), key('b'), key('c')];
const enforce = { mode: 'Enforce', trigger: 'Change' } as const;
const mountChanged = { code: 'ERR_ROOT_MOUNT_CHANGED' };

function three(home?: string): StoreOnDisk {
  return new StoreOnDisk(home).entry(a, { usedSecondsAgo: 3_000 }).entry(b, { usedSecondsAgo: 2_000 }).entry(c);
}

/** Puts a disk of its own over a directory, with what another holds. */
function diskOver(path: string, content?: string): void {
  mount('-t', 'tmpfs', 'tmpfs', path);
  if (content !== undefined) cpSync(content, path, { recursive: true });
}

function unmounted(path: string): void {
  execFileSync('umount', [path]);
  // What unmounts at the end of the test is to find something.
  onTestFinished(() => void execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', path]));
}

/** Another disk in the same place is noticed first; where the kernel gave it all the numbers of the one before, it is the same. */
async function takenUp(cache: Cache): Promise<PassReport> {
  try {
    return await cache.pass(enforce);
  } catch (error) {
    expect(error).toMatchObject({ code: 'ERR_ROOT_REPLACED' });
    return await cache.pass(enforce);
  }
}

test('another directory in the place of a root loses nothing to the pass that notices, also where a purge came first', async () => {
  const store = three(join(scratchDir(), 'home'));
  const cache = store.cache({ maxEntries: 2 });
  expect((await cache.pass(enforce)).evicted).toHaveLength(1);
  renameSync(store.root, `${store.root}.away`);
  three(store.home);
  const replaced = { code: 'ERR_ROOT_REPLACED' };
  for (let purge = 0; purge < 2; purge += 1) await expect(cache.purge({ now: true })).rejects.toMatchObject(replaced);
  await expect(cache.save()).rejects.toMatchObject(replaced);
  await expect(cache.pass({ mode: 'Enforce', trigger: 'FreeSpace' })).rejects.toMatchObject(replaced);
  expect((await cache.pass(enforce)).evicted).toHaveLength(1);
});

describe.runIf(asRoot)('a root', () => {
  test.each(['the store', 'the home', 'a directory above'])('whose disk is unmounted at %s is left alone until it is back, and so is what lay below it', async (where) => {
    const below = three(join(scratchDir(), 'up', 'home'));
    const at = { 'the store': below.root, 'the home': below.home, 'a directory above': dirname(below.home) }[where] ?? '';
    const content = join(scratchDir(), 'content');
    cpSync(at, content, { recursive: true });
    const untouched = below.fingerprint;
    const cache = below.cache({ maxEntries: 2 });
    diskOver(at, content);
    expect((await cache.pass(enforce)).evicted).toHaveLength(1);
    unmounted(at);
    for (let pass = 0; pass < 3; pass += 1) await expect(cache.pass(enforce)).rejects.toMatchObject(mountChanged);
    await expect(cache.purge()).rejects.toMatchObject(mountChanged);
    await expect(cache.save()).rejects.toMatchObject(mountChanged);
    expect(below.fingerprint).toBe(untouched);
    diskOver(at, content);
    expect((await takenUp(cache)).evicted).toHaveLength(1);
    unmounted(at);
    expect(below.fingerprint).toBe(untouched);
  });

  test('over which something is mounted is left alone until that is gone, and so is what was mounted', async () => {
    const store = three(join(scratchDir(), 'home'));
    const cache = store.cache({ maxEntries: 2 });
    await cache.pass(enforce);
    store.entry(a);
    const other = three();
    diskOver(store.home, other.home);
    const over = store.fingerprint;
    for (let pass = 0; pass < 3; pass += 1) await expect(cache.pass(enforce)).rejects.toMatchObject({ ...mountChanged, message: `something was mounted at ${store.home}, over the entries of ${store.root}` });
    await expect(cache.purge()).rejects.toMatchObject(mountChanged);
    expect(store.fingerprint).toBe(over);
    unmounted(store.home);
    expect((await cache.pass(enforce)).evicted).toHaveLength(1);
  });

  test('that was empty takes up the disk that is mounted over it', async () => {
    const store = new StoreOnDisk(join(scratchDir(), 'home'));
    const cache = store.cache({ maxEntries: 2 });
    await cache.pass(enforce);
    mkdirSync(join(store.home, 'unused'));
    diskOver(store.home, three().home);
    expect((await takenUp(cache)).evicted).toHaveLength(1);
  });
});

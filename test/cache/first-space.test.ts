import { execFileSync } from 'node:child_process';
import { cpSync, utimesSync, chownSync, closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { Cache } from '../../src/cache/pass.ts';
import { readJournal } from '../../src/cache/journal.ts';
import { lockSweep } from '../../src/cache/sweep-hidden.ts';
import type { Fault } from '../../src/disk/dir.ts';
import { diskError, errno } from '../../src/disk/disk-error.ts';
import { openRoot } from '../../src/disk/pinned-root.ts';
import { OperatorError } from '../../src/errors.ts';
import type { SmallDisk } from '../disk/scratch.ts';
import { asRoot, smallDisk } from '../disk/scratch.ts';
import { DirectoryOnDisk } from './directory-on-disk.ts';
import { SteppedClock } from './stepped-clock.ts';
import { stops } from './stopping-disk.ts';
import { key, StoreOnDisk } from './store.ts';

const enforce = { mode: 'Enforce', trigger: 'Manual' } as const;
const Ki = 1024;

interface FullDisk {
  readonly kind: SmallDisk;
  readonly of: 'bytes' | 'inodes';
  readonly sizeMiB: number;
  readonly inodes?: number;
}

const disks: readonly (readonly [string, FullDisk])[] = [
  ['tmpfs without inodes', { kind: 'tmpfs', of: 'inodes', sizeMiB: 12, inodes: 120 }],
  ['tmpfs without blocks', { kind: 'tmpfs', of: 'bytes', sizeMiB: 12 }],
  ['ext4 without inodes', { kind: 'ext4', of: 'inodes', sizeMiB: 24, inodes: 128 }],
  ['ext4 without blocks', { kind: 'ext4', of: 'bytes', sizeMiB: 24 }],
  ['xfs without blocks', { kind: 'xfs', of: 'bytes', sizeMiB: 300 }],
];

/** Until nobody can write a byte or make a file or a folder any more; on a tmpfs without blocks those can still be made. */
function fill(dir: string, { of }: Pick<FullDisk, 'of'>): void {
  execFileSync('python3', ['-c', `
import os, sys
os.chdir(sys.argv[1])
os.mkdir('many')
def until_full(act):
    try:
        while True: act()
    except OSError: pass
if sys.argv[2] == 'bytes':
    for size in (1 << 20, 4096, 512, 1):
        def grow():
            with open('many/fill', 'ab', buffering=0) as f:
                while True: f.write(os.urandom(size))
        until_full(grow)
        os.sync()
n = [0]
def file():
    n[0] += 1
    if n[0] > 20000: raise OSError()
    open('many/%d' % n[0], 'w').close()
def folder():
    n[0] += 1
    if n[0] > 20000: raise OSError()
    os.mkdir('many/%d' % n[0])
until_full(folder)
until_full(file)
os.sync()
`, dir, of], { stdio: 'pipe' });
}

function emptyDisk({ kind, sizeMiB, inodes }: FullDisk, skip: (why: string) => void): string {
  const dir = smallDisk(kind, { sizeMiB, inodes });
  if (dir === undefined) skip(`no ${kind} can be mounted here`);
  return dir ?? '';
}

function open(path: string): void {
  const fd = openSync(path, 'r');
  onTestFinished(() => closeSync(fd));
}

const evictedBy = ({ evicted }: { evicted: readonly { readonly key: string }[] }) => evicted.map((entry) => entry.key);

function history(cache: { readonly root: string }): string[] {
  return readJournal({ root: cache.root, format: 'directory', allowedRoots: [join(cache.root, '..')] }).records.map((record) => record.key);
}

/** What lies about outside of our folder. */
function hiddenIn(root: string): string {
  return execFileSync('find', [root, '-path', `${root}/.cachepolicy`, '-prune', '-o', '-name', '.cachepolicy*', '-print'], { encoding: 'utf8' }).trim();
}

function isTidy(root: string): void {
  expect(hiddenIn(root)).toBe('');
  expect(execFileSync('find', [dirname(root), '-path', '*/.cachepolicy/*trash/*'], { encoding: 'utf8' })).toBe('');
}

async function pruned(cache: Cache) {
  const report = await cache.pass(enforce);
  await cache.purge();
  return report;
}

describe.runIf(asRoot).each(disks)('the first run ever, on %s', (_, disk) => {
  test('evicts single files by unlink, then the rest in the ordinary order, and the journal has all of them', async ({ skip }) => {
    const dir = emptyDisk(disk, skip);
    const cache = new DirectoryOnDisk(dir);
    for (let i = 0; i < 6; i += 1) cache.file(`file-${i}`, { usedSecondsAgo: 9_000 - i, bytes: 256 * Ki });
    cache.folder('folder', { usedSecondsAgo: 20_000, bytes: 256 * Ki });
    open(join(cache.root, 'file-0'));
    fill(dir, disk);
    const report = await pruned(cache.cache({ maxEntries: 1 }));
    expect(evictedBy(report).toSorted()).toEqual(['file-1', 'file-2', 'file-3', 'file-4', 'file-5', 'folder']);
    expect(report.errors).toEqual([]);
    expect(cache.names).toEqual(['file-0']);
    expect(history(cache).toSorted()).toEqual(evictedBy(report).toSorted());
    isTidy(cache.root);
  });

  test('evicts folders that it moves out of sight, and none that is in use', async ({ skip }) => {
    const dir = emptyDisk(disk, skip);
    const cache = new DirectoryOnDisk(dir);
    for (const [i, name] of ['a', 'b', 'c', 'd'].entries()) {
      cache.folder(name, { usedSecondsAgo: 9_000 - i, bytes: 640 * Ki });
      // More than our own folder takes.
      for (const more of [1, 2, 3]) cpSync(join(cache.root, name, 'config.json'), join(cache.root, name, `more-${more}`), { preserveTimestamps: true });
      utimesSync(join(cache.root, name), Date.now() / 1000 - 9_000 + i, Date.now() / 1000 - 9_000 + i);
    }
    open(join(cache.root, 'a', 'shards', 'weights'));
    fill(dir, disk);
    const report = await pruned(cache.cache({ maxEntries: 2 }));
    expect({ evicted: evictedBy(report), errors: report.errors, names: cache.names }).toEqual({ evicted: ['b', 'c'], errors: [], names: ['a', 'd'] });
    expect(cache.isWhole('a') && cache.isWhole('d')).toBe(true);
    expect(history(cache)).toEqual(['b', 'c']);
    isTidy(cache.root);
  });

  // A tmpfs without blocks still makes folders: there the ordinary order begins.
  test.skipIf(disk.kind === 'tmpfs' && disk.of === 'bytes')('puts a folder back that is opened while it is out of sight, as it was', async ({ skip }) => {
    const dir = emptyDisk(disk, skip);
    const cache = new DirectoryOnDisk(dir);
    for (const [i, name] of ['a', 'b', 'c', 'd'].entries()) cache.folder(name, { usedSecondsAgo: 9_000 - i, bytes: 512 * Ki });
    fill(dir, disk);
    const hidden = () => execFileSync('find', [cache.root, '-path', '*/.cachepolicy-*.a/config.json'], { encoding: 'utf8' }).trim();
    // The first settle comes before the folder is moved, the second after.
    const clock = new SteppedClock(() => {}, () => open(hidden()));
    const report = await pruned(cache.cache({ maxEntries: 2 }, { clock }));
    expect(evictedBy(report)).toEqual(['b', 'c']);
    expect(cache.isWhole('a') && cache.isWhole('d')).toBe(true);
    isTidy(cache.root);
  });

  test('evicts entries of the runtime, and serves the others with their own metadata', async ({ skip }) => {
    const dir = emptyDisk(disk, skip);
    const store = new StoreOnDisk(join(dir, 'home'));
    const names = ['a', 'b', 'c', 'd'].map(key);
    for (const [i, name] of names.entries()) {
      store.entry(name, { usedSecondsAgo: 9_000 - i });
      writeFileSync(join(store.root, name, 'large'), Buffer.alloc(512 * Ki, 1));
    }
    store.box('one', names[0]);
    const metadata = readFileSync(join(store.root, `${names[0]}.meta.json`), 'utf8');
    fill(dir, disk);
    const report = await pruned(store.cache({ maxEntries: 2 }));
    expect({ evicted: evictedBy(report), errors: report.errors }).toEqual({ evicted: names.slice(1, 3), errors: [] });
    for (const name of [names[0]!, names[3]!]) expect(store.isServed(name) && store.isWhole(name)).toBe(true);
    expect(readFileSync(join(store.root, `${names[0]}.meta.json`), 'utf8')).toBe(metadata);
    expect(readJournal({ root: store.root, format: 'a3s-rootfs', allowedRoots: [store.home] }).records.map((record) => record.key)).toEqual(names.slice(1, 3));
    isTidy(store.root);
  });
});

const ext4: FullDisk = { kind: 'ext4', of: 'bytes', sizeMiB: 24 };

/** Names without content take the slack of a directory: nothing can be renamed within it any more. */
function takeSlack(path: string): void {
  for (const length of [60, 30, 1]) {
    expect(() => {
      for (let i = 0; ; i += 1) writeFileSync(join(path, `.${i}`.padEnd(length, 'x')), '');
    }).toThrow(/ENOSPC/);
  }
}

// It renames nothing without space.
test.runIf(asRoot)('a btrfs without blocks evicts single files, and names what to delete where there are only folders', async ({ skip }) => {
  const btrfs: FullDisk = { kind: 'btrfs', of: 'bytes', sizeMiB: 128 };
  const dir = emptyDisk(btrfs, skip);
  const cache = new DirectoryOnDisk(dir);
  cache.folder('a', { usedSecondsAgo: 20_000, bytes: 1_024 * Ki }).folder('b', { usedSecondsAgo: 19_000, bytes: 1_024 * Ki });
  fill(dir, btrfs);
  await expect(cache.cache({ maxEntries: 1 }).pass(enforce)).rejects.toMatchObject({ code: 'ERR_NO_ROOM_TO_BEGIN', message: expect.stringMatching(/; delete \/\S+\/a$/) as string });
  expect(cache.isWhole('a') && cache.isWhole('b')).toBe(true);
  rmSync(join(dir, 'many'), { recursive: true });
  execFileSync('sync', ['-f', dir]);
  for (let i = 0; i < 8; i += 1) cache.file(`file-${i}`, { usedSecondsAgo: 30_000 - i, bytes: 2_048 * Ki });
  fill(dir, btrfs);
  const report = await pruned(cache.cache({ maxEntries: 1 }));
  expect({ names: cache.names, evicted: evictedBy(report).length }).toEqual({ names: ['b'], evicted: 9 });
  isTidy(cache.root);
}, 60_000);

test.runIf(asRoot)('a folder is moved into another that has to go where its own directory has no slack', async ({ skip }) => {
  const dir = emptyDisk(ext4, skip);
  const cache = new DirectoryOnDisk(dir);
  for (const [i, name] of ['a', 'b', 'c'].entries()) cache.folder(name, { usedSecondsAgo: 9_000 - i, bytes: 512 * Ki });
  fill(dir, ext4);
  takeSlack(cache.root);
  const places: string[] = [];
  const look = () => void places.push(execFileSync('find', [cache.root, '-name', '.cachepolicy-*.a'], { encoding: 'utf8' }).trim());
  const report = await pruned(cache.cache({ maxEntries: 1 }, { clock: new SteppedClock(() => {}, look) }));
  expect(places[0]).toMatch(/\/models\/b\/\.cachepolicy-[0-9a-z]+\.a$/);
  expect({ evicted: evictedBy(report), names: cache.names.filter((name) => !name.startsWith('.')) }).toEqual({ evicted: ['a', 'b'], names: ['c'] });
  isTidy(cache.root);
});

test.runIf(asRoot)('where nothing can be moved either, the error names what to delete by hand, and nothing is lost', async ({ skip }) => {
  const dir = emptyDisk(ext4, skip);
  const cache = new DirectoryOnDisk(dir);
  cache.folder('a', { usedSecondsAgo: 9_000, bytes: 2_048 * Ki }).folder('b', { usedSecondsAgo: 10 });
  fill(dir, ext4);
  takeSlack(cache.root);
  await expect(cache.cache({ maxEntries: 1 }).pass(enforce)).rejects.toMatchObject({ code: 'ERR_NO_ROOM_TO_BEGIN', message: expect.stringMatching(new RegExp(`; delete ${cache.root}/a$`)) as string });
  expect(cache.isWhole('a') && cache.isWhole('b')).toBe(true);
  expect(existsSync(join(cache.root, '.cachepolicy'))).toBe(false);
  rmSync(join(cache.root, 'a'), { recursive: true });
  expect((await cache.cache({ maxEntries: 1 }).pass(enforce)).errors).toEqual([]);
});

test.runIf(asRoot)('an aborted run puts everything back, and rejects with the reason', async ({ skip }) => {
  const dir = emptyDisk(tmpfs, skip);
  const store = storeWith(dir);
  const before = execFileSync('find', [store.root, '-printf', '%P %i %m %l\n'], { encoding: 'utf8' }).split('\n').toSorted();
  fill(dir, tmpfs);
  for (const waits of [0, 1, 2]) {
    const stop = new AbortController();
    // Before the first wait: as soon as one entry has its metadata moved.
    const fault = (step: string) => void (waits === 0 && /^rename \S+\.meta\.json$/.test(step) && stop.abort());
    const acts = Array.from({ length: waits }, (_, i) => () => (i === waits - 1 ? stop.abort() : undefined));
    const cache = store.cache({ maxEntries: 1 }, { clock: new SteppedClock(...acts), fault });
    await expect(cache.pass({ ...enforce, signal: stop.signal })).rejects.toMatchObject({ name: 'AbortError' });
    expect(execFileSync('find', [store.root, '-printf', '%P %i %m %l\n'], { encoding: 'utf8' }).split('\n').toSorted()).toEqual(before);
  }
});

const tmpfs: FullDisk = { kind: 'tmpfs', of: 'inodes', sizeMiB: 4, inodes: 60 };
const names = ['a', 'b', 'c'].map(key);

function storeWith(dir: string): StoreOnDisk {
  const store = new StoreOnDisk(join(dir, 'home'));
  for (const [i, name] of names.entries()) store.entry(name, { usedSecondsAgo: 9_000 - i });
  return store;
}

/** As on a directory without slack: nothing can be renamed within it. */
function withoutSlack(fault: Fault): Fault {
  let refused = '';
  return (step) => {
    fault(step);
    if (!/^rename \S+\/[a-c]+$/.test(step) || step === refused) return void (refused = '');
    refused = step;
    throw new OperatorError('ERR_DISK_FULL', step);
  };
}

const slacks: readonly (readonly [string, (fault: Fault) => Fault])[] = [['within its directory', (fault) => fault], ['into another', withoutSlack]];

describe.runIf(asRoot).each(slacks)('wherever a first run stops that moves folders %s', (_, slack) => {
  test('entries of the runtime are whole or gone, and the next run finishes it, whether the disk is still full or not', async ({ skip }) => {
    let steps = 0;
    for (; ; steps += 1) {
      const dir = emptyDisk(tmpfs, skip);
      const store = storeWith(dir);
      fill(dir, tmpfs);
      const stopped = await stops(steps, (fault) => store.cache({ maxEntries: 1 }, { fault: slack(fault) }).pass(enforce));
      for (const name of names) if (existsSync(join(store.root, name))) expect(store.isWhole(name), `${steps}`).toBe(true);
      if (!stopped) break;
      // Still full, with nothing to evict: what was begun is finished all the same.
      await store.cache().pass(enforce).catch((error: unknown) => expect(error).toMatchObject({ code: 'ERR_DISK_FULL' }));
      for (const name of names) if (existsSync(join(store.root, name))) expect(store.isServed(name) && store.isWhole(name), `${steps}`).toBe(true);
      expect(hiddenIn(store.root)).toBe('');
      rmSync(join(dir, 'many'), { recursive: true });
      expect((await store.cache().pass(enforce)).errors).toEqual([]);
      await store.cache().purge();
      for (const name of names) expect(store.isServed(name), `${steps}`).toBe(existsSync(join(store.root, name)));
      isTidy(store.root);
    }
    expect(steps).toBeGreaterThan(10);
  }, 180_000);

  test('a tree that is in use by then comes back whole', async ({ skip }) => {
    for (let steps = 0; ; steps += 1) {
      const dir = emptyDisk(tmpfs, skip);
      const cache = new DirectoryOnDisk(dir);
      for (const [i, name] of ['a', 'b', 'c'].entries()) cache.folder(name, { usedSecondsAgo: 9_000 - i });
      fill(dir, tmpfs);
      if (!(await stops(steps, (fault) => cache.cache({ maxEntries: 1 }, { fault: slack(fault) }).pass(enforce)))) break;
      const [hidden] = hiddenIn(cache.root).split('\n').filter((path) => existsSync(join(path, 'config.json')) && statSync(path).mode % 0o10000 !== 0o1700);
      if (hidden === undefined) continue;
      const name = hidden.slice(-1);
      const fd = openSync(join(hidden, 'shards/weights'), 'r');
      await cache.cache().pass(enforce).catch((error: unknown) => expect(error).toMatchObject({ code: 'ERR_DISK_FULL' }));
      closeSync(fd);
      expect(cache.isWhole(name), `${steps}`).toBe(true);
      expect(hiddenIn(cache.root)).toBe('');
    }
  }, 180_000);
});

describe.runIf(asRoot)('a sweep', () => {
  test('believes no name whose inode is not its own, and deletes nothing by it', async () => {
    const cache = new DirectoryOnDisk().folder('a').folder('b');
    mkdirSync(join(cache.root, 'a', '.cachepolicy-1a.b'));
    writeFileSync(join(cache.root, 'a', '.cachepolicy-1a.b', 'file'), 'x');
    expect((await cache.cache({ maxEntries: 9 }).pass(enforce)).errors).toEqual([]);
    expect(readdirSync(join(cache.root, 'a', '.cachepolicy-1a.b'))).toEqual(['file']);
  });

  test('puts no folder into the cache whose owner may not write there', async () => {
    const cache = new DirectoryOnDisk().folder('a').folder('b');
    const planted = join(cache.root, 'a', 'planted');
    mkdirSync(planted);
    writeFileSync(join(planted, 'weights'), 'x');
    const hidden = join(cache.root, 'a', `.cachepolicy-${statSync(planted).ino.toString(36)}.model`);
    renameSync(planted, hidden);
    chownSync(hidden, 1234, 1234);
    open(join(hidden, 'weights'));
    const { errors } = await cache.cache({ maxEntries: 9 }).pass(enforce);
    expect(errors).toMatchObject([{ code: 'ERR_ENTRY_IN_USE', entry: 'model' }]);
    expect(cache.names).toEqual(['a', 'b']);
  });
});

test.runIf(asRoot)('a folder that cannot be deleted is reported by the run that moved it, which goes on', async ({ skip }) => {
  const dir = emptyDisk(tmpfs, skip);
  const store = storeWith(dir);
  fill(dir, tmpfs);
  const fault = (step: string) => {
    if (/^unlink \S+\.a{64}\/data$/.test(step)) throw diskError(step, -errno.EIO);
  };
  const { evicted, errors } = await store.cache({ maxEntries: 1 }, { fault }).pass(enforce);
  expect(evictedBy({ evicted })).toContain(names[1]);
  expect(errors[0]).toMatchObject({ code: 'ERR_DISK_IO', entry: names[0], message: expect.stringContaining('(EIO)') as string });
  expect(store.isServed(names[2]!) && store.isWhole(names[2]!)).toBe(true);
});

test('a file that takes the place of a victim while others go, on a full disk, stays', async () => {
  const cache = new DirectoryOnDisk();
  for (const [i, name] of ['a', 'b', 'c', 'd', 'e'].entries()) cache.file(name, { usedSecondsAgo: 5_000 - i });
  const taken = join(cache.root, 'c');
  const fault = (step: string) => {
    if (step.startsWith('mkdir')) throw diskError(step, -errno.ENOSPC);
    if (step !== `unlink ${join(cache.root, 'b')}`) return;
    writeFileSync(join(cache.root, '.new'), 'new');
    renameSync(join(cache.root, '.new'), taken);
  };
  const { evicted } = await cache.cache({ maxEntries: 1 }, { fault, clock: new SteppedClock() }).pass(enforce);
  expect(evicted.map((entry) => entry.key)).toEqual(['a', 'b', 'd', 'e']);
  expect(readFileSync(taken, 'utf8')).toBe('new');
});

test('a lock that somebody holds on the directory of a cache is named as that', () => {
  const { root: path } = new StoreOnDisk();
  using root = openRoot(path, { allowedRoots: [dirname(path)] });
  using _held = lockSweep(root);
  expect(() => lockSweep(root)).toThrow(`a process holds a lock on the directory ${path} itself`);
});

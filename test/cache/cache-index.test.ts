import { execFileSync, spawnSync } from 'node:child_process';
import { appendFileSync, mkdirSync, readdirSync, readFileSync, readlinkSync, renameSync, rmdirSync, rmSync, statSync, symlinkSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import type { Cache } from '../../src/cache/pass.ts';
import { DirWatch } from '../../src/disk/dir-watch.ts';
import { Slices } from '../../src/disk/slices.ts';
import { Columns } from '../../src/policy/entry-columns.ts';
import type { Snapshot } from '../../src/policy/snapshot.ts';
import { asRoot, scratchDir } from '../disk/scratch.ts';
import { SteppedClock } from './stepped-clock.ts';
import { key, StoreOnDisk } from './store.ts';

/** Everything a snapshot says, but for what it cost. */
function contentOf({ entries, damaged, leftovers, unrecognised }: Snapshot) {
  return { entries: [...entries].toSorted((a, b) => (a.name < b.name ? -1 : 1)), damaged, leftovers, unrecognised };
}

/** Time for changes on the disk to settle: the engine believes no change time that is younger than two seconds. */
function settled(): SteppedClock {
  const clock = new SteppedClock();
  clock.advance(10_000);
  return clock;
}

function remembering(store: StoreOnDisk, clock = settled()): Cache {
  return store.cache({}, { remembers: true, clock });
}

const withoutWatch = () => vi.spyOn(DirWatch, 'on').mockReturnValue(undefined);

afterEach(() => void vi.restoreAllMocks());

describe.each(['heard from a watch', 'seen at the times of the root'])('what changed is %s', (how) => {
  beforeEach(() => {
    if (how !== 'heard from a watch') withoutWatch();
  });

  test('where nothing did, no file is opened and no name is read', async () => {
    const store = new StoreOnDisk().entry(key('a')).entry(key('b'));
    using cache = remembering(store);
    expect((await cache.scan()).filesRead).toBe(2);
    const opened = vi.spyOn(await import('../../src/disk/dir-entries.ts'), 'DirNames');
    const again = await cache.scan();
    expect(again.filesRead).toBe(0);
    expect(opened).not.toHaveBeenCalled();
    expect(contentOf(again)).toEqual(contentOf(await store.cache().scan()));
  });

  test('a use is one file', async () => {
    const store = new StoreOnDisk();
    for (let i = 0; i < 50; i += 1) store.entry(`entry-${i}`);
    using cache = remembering(store);
    await cache.scan();
    use(store, 'entry-7');
    const again = await cache.scan();
    expect(again.filesRead).toBe(1);
    expect(contentOf(again)).toEqual(contentOf(await store.cache({}, { clock: settled() }).scan()));
  });

  test('any changes of a store: the scan finds what a scan without memory finds', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.array(change, { maxLength: 6 }), { minLength: 1, maxLength: 6 }), async (rounds) => {
        const store = new StoreOnDisk();
        const clock = settled();
        using cache = remembering(store, clock);
        for (const changes of rounds) {
          for (const each of changes) apply(store, each);
          expect(contentOf(await cache.scan())).toEqual(contentOf(await store.cache({}, { clock }).scan()));
          clock.advance(3_000);
          // The stepped clock says that the changes have settled, so the next ones must have another change time: the kernel's ticks are up to 10 ms.
          await sleep(20);
        }
      }),
      { numRuns: 60 },
    );
  }, 120_000);

  test('a snapshot that was handed out stays as it is, whatever the next ones find', async () => {
    const store = new StoreOnDisk().entry(key('a')).entry(key('b'));
    using cache = remembering(store);
    const first = await cache.scan();
    const content = contentOf(first);
    await cache.pass({ mode: 'DryRun', trigger: 'Change' });
    use(store, key('a'));
    await cache.pass({ mode: 'DryRun', trigger: 'Change' });
    use(store, key('b'));
    const { before } = await cache.pass({ mode: 'DryRun', trigger: 'Change' });
    expect(contentOf(first)).toEqual(content);
    expect(before.entries).toHaveLength(2);
    use(store, key('b'));
    await cache.scan();
    expect(before.entries).toHaveLength(0);
    expect(() => before.entries.at(0)).toThrow(RangeError);
  });

  test('another directory in the place of the root is read anew', async () => {
    const store = new StoreOnDisk().entry(key('a'));
    using cache = remembering(store);
    await cache.scan();
    renameSync(store.root, join(store.home, 'old'));
    mkdirSync(store.root);
    store.entry(key('b'));
    expect([...(await cache.scan()).entries].map(({ name }) => name)).toEqual([key('b')]);
    rmSync(join(store.home, 'old'), { recursive: true });
    expect((await cache.scan()).entries).toHaveLength(1);
  });

  test.runIf(asRoot)('so is a filesystem that is mounted over the root, and the root when it is gone', async () => {
    const store = new StoreOnDisk().entry(key('a'));
    using cache = remembering(store);
    await cache.scan();
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', store.root]);
    onTestFinished(() => void spawnSync('umount', ['-l', store.root]));
    expect((await cache.scan()).entries).toHaveLength(0);
    store.entry(key('b'));
    expect([...(await cache.scan()).entries].map(({ name }) => name)).toEqual([key('b')]);
    execFileSync('umount', [store.root]);
    expect([...(await cache.scan()).entries].map(({ name }) => name)).toEqual([key('a')]);
  });

  test('what grows old does so without any change', async () => {
    const store = new StoreOnDisk();
    mkdirSync(join(store.root, '.staging-Ab12Cd'));
    store.metadata(key('a'));
    const clock = settled();
    using cache = remembering(store, clock);
    expect((await cache.scan()).leftovers.map(({ removable }) => removable)).toEqual([false, false]);
    clock.advance(25 * 3_600_000);
    expect((await cache.scan()).leftovers.map(({ removable }) => removable)).toEqual([true, true]);
  });
});

describe('a watch of a root', () => {
  test('that heard of many names lets others have their turn between any two of them', async () => {
    const names = Array.from({ length: 20 }, (_, i) => `entry-${i}`);
    const store = new StoreOnDisk();
    for (const name of names) store.entry(name);
    using cache = remembering(store);
    await cache.scan();
    for (const name of names) use(store, name);
    vi.spyOn(Slices.prototype, 'over', 'get').mockReturnValue(true);
    const turns = vi.spyOn(Slices.prototype, 'yield');
    expect((await cache.scan()).filesRead).toBe(20);
    expect(turns.mock.calls.length).toBeGreaterThanOrEqual(2 * names.length);
  });

  test('hears a file that is written in place, which no time of the root shows', async () => {
    const store = new StoreOnDisk().entry(key('a'), { sizeBytes: 100 });
    using cache = remembering(store);
    await cache.scan();
    expect(cache.index?.mayHaveChanged).toBe(false);
    const path = join(store.root, `${key('a')}.meta.json`);
    writeFileSync(path, readFileSync(path, 'utf8').replace('"size_bytes": 100', '"size_bytes": 200'));
    expect(cache.index?.mayHaveChanged).toBe(true);
    expect((await cache.scan()).entries.at(0).sizeBytes).toBe(200);
    expect(cache.index?.mayHaveChanged).toBe(false);
  });

  test('that cannot be had leaves that to the full look', async () => {
    withoutWatch();
    const store = new StoreOnDisk().entry(key('a'), { sizeBytes: 100 });
    const clock = settled();
    using cache = remembering(store, clock);
    await cache.scan();
    writeFileSync(join(store.root, `${key('a')}.meta.json`), 'damaged');
    clock.advance(59_000);
    expect((await cache.scan()).damaged).toHaveLength(0);
    clock.advance(2_000);
    expect((await cache.scan()).damaged).toHaveLength(1);
  });

  test('that cannot be had leaves a root that changed just now to be looked at once more', async () => {
    withoutWatch();
    const store = new StoreOnDisk().entry(key('a'));
    const clock = new SteppedClock();
    using cache = remembering(store, clock);
    await cache.scan();
    expect(cache.index?.mayHaveChanged).toBe(true);
    const names = vi.spyOn(await import('../../src/disk/dir-entries.ts'), 'DirNames');
    clock.advance(5_000);
    await cache.scan();
    expect(names).toHaveBeenCalledTimes(1);
    expect(cache.index?.mayHaveChanged).toBe(false);
    await cache.scan();
    expect(names).toHaveBeenCalledTimes(1);
  });

  test('that heard too much looks at everything', async () => {
    const store = new StoreOnDisk().entry(key('a'));
    using cache = remembering(store);
    await cache.scan();
    const root = store.root;
    execFileSync('sh', ['-c', `cd "${root}" && i=0; while [ $i -lt 20000 ]; do : > .x-$i; i=$((i+1)); done; rm -f .x-*`]);
    store.entry(key('b'));
    expect([...(await cache.scan()).entries].map(({ name }) => name).toSorted()).toEqual([key('a'), key('b')]);
  });

  test('is not led astray by a link in the place of the root, and ends there', async () => {
    const store = new StoreOnDisk().entry(key('a'));
    using cache = remembering(store);
    const before = inotifyFds();
    await cache.scan();
    expect(inotifyFds()).toBe(before + 1);
    const elsewhere = scratchDir();
    renameSync(store.root, join(store.home, 'old'));
    symlinkSync(elsewhere, store.root);
    await expect(cache.scan()).rejects.toMatchObject({ code: 'ERR_ROOT_SYMLINK' });
    writeFileSync(join(elsewhere, 'file'), '');
    expect([cache.index?.mayHaveChanged, inotifyFds()]).toEqual([false, before]);
  });

  test('ends with the cache', async () => {
    const store = new StoreOnDisk();
    const before = inotifyFds();
    const cache = remembering(store);
    await cache.scan();
    cache[Symbol.dispose]();
    expect(inotifyFds()).toBe(before);
  });

  test('of a directory that is removed says that it is over', async () => {
    const store = new StoreOnDisk();
    const { openRoot } = await import('../../src/disk/pinned-root.ts');
    const root = openRoot(store.root, { allowedRoots: [store.home] });
    using watch = DirWatch.on(root);
    root[Symbol.dispose]();
    writeFileSync(join(store.root, 'x'), '');
    expect([...(watch?.take() ?? [])]).toEqual(['x']);
    rmSync(join(store.root, 'x'));
    rmdirSync(store.root);
    expect(watch?.take()).toBeUndefined();
    expect(watch?.isOver).toBe(true);
  });
});

describe('an index on the disk', () => {
  const indexOf = (store: StoreOnDisk) => join(store.root, '.cachepolicy', 'index');

  async function saved(count = 200): Promise<StoreOnDisk> {
    const store = new StoreOnDisk();
    for (let i = 0; i < count; i += 1) store.entry(`entry-${i}`, { sizeBytes: i });
    using cache = remembering(store);
    await cache.scan();
    await cache.save();
    // The first save has changed the root by making our folder; the next one comes with the next change.
    use(store, 'entry-0');
    await cache.scan();
    await cache.save({ least: 1 });
    return store;
  }

  test('spares the next start all but what changed', async () => {
    const store = await saved();
    use(store, 'entry-1');
    use(store, 'entry-2');
    rmSync(join(store.root, 'entry-3'), { recursive: true });
    rmSync(join(store.root, 'entry-3.meta.json'));
    store.entry('new');
    using cache = remembering(store);
    const snapshot = await cache.scan();
    expect(snapshot.filesRead).toBe(3);
    expect(contentOf(snapshot)).toEqual(contentOf(await store.cache({}, { clock: settled() }).scan()));
  });

  describe('that a command finds which evicts nothing', () => {
    /** What a dry run finds, and how many metadata files it opened for it. */
    async function dryRun(store: StoreOnDisk) {
      const { before } = await store.cache({}, { clock: settled() }).pass({ mode: 'DryRun', trigger: 'Manual' });
      const { damaged, leftovers, unrecognised, filesRead } = before;
      const entries = [...before.entries].map(({ key: entryKey, sizeBytes, lastAccessedAtMs }) => [entryKey, sizeBytes, lastAccessedAtMs]);
      return { filesRead, content: { entries: entries.toSorted(), damaged, leftovers, unrecognised } };
    }

    function damaged(store: StoreOnDisk, name: string): StoreOnDisk {
      mkdirSync(join(store.root, name));
      return store.file(`${name}.meta.json`, '{');
    }

    /** The same by a command that finds no index. */
    async function withoutIndex(store: StoreOnDisk) {
      rmSync(indexOf(store));
      return (await dryRun(store)).content;
    }

    test('answers for a store in which nothing has changed: no name is read and no file is opened', async () => {
      const store = await saved();
      const names = vi.spyOn(await import('../../src/disk/dir-entries.ts'), 'DirNames');
      const { filesRead, content } = await dryRun(store);
      const ofStore = names.mock.calls.filter(([dir]) => dir.path === store.root);
      expect({ filesRead, listings: ofStore.length }).toEqual({ filesRead: 0, listings: 0 });
      expect(content.entries).toHaveLength(200);
      expect(content).toEqual(await withoutIndex(store));
      expect(names.mock.calls.some(([dir]) => dir.path === store.root)).toBe(true);
    });

    const changes: [string, number, (store: StoreOnDisk) => void][] = [
      ['a use', 1, (store) => use(store, 'entry-1')],
      ['a new entry', 1, (store) => store.entry('new')],
      ['an entry without its tree', 1, (store) => rmSync(join(store.root, 'entry-2'), { recursive: true })],
      ['a damaged entry', 1, (store) => damaged(store, 'broken')],
      ['a name that is no entry', 0, (store) => writeFileSync(join(store.root, 'notes.txt'), '')],
    ];
    test.each(changes)('is compared with the store after %s', async (_, filesRead, act) => {
      const store = await saved();
      act(store);
      const found = await dryRun(store);
      expect(found.filesRead).toBe(filesRead);
      expect(found.content).toEqual(await withoutIndex(store));
    });

    test('is compared with a store that holds more than entries, which the index does not say', async () => {
      const store = damaged(new StoreOnDisk().entry(key('a')), key('b'));
      writeFileSync(join(store.root, 'notes.txt'), '');
      using cache = remembering(store);
      await cache.scan();
      await cache.save();
      const { content } = await dryRun(store);
      expect(content).toMatchObject({ damaged: [{ name: key('b') }], unrecognised: ['notes.txt'] });
      expect(content).toEqual(await withoutIndex(store));
    });

    test('of a store that changed right before it was saved is compared with the store', async () => {
      const store = new StoreOnDisk().entry(key('a'));
      using cache = remembering(store, new SteppedClock());
      await cache.scan();
      await cache.save();
      expect(readFileSync(indexOf(store), 'latin1')).toContain('"rootChangedNs":null');
    });

    test('does not answer for a run that evicts: each stamp is compared', async () => {
      const store = await saved(20);
      // Written in place, which the runtime never does: the root shows nothing of it.
      const path = join(store.root, 'entry-3.meta.json');
      writeFileSync(path, readFileSync(path, 'utf8').replace(/"size_bytes": \d+/, '"size_bytes": 77'));
      const { before } = await store.cache({}, { clock: settled() }).pass({ mode: 'Enforce', trigger: 'Manual' });
      expect([...before.entries].find(({ name }) => name === 'entry-3')?.sizeBytes).toBe(77);
    });
  });

  const spoil: [string, (path: string) => void][] = [
    ['cut short', (path) => truncateSync(path, statSync(path).size - 1)],
    ['longer', (path) => appendFileSync(path, 'x')],
    ['empty', (path) => truncateSync(path, 0)],
    ['of a newer version', (path) => writeFileSync(path, readFileSync(path, 'latin1').replace(/"formatVersion":\d+/, '"formatVersion":99'), 'latin1')],
    ['of another format', (path) => writeFileSync(path, readFileSync(path, 'latin1').replace('a3s-rootfs', 'a3s-layers'), 'latin1')],
    ['of another directory', (path) => writeFileSync(path, readFileSync(path, 'latin1').replace(/"root":"\d/, '"root":"x'), 'latin1')],
    ['said to be larger than any', (path) => writeFileSync(path, readFileSync(path, 'latin1').replace(/"rows":\d+/, '"rows":1e15'), 'latin1')],
    ['no JSON', (path) => writeFileSync(path, 'index\n')],
    ['null', (path) => writeFileSync(path, 'null\n')],
    ['a directory', (path) => { rmSync(path); mkdirSync(path); }],
    ['a FIFO', (path) => { rmSync(path); execFileSync('mkfifo', [path]); }],
    ['a link', (path) => { rmSync(path); symlinkSync('/etc/hostname', path); }],
  ];
  test.each(spoil)('that is %s is as good as none', async (_, act) => {
    const store = await saved(20);
    act(indexOf(store));
    using cache = remembering(store);
    const snapshot = await cache.scan();
    expect(snapshot.filesRead).toBe(20);
    expect(contentOf(snapshot)).toEqual(contentOf(await store.cache({}, { clock: settled() }).scan()));
  });

  test.each([
    ['says it holds more than it does', 0],
    ['is as large as it says, and holds nothing of it', 2 ** 26],
  ])('that %s is as good as none, and takes no memory', async (_, textBytes) => {
    const store = await saved(20);
    const [first = '{}'] = readFileSync(indexOf(store), 'latin1').split('\n');
    const header = JSON.stringify({ ...JSON.parse(first), textBytes: [textBytes || 2 ** 29, 0, 0] });
    writeFileSync(indexOf(store), `${header}\n`);
    // Sparse: a terabyte would take no more of the disk.
    truncateSync(indexOf(store), header.length + 1 + Columns.bytesOf(20, [textBytes, 0, 0]));
    const blank = vi.spyOn(Columns, 'blank');
    onTestFinished(() => blank.mockRestore());
    using cache = remembering(store);
    expect((await cache.scan()).filesRead).toBe(20);
    expect(Math.max(...blank.mock.calls.map(([rows]) => rows))).toBe(1);
  });

  test('with any byte changed is as good as none, or as the whole one', async () => {
    const store = await saved(5);
    const whole = readFileSync(indexOf(store));
    const expected = contentOf(await store.cache({}, { clock: settled() }).scan());
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length - 1), fc.integer({ min: 1, max: 255 }), async (at, by) => {
        const bytes = Buffer.from(whole);
        bytes[at]! ^= by;
        writeFileSync(indexOf(store), bytes);
        using cache = remembering(store);
        expect(contentOf(await cache.scan())).toEqual(expected);
      }),
      { numRuns: 100 },
    );
  });

  test('does not believe a change time so young that another change may share it', async () => {
    const store = new StoreOnDisk().entry(key('a'));
    const clock = new SteppedClock();
    using cache = remembering(store, clock);
    await cache.scan();
    await cache.save();
    using next = remembering(store);
    expect((await next.scan()).filesRead).toBe(1);
  });

  test('that the disk has no room for leaves the one before, and nothing beside it', async () => {
    const store = await saved(3);
    use(store, 'entry-0');
    const before = readFileSync(indexOf(store));
    const noSpace = Object.assign(new Error('ENOSPC'), { code: 'ENOSPC', errno: -28 });
    using cache = store.cache({}, { remembers: true, clock: settled(), fault: (step) => { if (step.startsWith('write')) throw noSpace; } });
    await cache.scan();
    await expect(cache.save()).rejects.toMatchObject({ code: 'ERR_DISK_FULL' });
    expect(readFileSync(indexOf(store))).toEqual(before);
    expect(() => statSync(`${indexOf(store)}.new`)).toThrow('ENOENT');
  });

  test('is written anew where the last writer crashed', async () => {
    const store = await saved(3);
    writeFileSync(`${indexOf(store)}.new`, 'half');
    using cache = remembering(store);
    await cache.scan();
    await cache.save();
    using next = remembering(store);
    expect((await next.scan()).filesRead).toBe(0);
  });

  test('is not worth saving for less than one file in a hundred', async () => {
    const store = await saved(150);
    using cache = remembering(store);
    await cache.scan();
    expect(cache.index?.isWorthSaving({ least: 1 })).toBe(false);
    use(store, 'entry-1');
    await cache.scan();
    expect([cache.index?.isWorthSaving(), cache.index?.isWorthSaving({ least: 1 })]).toEqual([false, true]);
    use(store, 'entry-2');
    await cache.scan();
    expect(cache.index?.isWorthSaving()).toBe(true);
  });
});

/** As the runtime does on a hit: a new file takes the place of the old one. */
function use(store: StoreOnDisk, name: string): void {
  const path = join(store.root, `${name}.meta.json`);
  const fields = JSON.parse(readFileSync(path, 'utf8')) as { last_accessed: number };
  writeFileSync(join(store.root, '.tmpAb12Cd'), JSON.stringify({ ...fields, last_accessed: fields.last_accessed + 1 }, null, 2));
  renameSync(join(store.root, '.tmpAb12Cd'), path);
}

const names = ['aaa', 'bbb', 'ccc', key('d'), 'ein größerer', '-rf', '__proto__', 'x.y'];
const change = fc.record({
  what: fc.constantFrom('add', 'add', 'use', 'remove', 'removeTree', 'removeMetadata', 'damage', 'sameStamps', 'link', 'file', 'staging', 'temp', 'foreign', 'lockDirectory'),
  name: fc.constantFrom(...names),
});

let count = 0;

function apply(store: StoreOnDisk, { what, name }: { what: string; name: string }): void {
  const [tree, metadata] = [join(store.root, name), join(store.root, `${name}.meta.json`)];
  const clear = (path: string) => rmSync(path, { recursive: true, force: true });
  const acts: Readonly<Record<string, () => void>> = {
    add: () => { clear(tree); clear(`${metadata}.lock`); store.entry(name); },
    use: () => { clear(metadata); clear(`${metadata}.lock`); store.metadata(name, { last_accessed: 1_700_000_000 + (count += 1) }); },
    remove: () => { clear(tree); clear(metadata); },
    removeTree: () => clear(tree),
    removeMetadata: () => clear(metadata),
    damage: () => { clear(metadata); writeFileSync(metadata, '{"key": 1'); },
    // Another file of the same size and times: only inode and ctime tell.
    sameStamps: () => {
      clear(metadata);
      clear(`${metadata}.lock`);
      store.metadata(name, { size_bytes: 100 + ((count += 1) % 900), last_accessed: 1_700_000_000, cached_at: 1_600_000_000 });
      utimesSync(metadata, 1_700_000_000, 1_700_000_000);
    },
    link: () => { clear(tree); symlinkSync('/etc', tree); },
    file: () => { clear(tree); writeFileSync(tree, ''); },
    staging: () => mkdirSync(join(store.root, '.staging-Ab12Cd'), { recursive: true }),
    temp: () => writeFileSync(join(store.root, '.tmpQw3rTy'), ''),
    foreign: () => writeFileSync(join(store.root, 'notes.txt'), ''),
    lockDirectory: () => { clear(`${metadata}.lock`); mkdirSync(`${metadata}.lock`); },
  };
  acts[what]?.();
}

function inotifyFds(): number {
  const fds = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      // The one that read the directory.
      return '';
    }
  });
  return fds.filter((target) => target.includes('inotify')).length;
}

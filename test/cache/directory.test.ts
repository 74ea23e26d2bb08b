import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, closeSync, existsSync, linkSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { Directory } from '../../src/cache/formats/directory.ts';
import type { Cache } from '../../src/cache/pass.ts';
import { tryFlock } from '../../src/disk/libc.ts';
import { Slices } from '../../src/disk/slices.ts';
import type { Snapshot } from '../../src/policy/snapshot.ts';
import { statsOf } from '../../src/policy/snapshot.ts';
import { asRoot, makeDeep, mount, pin } from '../disk/scratch.ts';
import { DirectoryOnDisk } from './directory-on-disk.ts';
import { SteppedClock } from './stepped-clock.ts';

const enforce = { mode: 'Enforce', trigger: 'Manual' } as const;
const kib = 1024;
const hourMs = 3_600_000;

/** Has a file open until it is called, or the test ends. */
function open(...path: string[]): () => void {
  const fd = openSync(join(...path), 'r');
  let isOpen = true;
  const close = (): void => {
    if (isOpen) closeSync(fd);
    isOpen = false;
  };
  onTestFinished(close);
  return close;
}

/** Holds a flock on a folder, which no scan sees, until it is called, or the test ends. */
function lock(...path: string[]): () => void {
  const fd = openSync(join(...path), 'r');
  expect(tryFlock(fd)).toBe(0);
  let isOpen = true;
  const unlock = (): void => {
    if (isOpen) closeSync(fd);
    isOpen = false;
  };
  onTestFinished(unlock);
  return unlock;
}

/** a was used least recently, c last. */
function three(): DirectoryOnDisk {
  return new DirectoryOnDisk().folder('a', { usedSecondsAgo: 300 }).folder('b', { usedSecondsAgo: 200 }).folder('c', { usedSecondsAgo: 100 });
}

/** Looks at a directory again and again, through so many files and folders in turn. */
function inTurns(disk: DirectoryOnDisk, namesInTurn: number, nowMs: () => number = Date.now): () => Promise<Snapshot> {
  const format = new Directory({ namesInTurn, inTurns: true });
  const root = pin(disk.root);
  return async () => await format.scan(root, { nowMs: nowMs(), leftoverAgeMs: hourMs, slices: new Slices() });
}

describe('the entries of a directory', () => {
  test('are its folders and regular files, named, keyed and described by their names', async () => {
    const disk = new DirectoryOnDisk().folder('llama', { usedSecondsAgo: 300 }).file('tiny.gguf', { usedSecondsAgo: 200, bytes: 100 * kib });
    const { entries, damaged, leftovers, unrecognised } = await disk.cache().scan();
    const [llama, tiny] = [...entries].toSorted((x, y) => (x.name < y.name ? -1 : 1));
    expect(llama).toMatchObject({ name: 'llama', key: 'llama', description: 'llama', clockAhead: false });
    expect(tiny).toMatchObject({ name: 'tiny.gguf', key: 'tiny.gguf', description: 'tiny.gguf', sizeBytes: 100 * kib });
    expect([damaged, leftovers, unrecognised]).toEqual([[], [], []]);
  });

  test('have any name that is text and does not begin with a dot; all else is told or passed by, and stays', async () => {
    const disk = new DirectoryOnDisk();
    const odd = ['-rf', '__proto__', 'new\nline', 'back\\slash', 'x'.repeat(242), 'é', '\ufffd'];
    for (const name of odd) disk.file(name);
    disk.folder('.hidden').file('.also');
    disk.file('x'.repeat(243));
    writeFileSync(Buffer.concat([Buffer.from(`${disk.root}/`), Buffer.from([0x62, 0x61, 0xff, 0x64])]), '');
    symlinkSync('/', join(disk.root, 'link'));
    execFileSync('mkfifo', [join(disk.root, 'fifo')]);
    execFileSync('python3', ['-c', 'import socket,sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])', join(disk.root, 'socket')]);
    using cache = disk.cache({ maxEntries: 0 });
    const { before, evicted, errors } = await cache.pass(enforce);
    expect(errors).toEqual([]);
    expect([...before.entries].map(({ name }) => name).toSorted()).toEqual(odd.toSorted());
    expect(before.unrecognised).toEqual(['ba\\xffd', 'fifo', 'link', 'socket', 'x'.repeat(243)]);
    expect(evicted).toHaveLength(odd.length);
    await cache.purge();
    expect(disk.names).toEqual(['.also', '.hidden', 'ba\ufffdd', 'fifo', 'link', 'socket', 'x'.repeat(243)]);
  });

  test.runIf(asRoot)('are none where something is mounted over them', async () => {
    const disk = three();
    mount('-t', 'tmpfs', 'tmpfs', join(disk.root, 'a'));
    const { before, evicted } = await disk.cache({ maxEntries: 0 }).pass(enforce);
    expect(before.unrecognised).toEqual(['a']);
    expect(evicted.map(({ key }) => key)).toEqual(['b', 'c']);
    expect(existsSync(join(disk.root, 'a'))).toBe(true);
  });

  test('count what they take on the disk, a file with several names once in the sum', async () => {
    const disk = new DirectoryOnDisk().folder('a').folder('b');
    using cache = disk.cache();
    const alone = statsOf(await cache.scan()).totalBytes;
    writeFileSync(join(disk.root, 'a', 'blob'), Buffer.alloc(100 * kib, 1));
    linkSync(join(disk.root, 'a', 'blob'), join(disk.root, 'b', 'blob'));
    expect(statsOf(await cache.scan()).totalBytes).toBe(alone + 100 * kib);
    rmSync(join(disk.root, 'a'), { recursive: true });
    // What it shared with a is its own now, which nothing in b shows.
    expect(statsOf(await cache.scan()).totalBytes).toBe(alone / 2 + 100 * kib);
  });

  test('are measured anew when something deep inside them grew, though their own stamp stands still', async () => {
    const disk = new DirectoryOnDisk().folder('a');
    using cache = disk.cache();
    const before = statsOf(await cache.scan()).totalBytes;
    writeFileSync(join(disk.root, 'a', 'shards', 'weights'), Buffer.alloc(500 * kib, 1));
    expect(statsOf(await cache.scan()).totalBytes - before).toBe(500 * kib - 12 * kib);
  });

  test('are looked through in turns where they are many, those first that were not for longest', async () => {
    const disk = new DirectoryOnDisk().folder('a');
    for (let i = 0; i < 20; i += 1) disk.file(`file-${i}`);
    const look = inTurns(disk, 8);
    expect((await look()).filesRead).toBe(24);
    writeFileSync(join(disk.root, 'a', 'shards', 'weights'), Buffer.alloc(500 * kib, 1));
    const met: number[] = [];
    const sizes = new Set<number>();
    for (let turn = 0; turn < 3; turn += 1) {
      const { entries, filesRead } = await look();
      met.push(filesRead);
      sizes.add([...entries].find(({ name }) => name === 'a')?.sizeBytes ?? 0);
    }
    // Three looks come round; the folder of four may be the last of one.
    for (const names of met) expect(names).toBeLessThanOrEqual(11);
    expect(Math.max(...sizes)).toBeGreaterThan(500 * kib);
  });

  test('that are measured in turns say since when their figures are', async () => {
    const disk = three();
    let nowMs = Date.now();
    const firstMs = nowMs;
    const look = inTurns(disk, 4, () => nowMs);
    const since: number[] = [];
    for (let turn = 0; turn < 4; turn += 1, nowMs += 1_000) since.push((await look()).measuredSinceMs ?? NaN);
    expect(since.map((ms) => ms - firstMs)).toEqual([0, 0, 0, 1_000]);
  });

  test('that share files with one that went are measured anew at once, whosever turn it is', async () => {
    const disk = new DirectoryOnDisk().folder('a').folder('b');
    writeFileSync(join(disk.root, 'a', 'blob'), Buffer.alloc(100 * kib, 1));
    linkSync(join(disk.root, 'a', 'blob'), join(disk.root, 'b', 'blob'));
    const look = inTurns(disk, 0);
    const sizeOfB = async (): Promise<number> => [...(await look()).entries].find(({ name }) => name === 'b')?.sizeBytes ?? 0;
    const shared = await sizeOfB();
    rmSync(join(disk.root, 'a'), { recursive: true });
    expect(await sizeOfB()).toBe(shared + 50 * kib);
  });

  test('that hold the home of a runtime deep inside never go', async () => {
    const disk = three();
    for (const part of ['boxes', 'cache']) mkdirSync(join(disk.root, 'a', 'old', 'home', part), { recursive: true });
    const { before, evicted } = await disk.cache({ maxEntries: 0 }).pass(enforce);
    expect(before.damaged).toEqual([expect.objectContaining({ name: 'a', reason: 'EntryHoldsHome' })]);
    expect(evicted.map(({ key }) => key)).toEqual(['b', 'c']);
  });
});

describe('a directory that is near the home of a runtime is refused', () => {
  const places: Record<string, { home: string; how: string }> = {
    'because it is one': { home: '.', how: 'is' },
    'because an entry is one': { home: 'a', how: 'holds' },
    'because it lies inside one': { home: '..', how: 'lies inside' },
    'because it stands beside one': { home: '../home', how: 'stands beside' },
  };
  test.each(Object.entries(places))('%s', async (_, { home, how }) => {
    const disk = three();
    for (const part of ['boxes', 'cache']) mkdirSync(join(disk.root, home, part), { recursive: true });
    using cache = disk.cache({ maxEntries: 0 });
    await expect(cache.pass(enforce)).rejects.toMatchObject({ code: 'ERR_ROOT_NEAR_HOME', message: expect.stringContaining(`${disk.root} ${how} what looks like the home`) });
    expect(disk.names).toEqual(expect.arrayContaining(['a', 'b', 'c']));
  });
});

describe.runIf(asRoot)('a directory of which it cannot be told whether it is near the home of a runtime', () => {
  const nobody = 65_534;
  const asNobody = (disk: DirectoryOnDisk) => {
    for (const path of [disk.root, ...disk.names.map((name) => join(disk.root, name))]) chownSync(path, nobody, nobody);
    process.seteuid?.(nobody);
    onTestFinished(() => process.seteuid?.(0));
  };

  test('is left alone, because what stands beside it cannot be listed', async () => {
    const disk = three();
    const parent = dirname(disk.root);
    for (const part of ['boxes', 'cache']) mkdirSync(join(parent, 'home', part), { recursive: true });
    chmodSync(parent, 0o711);
    asNobody(disk);
    using cache = disk.cache({ maxEntries: 0 }, { allowedRoots: [dirname(parent)] });
    const message = `cannot tell whether there is a home of an A3S Box runtime in ${parent}: permission denied (EACCES)`;
    await expect(cache.pass(enforce)).rejects.toMatchObject({ code: 'ERR_ROOT_UNREADABLE', message });
    expect(disk.names).toEqual(['a', 'b', 'c']);
  });

  test('is taken for one that is not beside a neighbour that is closed to this process', async () => {
    const disk = new DirectoryOnDisk();
    const neighbour = join(disk.root, '../closed');
    mkdirSync(neighbour, { mode: 0o700 });
    chmodSync(join(disk.root, '..'), 0o755);
    asNobody(disk);
    using cache = disk.cache({ maxEntries: 0 });
    expect((await cache.pass(enforce)).errors).toEqual([]);
  });
});

describe('a pass over a directory', () => {
  test('evicts what was used least recently, and deletes it', async () => {
    const disk = new DirectoryOnDisk().folder('old', { usedSecondsAgo: 300 }).file('older.gguf', { usedSecondsAgo: 400 }).folder('new', { usedSecondsAgo: 100 });
    using cache = disk.cache({ maxEntries: 1 });
    const { evicted, errors, before } = await cache.pass(enforce);
    expect(evicted.map(({ key, reason }) => [key, reason])).toEqual([['older.gguf', 'MaxEntries'], ['old', 'MaxEntries']]);
    expect(disk.names).toEqual(['new']);
    const bytes = [...before.entries].filter(({ name }) => name !== 'new').reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    expect(await cache.purge()).toMatchObject({ purgedEntries: 2, purgedBytes: bytes, errors: [], nextDueAtMs: null });
    expect([disk.trash, errors]).toEqual([[], []]);
  });

  test('decides the same in a dry run as in a real one, and a dry run writes nothing', async () => {
    const disk = three();
    open(disk.root, 'a', 'config.json');
    const dry = await disk.cache({ maxEntries: 1 }).pass({ mode: 'DryRun', trigger: 'Manual' });
    expect(disk.names).toEqual(['a', 'b', 'c']);
    expect(disk.own).toBe(undefined);
    const real = await disk.cache({ maxEntries: 1 }).pass(enforce);
    const told = ({ plan }: typeof dry) => [...plan.verdicts].map(({ entry, verdict, reason }) => [entry.key, verdict, reason]);
    expect(told(real)).toEqual(told(dry));
    expect(real.evicted.map(({ key }) => key)).toEqual(['b', 'c']);
  });

  test('never takes what a process has open, and says so', async () => {
    const disk = three();
    const close = open(disk.root, 'a', 'shards', 'weights');
    using cache = disk.cache({ maxEntries: 0 });
    const { evicted, plan, holdSources } = await cache.pass(enforce);
    expect(evicted.map(({ key }) => key)).toEqual(['b', 'c']);
    expect([...plan.verdicts].find(({ entry }) => entry.key === 'a')).toMatchObject({ reason: 'InUse', detail: 'a process that has a/shards/weights open' });
    expect(holdSources).toContain('Lease');
    close();
    expect((await cache.pass(enforce)).evicted.map(({ key }) => key)).toEqual(['a']);
  });

  test('keeps a folder that is opened every day before one that was written later and never opened', async () => {
    const disk = new DirectoryOnDisk().folder('daily', { usedSecondsAgo: 1_000 }).folder('once', { usedSecondsAgo: 500 });
    const clock = new SteppedClock();
    using cache = disk.cache({ maxEntries: 2 }, { clock });
    for (let day = 0; day < 3; day += 1) {
      clock.advance(24 * hourMs);
      const close = open(disk.root, 'daily', 'config.json');
      await cache.pass(enforce);
      close();
    }
    clock.advance(hourMs);
    using stricter = disk.cache({ maxEntries: 1 }, { clock });
    // Another process, such as the agent after an update: what was seen is on the disk.
    expect((await stricter.pass(enforce)).evicted.map(({ key }) => key)).toEqual(['once']);
  });

  test('takes mtimes alone where it has never seen anything open', async () => {
    const disk = new DirectoryOnDisk().folder('daily', { usedSecondsAgo: 1_000 }).folder('once', { usedSecondsAgo: 500 });
    using cache = disk.cache({ maxEntries: 1 });
    expect((await cache.pass(enforce)).evicted.map(({ key }) => key)).toEqual(['daily']);
  });

  test('counts what it found in use when it was about to go as used then', async () => {
    const disk = three();
    const clock = new SteppedClock();
    using cache = disk.cache({ maxEntries: 2 }, { clock });
    const unlock = lock(disk.root, 'a');
    const { evicted, plan } = await cache.pass(enforce);
    expect(evicted.map(({ key }) => key)).toEqual(['b']);
    expect([...plan.verdicts].find(({ entry }) => entry.key === 'a')).toMatchObject({ reason: 'InUse', hold: { source: 'Flock' } });
    unlock();
    disk.folder('d', { usedSecondsAgo: 50 });
    expect((await cache.pass(enforce)).evicted.map(({ key }) => key)).toEqual(['c']);
  });

  test('lets go what was idle for too long since it was last seen open, not since it was written', async () => {
    const disk = new DirectoryOnDisk().folder('a');
    const clock = new SteppedClock();
    using cache = disk.cache({ maxIdleMs: 2 * hourMs }, { clock });
    const close = open(disk.root, 'a', 'config.json');
    clock.advance(24 * hourMs);
    expect((await cache.pass(enforce)).evicted).toEqual([]);
    close();
    clock.advance(hourMs);
    expect((await cache.pass(enforce)).evicted).toEqual([]);
    clock.advance(2 * hourMs);
    expect((await cache.pass(enforce)).evicted.map(({ key }) => key)).toEqual(['a']);
  });
});

describe('an entry of a directory comes back whole', () => {
  test('where it was opened while it left, through its own path, which led to it all the time', async () => {
    const disk = three();
    const clock = new SteppedClock(() => {
      expect(disk.isWhole('a')).toBe(true);
      open(disk.root, 'a', 'shards', 'weights');
    });
    using cache = disk.cache({ maxEntries: 2 }, { clock });
    const { evicted, revived } = await cache.pass(enforce);
    expect([evicted, revived]).toEqual([[], 1]);
    expect([disk.names, disk.trash, disk.isWhole('a')]).toEqual([['a', 'b', 'c'], [], true]);
  });

  test('where it was opened at the very last, between the question and the end of the link', async () => {
    const disk = three();
    let openedAt: string | undefined;
    using cache = disk.cache({ maxEntries: 2 }, {
      fault: (step) => {
        if (openedAt !== undefined || step !== `unlink ${disk.root}/a`) return;
        openedAt = step;
        open(disk.root, 'a', 'config.json');
      },
    });
    const { evicted, revived, after } = await cache.pass(enforce);
    expect([openedAt === undefined, evicted, revived]).toEqual([false, [], 1]);
    expect([disk.names, disk.trash, disk.isWhole('a'), after.entries.length]).toEqual([['a', 'b', 'c'], [], true, 3]);
  });

  test('where something was written into it while it left', async () => {
    const disk = three();
    const clock = new SteppedClock(() => writeFileSync(join(disk.root, 'a', 'shards', 'new'), 'new'));
    using cache = disk.cache({ maxEntries: 2 }, { clock });
    expect(await cache.pass(enforce)).toMatchObject({ evicted: [], revived: 1 });
    expect(readFileSync(join(disk.root, 'a', 'shards', 'new'), 'utf8')).toBe('new');
  });

  test('where it is found open right before its purge', async () => {
    const disk = three();
    using cache = disk.cache({ maxEntries: 2 });
    expect((await cache.pass(enforce)).evicted).toHaveLength(1);
    const [item = ''] = disk.trash;
    open(disk.inOwn('trash', item, 'd', 'config.json'));
    expect(await cache.purge()).toMatchObject({ purgedEntries: 0, revived: 1, revivedNames: ['a'] });
    expect([disk.names, disk.isWhole('a')]).toEqual([['a', 'b', 'c'], true]);
  });

  test('but where its name is taken it stays in the trash until nobody has it open', async () => {
    const disk = three();
    using cache = disk.cache({ maxEntries: 2 });
    await cache.pass(enforce);
    const [item = ''] = disk.trash;
    const close = open(disk.inOwn('trash', item, 'd', 'config.json'));
    disk.folder('a', { usedSecondsAgo: 1 });
    expect(await cache.purge()).toMatchObject({ purgedEntries: 0, revived: 0 });
    expect(disk.trash).toEqual([item]);
    close();
    expect(await cache.purge()).toMatchObject({ purgedEntries: 1 });
    expect([disk.trash, disk.isWhole('a')]).toEqual([[], true]);
  });

  test('and a file as well; it was used then', async () => {
    const disk = new DirectoryOnDisk().file('a', { usedSecondsAgo: 300 }).file('b', { usedSecondsAgo: 200 });
    let close = (): void => {};
    using cache = disk.cache({ maxEntries: 1 }, { clock: new SteppedClock(() => void (close = open(disk.root, 'a'))) });
    expect(await cache.pass(enforce)).toMatchObject({ evicted: [], revived: 1 });
    close();
    expect(await cache.pass(enforce)).toMatchObject({ evicted: [expect.objectContaining({ key: 'b' })] });
    expect(disk.names).toEqual(['a']);
  });
});

test('a file that takes the name of one that leaves, as a download does, stays', async () => {
  const disk = new DirectoryOnDisk().file('a', { usedSecondsAgo: 300 }).file('b', { usedSecondsAgo: 200 });
  const clock = new SteppedClock(() => {
    disk.file('.new', { bytes: 16 * kib });
    renameSync(join(disk.root, '.new'), join(disk.root, 'a'));
  });
  using cache = disk.cache({ maxEntries: 1 }, { clock });
  await cache.pass(enforce);
  await cache.purge();
  expect([disk.names, disk.trash]).toEqual([['a', 'b'], []]);
  expect(readFileSync(join(disk.root, 'a'))).toHaveLength(16 * kib);
});

test('an entry that was written since it was planned is left alone', async () => {
  const disk = three();
  using cache = disk.cache({ maxEntries: 1 }, {
    // b is looked at again right after a.
    fault: (step) => {
      if (/^mkdir .*\.a$/.test(step)) writeFileSync(join(disk.root, 'b', 'shards', 'weights'), 'written');
    },
  });
  expect(await cache.pass(enforce)).toMatchObject({ evicted: [expect.objectContaining({ key: 'a' })], raced: 1, revived: 0 });
  expect(disk.names).toEqual(['b', 'c']);
});

test('what is remembered is read again by the next agent, and one that cannot be read is none', async () => {
  const disk = three();
  const clock = new SteppedClock();
  using first = disk.cache({ maxEntries: 5 }, { clock });
  const close = open(disk.root, 'a', 'config.json');
  clock.advance(hourMs);
  await first.pass(enforce);
  close();
  clock.advance(hourMs);
  const used = async (cache: Cache) => [...(await cache.scan()).entries].find(({ name }) => name === 'a')?.lastAccessedAtMs;
  expect(await used(disk.cache({}, { clock }))).toBe(clock.now() - hourMs);
  for (const broken of ['', '{"formatVersion":99}\n["a",1,2]\n', '{"formatVersion":1}\nnonsense\n["a"]\n[1]\n', `${'x'.repeat(1000)}\n`]) {
    writeFileSync(disk.inOwn('measures'), broken);
    expect(await used(disk.cache({}, { clock }))).toBeLessThan(clock.now() - 2 * hourMs);
  }
});

describe('when an entry was last used is not forgotten', () => {
  const usedOf = async (cache: Cache) => [...(await cache.scan()).entries].find(({ name }) => name === 'a')?.lastAccessedAtMs;

  async function usedNow(disk: DirectoryOnDisk, cache: Cache): Promise<number | undefined> {
    const close = open(disk.root, 'a', 'config.json');
    await cache.scan();
    close();
    return await usedOf(cache);
  }

  test('while it cannot be looked through', async () => {
    const disk = three();
    const clock = new SteppedClock();
    using cache = disk.cache({}, { clock });
    clock.advance(hourMs);
    const usedAtMs = await usedNow(disk, cache);
    expect(usedAtMs).toBe(clock.now());
    const deep = join(disk.root, 'a', 'deep');
    mkdirSync(deep);
    makeDeep(deep, { levels: 300 });
    expect((await cache.scan()).damaged).toMatchObject([{ name: 'a', reason: 'EntryUnreadable' }]);
    expect([await usedOf(cache), (await cache.scan()).damaged.length]).toEqual([undefined, 1]);
    rmSync(deep, { recursive: true });
    disk.folder('a', { usedSecondsAgo: 300 });
    expect(await usedOf(cache)).toBe(usedAtMs);
  });

  test.runIf(asRoot)('while something is mounted over it', async () => {
    const disk = three();
    const clock = new SteppedClock();
    using cache = disk.cache({}, { clock });
    clock.advance(hourMs);
    const usedAtMs = await usedNow(disk, cache);
    const path = join(disk.root, 'a');
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', path]);
    try {
      expect(await cache.scan()).toMatchObject({ unrecognised: ['a'] });
    } finally {
      execFileSync('umount', ['-l', path]);
    }
    expect(await usedOf(cache)).toBe(usedAtMs);
  });
});

test('what was seen in a look is kept where that is asked for, and else a look writes nothing', async () => {
  const disk = three();
  const clock = new SteppedClock();
  clock.advance(hourMs);
  const close = open(disk.root, 'a', 'config.json');
  using agent = disk.cache({}, { clock });
  await agent.pass({ mode: 'DryRun', trigger: 'Change' });
  expect(disk.own).toBe(undefined);
  expect(agent.isWorthSaving()).toBe(true);
  await agent.save();
  close();
  // One that stops before its first look knows nothing, and takes nothing away.
  await disk.cache({}, { clock }).save();
  const [a] = [...(await disk.cache({}, { clock }).scan()).entries].filter(({ name }) => name === 'a');
  expect(a?.lastAccessedAtMs).toBe(clock.now());
});

test('what is remembered is of one directory, and not of another that takes its place for a while', async () => {
  const disk = three();
  const clock = new SteppedClock();
  clock.advance(hourMs);
  using agent = disk.cache({}, { clock });
  const close = open(disk.root, 'a', 'config.json');
  await agent.pass(enforce);
  close();
  const usedOf = async (name: string) => [...(await agent.scan()).entries].find((entry) => entry.name === name)?.lastAccessedAtMs;
  renameSync(disk.root, `${disk.root}.away`);
  mkdirSync(disk.root);
  disk.folder('a');
  expect(await usedOf('a')).toBeLessThan(clock.now() - hourMs);
  rmSync(disk.root, { recursive: true });
  renameSync(`${disk.root}.away`, disk.root);
  expect(await usedOf('a')).toBe(clock.now());
});

test.runIf(asRoot)('an entry of which it cannot be asked who has it open stays, and says why', async () => {
  const disk = new DirectoryOnDisk().file('asked', { usedSecondsAgo: 300 }).file('unasked', { usedSecondsAgo: 400 });
  const nobody = 65_534;
  for (const path of [join(disk.root, 'asked'), disk.root, join(disk.root, '..')]) chownSync(path, nobody, nobody);
  chmodSync(join(disk.root, 'unasked'), 0o644);
  process.seteuid?.(nobody);
  onTestFinished(() => process.seteuid?.(0));
  using cache = disk.cache({ maxEntries: 0 });
  const { evicted, errors } = await cache.pass(enforce);
  expect(evicted.map(({ key }) => key)).toEqual(['asked']);
  expect(errors).toEqual([{ code: 'ERR_HOLDS_UNREADABLE', entry: 'unasked', message: expect.stringContaining('CAP_LEASE') }]);
});

test('an entry is removed on demand, but not while it is open, unless that is forced', async () => {
  const disk = three();
  const close = open(disk.root, 'a', 'config.json');
  using cache = disk.cache();
  await expect(cache.remove('a', { force: false })).rejects.toMatchObject({ code: 'ERR_ENTRY_IN_USE' });
  await expect(cache.remove('.cachepolicy', { force: true })).rejects.toMatchObject({ code: 'ERR_ENTRY_NAME' });
  await cache.remove('absent', { force: false });
  for (const part of ['boxes', 'cache']) mkdirSync(join(disk.root, 'c', 'home', part), { recursive: true });
  await expect(cache.remove('c', { force: true })).rejects.toMatchObject({ code: 'ERR_ENTRY_DAMAGED' });
  await cache.remove('a', { force: true });
  await cache.remove('b', { force: false });
  close();
  expect([disk.names, disk.trash]).toEqual([['c'], []]);
});

import { spawn } from 'node:child_process';
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { a3sRootfs } from '../../src/cache/formats/a3s-rootfs.ts';
import { Directory } from '../../src/cache/formats/directory.ts';
import { holdersOf } from '../../src/cache/holds/holders.ts';
import { Cache } from '../../src/cache/pass.ts';
import * as libc from '../../src/disk/libc.ts';
import { Slices } from '../../src/disk/slices.ts';
import type { EntryName } from '../../src/policy/snapshot.ts';
import { noLimits, noProtection } from '../../src/policy/limits.ts';
import { pin, scratchDir } from '../disk/scratch.ts';
import { SteppedClock } from './stepped-clock.ts';
import { key, StoreOnDisk } from './store.ts';

/** Every call that reads the disk below a pinned directory. */
const reads = ['openat2', 'statx', 'statxInC', 'openForReading', 'getdents', 'readlinkat', 'tryFlock', 'tryLease'] as const;

afterEach(() => void vi.restoreAllMocks());

/** Lets something happen right before the n-th read from now on. @returns how many reads there were */
function beforeRead(n: number, act: () => void): { readonly count: number } {
  const seen = { count: 0 };
  for (const name of reads) {
    const call = libc[name] as (...args: unknown[]) => unknown;
    vi.spyOn(libc, name).mockImplementation(((...args: unknown[]) => {
      if (seen.count === n) act();
      seen.count += 1;
      return call(...args);
    }) as never);
  }
  return seen;
}

/** Tries it once for each read: `make` prepares, and the change happens before that read. */
async function atEachRead<T>(make: () => T, change: (made: T) => void, check: (made: T) => void | Promise<void>): Promise<number> {
  for (let n = 0; ; n += 1) {
    const made = make();
    const seen = beforeRead(n, () => change(made));
    try {
      await check(made);
    } catch (error) {
      throw new Error(`changed before read ${n}: ${String(error)}`, { cause: error });
    } finally {
      vi.restoreAllMocks();
    }
    if (seen.count <= n) return n;
  }
}

/** What boxes can look like in the moment in which they are removed. */
const boxes: Record<string, (store: StoreOnDisk) => StoreOnDisk> = {
  'with a marker': (store) => store.box('brief', key('b')),
  'that is empty': (store) => store.box('brief'),
  'with an empty marker': (store) => store.box('brief', ''),
  'that is filled and has no marker': (store) => (mkdirSync(join(store.box('brief').home, 'boxes/brief/logs')), store),
};

function holdsOf({ home, root }: StoreOnDisk) {
  return holdersOf({ root: pin(root), home, allowedRoots: [dirname(home)] }, a3sRootfs).read();
}

describe('a box that is removed while the holds are read', () => {
  const ways: Record<string, (path: string) => void> = {
    'is removed': (path) => rmSync(path, { recursive: true }),
    'is replaced by a file': (path) => { rmSync(path, { recursive: true }); writeFileSync(path, ''); },
    'is moved away': (path) => renameSync(path, join(path, '../../moved')),
  };
  const cases = Object.entries(boxes).flatMap(([what, make]) => Object.entries(ways).map(([how, way]) => [what, how, make, way] as const));

  test.each(cases)('%s %s before any read: the holds stay readable, and other boxes hold what they use', async (_, __, make, way) => {
    let unknown = 0;
    const count = await atEachRead(() => make(new StoreOnDisk().box('stays', key('a'))), (store) => way(join(store.home, 'boxes/brief')), (store) => {
      const { holds, error } = holdsOf(store);
      expect(error).toBeUndefined();
      expect([...holds.entries.keys()]).toContain(key('a'));
      if (holds.everything !== undefined) unknown += 1;
    });
    expect(count).toBeGreaterThan(10);
    // Only where it goes after it was read for the last time.
    expect(unknown).toBeLessThan(count / 2);
  });

  test('boxes that come and go all the time beside a pass do not stop it', async () => {
    const store = new StoreOnDisk().box('stays', key('0'));
    const keys = [...'0123456789abcdef'].map(key);
    for (const each of keys) store.entry(each);
    const script = `
      import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
      for (let i = 0; ; i += 1) {
        const box = process.argv[1] + '/box-' + process.pid + '-' + i;
        mkdirSync(box);
        writeFileSync(box + '/.rootfs-cache-key', '${key('0')}');
        rmSync(box, { recursive: true });
        if (i === 0) process.stdout.write('begun');
      }`;
    const users = await Promise.all(Array.from({ length: 2 }, async () => {
      const child = spawn(process.execPath, ['--input-type=module', '-e', script, join(store.home, 'boxes')], { stdio: ['ignore', 'pipe', 'inherit'] });
      onTestFinished(() => new Promise<void>((resolve) => { child.once('exit', () => resolve()); child.kill('SIGKILL'); }));
      await new Promise((resolve) => child.stdout.once('data', resolve));
      return child;
    }));
    const readings = Array.from({ length: 1_000 }, () => holdsOf(store));
    expect(users.every(({ exitCode }) => exitCode === null)).toBe(true);
    expect(new Set(readings.map(({ error }) => error?.message))).toEqual(new Set([undefined]));
    // A box whose marker is still empty may use anything.
    expect(readings.filter(({ holds }) => holds.everything !== undefined).length).toBeLessThan(readings.length / 4);
    expect(readings.every(({ holds }) => holds.entries.has(key('0') as EntryName))).toBe(true);
    using cache = store.cache({ maxEntries: 1 });
    for (let tries = 0; tries < 20 && store.names.length > 2; tries += 1) expect((await cache.pass({ mode: 'Enforce', trigger: 'Manual' })).errors).toEqual([]);
    expect(keys.filter((each) => store.isServed(each))).toEqual([key('0')]);
  }, 60_000);

  test('a list of boxes that is replaced while it is read is read as the one or the other', async () => {
    const image = 'docker.io/library/redis:8';
    const make = () => {
      const store = boxes['that is filled and has no marker']!(new StoreOnDisk());
      writeFileSync(join(store.home, 'boxes.json'), JSON.stringify([{ id: 'brief', image }]));
      return store;
    };
    await atEachRead(make, ({ home }) => {
      writeFileSync(join(home, 'boxes.json.new'), JSON.stringify([{ id: 'brief', image }, { id: 'other', image: 'nginx' }]));
      renameSync(join(home, 'boxes.json.new'), join(home, 'boxes.json'));
    }, (store) => {
      const { holds, error } = holdsOf(store);
      expect({ error, images: [...holds.byDescription.keys()] }).toEqual({ error: undefined, images: [image] });
    });
  });
});

describe('an entry that is removed while it is read', () => {
  const tree = (root: string) => {
    mkdirSync(join(root, 'brief/one/two'), { recursive: true });
    mkdirSync(join(root, 'stays'));
    for (const name of ['brief/file', 'brief/one/file', 'brief/one/two/file', 'stays/file']) writeFileSync(join(root, name), 'x');
    return root;
  };
  const parts = ['brief', 'brief/one', 'brief/one/two', 'brief/one/file'];

  test.each(parts)('of a directory: no damage where %s goes before any read', async (part) => {
    await atEachRead(() => tree(join(scratchDir(), 'models')), (root) => rmSync(join(root, part), { recursive: true }), async (root) => {
      const { damaged, unrecognised, entries } = await new Directory().scan(pin(root), { nowMs: Date.now(), leftoverAgeMs: 0, slices: new Slices() });
      expect({ damaged, unrecognised }).toEqual({ damaged: [], unrecognised: [] });
      expect([...entries].map(({ key: name }) => name)).toContain('stays');
    });
  });

  test.each(parts)('of a directory: a plan has no errors where %s goes before any read', async (part) => {
    await atEachRead(() => tree(join(scratchDir(), 'models')), (root) => rmSync(join(root, part), { recursive: true }), async (root) => {
      const spec = { name: 'models', format: 'directory', root, home: null, limits: { ...noLimits, maxEntries: 0 }, protect: noProtection } as const;
      using cache = new Cache(spec, { allowedRoots: [dirname(root)], clock: new SteppedClock() });
      const { errors, plan } = await cache.plan();
      expect(errors).toEqual([]);
      expect([...plan.evict].map(({ entry }) => entry.key)).toContain('stays');
    });
  });

  test.each(['', '.meta.json'])('of a store: no damage where the key%s goes before any read', async (suffix) => {
    await atEachRead(() => new StoreOnDisk().entry(key('a')).entry(key('b')), ({ root }) => rmSync(join(root, `${key('b')}${suffix}`), { recursive: true }), async ({ root }) => {
      const { damaged, unrecognised, entries } = await a3sRootfs.scan(pin(root), { nowMs: Date.now(), leftoverAgeMs: 0, slices: new Slices() });
      expect({ damaged, unrecognised }).toEqual({ damaged: [], unrecognised: [] });
      expect([...entries].map(({ key: name }) => name)).toContain(key('a'));
    });
  });

  test('of the trash: what rests is counted without it', async () => {
    const make = () => new StoreOnDisk().entry(key('a')).entry(key('b'));
    const evicted = async (store: StoreOnDisk) => {
      using cache = store.cache({ maxEntries: 0 });
      await cache.pass({ mode: 'Enforce', trigger: 'Manual' });
      writeFileSync(join(store.box('odd').home, 'boxes/odd/file'), '');
      writeFileSync(join(store.home, 'boxes.json'), JSON.stringify([{ id: 'odd', image: 'nginx' }]));
    };
    for (let n = 0, more = true; more; n += 1) {
      const store = make();
      await evicted(store);
      using cache = store.cache({ maxEntries: 0 });
      const item = store.trash.find((name) => name.endsWith(key('b')))!;
      const seen = beforeRead(n, () => renameSync(join(store.root, '.cachepolicy/trash', item), join(store.root, '.cachepolicy/trash/gone-0')));
      expect(await cache.restingBytes(), `gone before read ${n}`).toBeGreaterThanOrEqual(100);
      vi.restoreAllMocks();
      more = seen.count > n;
    }
  });
});

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, renameSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { a3sRootfs } from '../../src/cache/formats/a3s-rootfs.ts';
import { holdersOf } from '../../src/cache/holds/holders.ts';
import { asRoot, mount, pin, scratchDir } from '../disk/scratch.ts';
import { SteppedClock } from './stepped-clock.ts';
import { key, StoreOnDisk } from './store.ts';

const [a, b] = [key('a'), key('b')];
const enforce = { mode: 'Enforce', trigger: 'Manual' } as const;

/** An entry that is in use by a mount, and one that is not. */
function storeOnItsOwn(): StoreOnDisk {
  const dir = scratchDir();
  // A filesystem of its own: what the machine has mounted elsewhere plays no part.
  mount('-t', 'tmpfs', 'tmpfs', dir);
  return new StoreOnDisk(join(dir, 'home')).entry(a, { usedSecondsAgo: 3_000 }).entry(b);
}

function held(store: StoreOnDisk) {
  const { holds, error } = holdersOf({ root: pin(store.root), home: store.home, allowedRoots: [dirname(store.home)] }, a3sRootfs).read();
  expect(error).toBeUndefined();
  return [...holds.entries];
}

function overlay(lower: string): string {
  const dir = scratchDir();
  mount('-t', 'tmpfs', 'tmpfs', dir);
  for (const name of ['upper', 'work', 'merged']) mkdirSync(join(dir, name));
  mount('-t', 'overlay', 'overlay', '-o', `lowerdir=${lower},upperdir=${dir}/upper,workdir=${dir}/work`, join(dir, 'merged'));
  return join(dir, 'merged');
}

function bound(source: string): string {
  const target = scratchDir();
  mount('--bind', source, target);
  return target;
}

describe.runIf(asRoot)('an entry is held by', () => {
  const uses: [string, (entry: string, store: StoreOnDisk) => string][] = [
    ['a bind mount of it', (entry) => bound(entry)],
    ['a bind mount of a part of it', (entry) => bound(join(entry, 'etc'))],
    ['an overlay that has it as its lower', (entry) => overlay(entry)],
    ['an overlay that reached it by another path', (entry, { root }) => overlay(join(bound(root), entry.slice(root.length + 1)))],
    ['something that is mounted over it', (entry) => (mount('-t', 'tmpfs', 'tmpfs', entry), entry)],
    ['something that is mounted in it', (entry) => (mount('-t', 'tmpfs', 'tmpfs', join(entry, 'etc')), join(entry, 'etc'))],
  ];
  test.each(uses)('%s', async (_, use) => {
    const store = storeOnItsOwn();
    const mountPoint = use(join(store.root, a), store);
    expect(held(store)).toEqual([[a, { source: 'Mount', detail: `the mount at ${mountPoint}` }]]);
    const { evicted, plan } = await store.cache({ maxEntries: 0 }).pass(enforce);
    expect(evicted.map((entry) => entry.key)).toEqual([b]);
    expect(plan.verdicts.at(0)).toMatchObject({ reason: 'InUse', hold: { source: 'Mount' } });
  });
});

describe.runIf(asRoot)('another mount namespace', () => {
  /** Runs until the test ends, with the entry mounted where nobody else sees it. */
  async function elsewhere(entry: string, command: readonly string[]): Promise<void> {
    const script = 'mount --bind "$1" "$2" && shift 2 && exec "$@"';
    const other = spawn('unshare', ['--mount', '--propagation', 'private', 'sh', '-c', script, 'sh', entry, scratchDir(), ...command], { stdio: ['pipe', 'pipe', 'ignore'] });
    onTestFinished(() => void other.kill('SIGKILL'));
    await once(other.stdout, 'data');
  }

  test('that has an entry mounted does not hold it', async () => {
    const store = storeOnItsOwn();
    await elsewhere(join(store.root, a), ['sh', '-c', 'echo ready; read line']);
    expect(held(store)).toEqual([]);
    const { evicted } = await store.cache({ maxEntries: 0 }).pass(enforce);
    expect(evicted.map((entry) => entry.key).toSorted()).toEqual([a, b]);
  });

  test('that has an entry mounted and locked holds it', async () => {
    const store = storeOnItsOwn();
    await elsewhere(join(store.root, a), ['sh', '-c', 'exec 9<"$0"; flock --shared 9; echo ready; read line', join(store.root, a)]);
    const { evicted } = await store.cache({ maxEntries: 0 }).pass(enforce);
    expect(evicted.map((entry) => entry.key)).toEqual([b]);
  });
});

describe.runIf(asRoot)('nothing is held by', () => {
  test('mounts of the whole store, of its home, and of what lies beside it', () => {
    const store = storeOnItsOwn();
    mkdirSync(join(store.root, 'notes', 'deep'), { recursive: true });
    for (const source of [store.root, store.home, join(store.home, 'boxes'), join(store.root, '.cachepolicy')]) {
      mkdirSync(source, { recursive: true });
      bound(source);
    }
    expect(held(store)).toEqual([]);
  });

  test('a mount of the same path on another filesystem', () => {
    const [one, other] = [storeOnItsOwn(), storeOnItsOwn()];
    bound(join(other.root, a));
    expect(held(one)).toEqual([]);
  });
});

describe.runIf(asRoot)('what is mounted while it leaves', () => {
  test.each([0, 1])('comes back, in settle %i', async (settle) => {
    const store = storeOnItsOwn();
    const during = Array.from({ length: settle + 1 }, (_, n) => () => void (n === settle && bound(join(store.root, a))));
    const { evicted, revived } = await store.cache({ maxEntries: 1 }, { clock: new SteppedClock(...during) }).pass(enforce);
    expect({ evicted: evicted.length, revived, whole: store.isWhole(a), served: store.isServed(a) }).toEqual({ evicted: 0, revived: 1, whole: true, served: true });
  });

  test('comes back out of the trash, where the mount followed it', async () => {
    const store = storeOnItsOwn();
    const cache = store.cache({ maxEntries: 1 });
    await cache.pass(enforce);
    const [item = ''] = readdirSync(join(store.root, '.cachepolicy/trash'));
    bound(join(store.root, '.cachepolicy/trash', item, 'd'));
    expect(await cache.purge()).toMatchObject({ purgedEntries: 0, revivedNames: [a] });
  });

  test('comes back where the mount still knows it by its old name', async () => {
    const store = storeOnItsOwn();
    const merged = overlay(join(store.root, a));
    renameSync(join(store.root, a), join(store.home, 'aside'));
    expect(held(store)).toEqual([[a, { source: 'Mount', detail: `the mount at ${merged}` }]]);
  });
});

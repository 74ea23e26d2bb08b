import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { holdersOf } from '../../src/cache/holds/holders.ts';
import { a3sLayers } from '../../src/cache/formats/a3s-layers.ts';
import { errno } from '../../src/disk/disk-error.ts';
import { Dir } from '../../src/disk/dir.ts';
import { tryFlock } from '../../src/disk/libc.ts';
import { Slices } from '../../src/disk/slices.ts';
import { pin } from '../disk/scratch.ts';
import { SteppedClock } from './stepped-clock.ts';
import { key, StoreOnDisk } from './store.ts';

const [a, b] = [key('a'), key('b')];
const enforce = { mode: 'Enforce', trigger: 'Manual' } as const;

/** A process of its own that holds a lock on a path until the test ends. */
async function lockedElsewhere(path: string, how: '--shared' | '--exclusive'): Promise<() => Promise<void>> {
  const holder = spawn('flock', [how, path, 'sh', '-c', 'echo held; read _'], { stdio: ['pipe', 'pipe', 'inherit'] });
  const release = async () => {
    if (holder.exitCode !== null) return;
    holder.stdin.end('\n');
    await once(holder, 'exit');
  };
  onTestFinished(release);
  await once(holder.stdout, 'data');
  return release;
}

test('where a pass takes out only so many, one behind them goes in place of an entry that is locked', async () => {
  const store = new StoreOnDisk().entry(a, { usedSecondsAgo: 3_000 }).entry(b);
  await lockedElsewhere(join(store.root, a), '--shared');
  const report = await store.cache({ maxEntries: 0 }, { mostAtOnce: 1 }).pass(enforce);
  expect(report.evicted.map((entry) => entry.key)).toEqual([b]);
});

test.each(['--shared', '--exclusive'] as const)('an entry that another process has locked (%s) stays until it lets go, and something else goes', async (how) => {
  const store = new StoreOnDisk().entry(a, { usedSecondsAgo: 3_000 }).entry(b);
  const release = await lockedElsewhere(join(store.root, a), how);
  const cache = store.cache({ maxEntries: 1 });
  const first = await cache.pass(enforce);
  expect(first.evicted.map((entry) => entry.key)).toEqual([b]);
  expect(first.plan.verdicts.at(0)).toMatchObject({ reason: 'InUse', detail: 'a process that holds a lock on it', hold: { source: 'Flock' } });
  expect(first.holdSources).toEqual(['Box', 'Mount', 'Flock']);
  await release();
  store.entry(b);
  expect((await cache.pass(enforce)).evicted.map((entry) => entry.key)).toEqual([a]);
});

test('an entry that is locked while it leaves comes back, whichever step it stands at', async () => {
  for (const step of [0, 1]) {
    const store = new StoreOnDisk().entry(a);
    const during = Array.from({ length: step + 1 }, (_, n) => async () => void (n === step && (await lockedElsewhere(join(store.root, a), '--shared'))));
    const { evicted, revived } = await store.cache({ maxEntries: 0 }, { clock: new SteppedClock(...during) }).pass(enforce);
    expect({ step, evicted: evicted.length, revived, served: store.isServed(a), whole: store.isWhole(a) }).toEqual({ step, evicted: 0, revived: 1, served: true, whole: true });
  }
});

test('an evicted entry that is locked in the trash comes back in place of being purged', async () => {
  const store = new StoreOnDisk().entry(a);
  const cache = store.cache({ maxEntries: 0 });
  await cache.pass(enforce);
  const [item = ''] = readdirSync(join(store.root, '.cachepolicy/trash'));
  await lockedElsewhere(join(store.root, '.cachepolicy/trash', item, 'd'), '--shared');
  expect(await cache.purge()).toMatchObject({ purgedEntries: 0, revived: 1 });
  expect(store.isServed(a) && store.isWhole(a)).toBe(true);
});

test('an entry that cannot be asked stays, something else goes, and the report says why', async () => {
  const store = new StoreOnDisk().entry(a, { usedSecondsAgo: 3_000 }).entry(b);
  const open = Dir.prototype.openFileOrErrno;
  const broken = vi.spyOn(Dir.prototype, 'openFileOrErrno').mockImplementation(function (this: Dir, name, ...rest) {
    return name === a ? -errno.EIO : open.call(this, name, ...rest);
  });
  onTestFinished(() => broken.mockRestore());
  const message = `cannot ask whether ${store.root}/${a} is locked: input/output error (EIO)`;
  for (const mode of ['DryRun', 'Enforce'] as const) {
    const { plan, errors } = await store.cache({ maxEntries: 1 }).pass({ mode, trigger: 'Manual' });
    expect([...plan.verdicts].map(({ entry, reason, detail }) => [entry.key, reason, detail])).toEqual([[a, 'InUse', message], [b, 'MaxEntries', expect.any(String)]]);
    expect(errors).toEqual([{ code: 'ERR_DISK_IO', message, entry: a }]);
  }
  expect(store.isServed(a) && !store.isServed(b)).toBe(true);
});

test('asking leaves no lock behind, and what cannot be locked is used by nobody', async () => {
  const store = new StoreOnDisk().entry(a);
  writeFileSync(join(store.root, 'file'), '');
  const root = pin(store.root);
  const { probe } = holdersOf({ root, home: store.home, allowedRoots: [] }, a3sLayers);
  for (const name of [a, 'file', 'absent']) expect(await probe({ parent: root, name }, new Slices())).toEqual({ hold: undefined, error: undefined });
  using dir = root.openDir(a);
  expect(tryFlock(dir.fd)).toBe(0);
  // Held by ourselves, but not by the descriptor that asks: whoever it is uses the entry.
  expect((await probe({ parent: root, name: a }, new Slices())).hold).toMatchObject({ source: 'Flock' });
});

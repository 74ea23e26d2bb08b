import type { ChildProcess } from 'node:child_process';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { truncateSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { diskError, errno } from '../../src/disk/disk-error.ts';
import { asRoot, mount, scratchDir } from '../disk/scratch.ts';
import { SteppedClock } from './stepped-clock.ts';
import { key, StoreOnDisk } from './store.ts';

const [a, b, c, d] = [key('a'), key('b'), key('c'), key('d')];
const enforce = { mode: 'Enforce', trigger: 'Change' } as const;

/** d was used last. */
function four(home?: string): StoreOnDisk {
  return new StoreOnDisk(home).entry(a, { usedSecondsAgo: 4_000 }).entry(b, { usedSecondsAgo: 3_000 }).entry(c, { usedSecondsAgo: 2_000 }).entry(d);
}

const served = (store: StoreOnDisk, ...names: string[]) => names.map((name) => store.isServed(name) && store.isWhole(name));

/**
 * A home on a disk of which the last block cannot be read, with that block as the content of what is named.
 * @returns undefined where this machine cannot make one
 */
function onBadDisk(...unreadable: string[]): StoreOnDisk | undefined {
  const [image, dir] = [join(scratchDir(), 'image'), scratchDir()];
  const [blockBytes, blocks] = [1024, 16 * 1024];
  try {
    truncateSync(execFileSync('sh', ['-c', `: > ${image}; printf ${image}`], { encoding: 'utf8' }), blocks * blockBytes);
    // Files that are lists of blocks, without checksums over them: so that one can be put in the place of another.
    execFileSync('mkfs.ext4', ['-q', '-F', '-b', `${blockBytes}`, '-O', '^extents,^64bit,^metadata_csum,^has_journal', image], { stdio: 'pipe' });
    execFileSync('mount', ['-o', 'loop', image, dir], { stdio: 'pipe' });
    const store = four(join(dir, 'home'));
    execFileSync('umount', [dir]);
    for (const name of unreadable) execFileSync('debugfs', ['-w', '-R', `set_inode_field home/cache/rootfs/${name} block[0] ${blocks - 1}`, image], { stdio: 'pipe' });
    mount('-o', 'loop', image, dir);
    truncateSync(image, (blocks - 1) * blockBytes);
    return store;
  } catch {
    return undefined;
  }
}

describe.runIf(asRoot)('a disk that cannot read', () => {
  test('the metadata of one entry and the tree of another: both are reported, and the rest goes on', async ({ skip }) => {
    const store = onBadDisk(`${a}.meta.json`, `${b}/etc`);
    if (store === undefined) return skip('no disk with a bad block can be made here');
    const clock = new SteppedClock();
    const cache = store.cache({ maxEntries: 1 }, { clock });
    const { before, evicted, errors } = await cache.pass(enforce);
    expect(before.damaged).toMatchObject([{ name: a, reason: 'MetadataUnreadable', message: expect.stringContaining('input/output error (EIO)') as string }]);
    expect({ evicted: evicted.map((entry) => entry.key), errors }).toEqual({ evicted: [b, c], errors: [] });
    const purged = await cache.purge();
    expect(purged).toMatchObject({ purgedEntries: 1, errors: [{ code: 'ERR_DISK_IO', message: expect.stringContaining('input/output error (EIO)') as string }] });
    expect(purged.nextDueAtMs).toBeGreaterThan(clock.now());
    // It is left alone for a while, and then tried again.
    expect((await cache.purge()).errors).toEqual([]);
    clock.advance(120_000);
    expect((await cache.purge()).errors).toHaveLength(1);
    expect(served(store, d)).toEqual([true]);
  });
});

describe.each(['EIO', 'EROFS'] as const)('where one entry fails with %s', (name) => {
  const steps: [string, RegExp][] = [
    ['the item of it is made', new RegExp(`^mkdir .*\\.${a}$`)],
    ['the link is made', new RegExp(`^symlink .*\\.${a}$`)],
    ['its metadata is moved', new RegExp(`^rename .*/${a}\\.meta\\.json$`)],
    ['it is exchanged', new RegExp(`^exchange .*/${a}$`)],
    ['its link is removed', new RegExp(`^unlink .*/${a}$`)],
  ];
  test.each(steps)('while %s, it is reported, the rest goes on, and it stays whole', async (_, failing) => {
    const store = four();
    let broken = true;
    const fault = (step: string) => {
      if (broken && failing.test(step)) throw diskError(step, -errno[name]);
    };
    const clock = new SteppedClock();
    const cache = store.cache({ maxEntries: 1 }, { fault, clock });
    const { evicted, errors } = await cache.pass(enforce);
    expect(evicted.map((entry) => entry.key)).toEqual([b, c]);
    expect(errors.length).toBeGreaterThan(0);
    for (const error of errors) expect(error).toMatchObject({ code: 'ERR_DISK_IO', entry: a, message: expect.stringContaining(`(${name})`) as string });
    expect(served(store, a)).toEqual([true]);
    broken = false;
    clock.advance(3_600_000);
    const later = await cache.pass(enforce);
    expect({ errors: later.errors, served: served(store, d) }).toEqual({ errors: [], served: [true] });
    expect((await cache.purge()).errors).toEqual([]);
    expect(store.names).toEqual([d, `${d}.meta.json`]);
  });
});

describe.runIf(asRoot)('what is read-only', () => {
  test('of one entry holds it, and the rest goes on', async () => {
    const store = four();
    mount('--bind', join(store.root, a), join(store.root, a));
    execFileSync('mount', ['-o', 'remount,bind,ro', join(store.root, a)]);
    const { evicted, plan } = await store.cache({ maxEntries: 2 }).pass(enforce);
    expect(evicted.map((entry) => entry.key)).toEqual([b, c]);
    expect([...plan.verdicts][0]).toMatchObject({ reason: 'InUse', detail: `the mount at ${store.root}/${a}` });
    expect(served(store, a)).toEqual([true]);
  });

  test('of the whole disk is said, nothing is lost, and it comes back by itself', async () => {
    const dir = scratchDir();
    mount('-t', 'tmpfs', 'tmpfs', dir);
    const store = four(join(dir, 'home'));
    const cache = store.cache({ maxEntries: 1 });
    for (const made of [false, true]) {
      if (made) await store.cache({ maxEntries: 9 }).pass(enforce);
      execFileSync('mount', ['-o', 'remount,ro', dir]);
      await expect(cache.pass(enforce)).rejects.toMatchObject({ code: 'ERR_DISK_IO', message: expect.stringContaining('read-only (EROFS)') as string });
      const { plan } = await cache.pass({ mode: 'DryRun', trigger: 'Change' });
      expect(plan.evict.length).toBe(3);
      execFileSync('mount', ['-o', 'remount,rw', dir]);
      expect(served(store, a, b, c, d)).toEqual([true, true, true, true]);
    }
    expect((await cache.pass(enforce)).evicted).toHaveLength(3);
  });
});

describe('the lock of an entry that a stopped process holds', () => {
  async function stoppedHolder(path: string): Promise<ChildProcess> {
    const holder = spawn('flock', [path, 'sh', '-c', 'echo held; read _'], { stdio: ['pipe', 'pipe', 'inherit'] });
    onTestFinished(async () => {
      holder.kill('SIGCONT');
      holder.stdin.end('\n');
      if (holder.exitCode === null) await once(holder, 'exit');
    });
    await once(holder.stdout, 'data');
    holder.kill('SIGSTOP');
    return holder;
  }

  test('leaves the entry alone, counts it as raced, and delays nobody else', async () => {
    const store = four();
    const holder = await stoppedHolder(join(store.root, `${a}.meta.json.lock`));
    const cache = store.cache({ maxEntries: 1 });
    const { evicted, raced, errors } = await cache.pass(enforce);
    expect({ evicted: evicted.map((entry) => entry.key), raced, errors }).toEqual({ evicted: [b, c], raced: 1, errors: [] });
    expect(served(store, a)).toEqual([true]);
    holder.kill('SIGCONT');
    holder.stdin?.end('\n');
    await once(holder, 'exit');
    expect((await cache.pass(enforce)).evicted.map((entry) => entry.key)).toEqual([a]);
  });

  test.each([0, 1])('brings the entry back where it was taken while that left, in settle %i', async (settle) => {
    const store = four();
    const during = Array.from({ length: settle + 1 }, (_, n) => async () => {
      if (n === settle) await stoppedHolder(join(store.root, `${a}.meta.json.lock`));
    });
    const { evicted, revived, errors } = await store.cache({ maxEntries: 3 }, { clock: new SteppedClock(...during) }).pass(enforce);
    expect({ evicted, revived, errors, served: served(store, a) }).toEqual({ evicted: [], revived: 1, errors: [], served: [true] });
  });
});

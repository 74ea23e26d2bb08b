import { execFileSync } from 'node:child_process';
import { chmodSync, closeSync, mkdirSync, openSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { Fault } from '../../src/disk/dir.ts';
import { asRoot, listing, makeDeep } from '../disk/scratch.ts';
import { DirectoryOnDisk } from './directory-on-disk.ts';
import { SteppedClock } from './stepped-clock.ts';

const enforce = { mode: 'Enforce', trigger: 'Manual' } as const;
const nobody = 65_534;

/** Versions of modules as `go mod download` leaves them, oldest first: folders of mode 0555 and files of 0444, all of the user who runs the engine, who is not root. */
function modules(...names: string[]): DirectoryOnDisk {
  const disk = new DirectoryOnDisk();
  for (const [at, name] of names.entries()) {
    disk.folder(name, { usedSecondsAgo: 1_000 - at });
    for (const path of ['config.json', 'shards/weights']) chmodSync(join(disk.root, name, path), 0o444);
    for (const path of ['shards', '.']) chmodSync(join(disk.root, name, path), 0o555);
  }
  if (asRoot) {
    execFileSync('chown', ['-R', `${nobody}:${nobody}`, dirname(disk.root)]);
    process.setegid?.(nobody);
    process.seteuid?.(nobody);
    onTestFinished(() => {
      process.seteuid?.(0);
      process.setegid?.(0);
    });
  }
  return disk;
}

const modeOf = (...path: string[]) => (statSync(join(...path)).mode & 0o7777).toString(8);

describe('a read-only folder of the user who is not root', () => {
  test('is evicted and deleted', async () => {
    const disk = modules('text@v0.1', 'text@v0.2', 'text@v0.3');
    using cache = disk.cache({ maxEntries: 1 });
    const { evicted, errors } = await cache.pass(enforce);
    expect([evicted.map(({ key }) => key), errors]).toEqual([['text@v0.1', 'text@v0.2'], []]);
    expect(await cache.purge({ now: true })).toMatchObject({ purgedEntries: 2, errors: [] });
    expect(readdirSync(disk.root).filter((name) => !name.startsWith('.'))).toEqual(['text@v0.3']);
  });

  test('is removed on demand', async () => {
    const disk = modules('text@v0.1');
    using cache = disk.cache();
    await cache.remove('text@v0.1', { force: false });
    expect([disk.names, disk.trash]).toEqual([[], []]);
  });

  test('is evicted where it lies inside an entry, or is an entry that holds nothing', async () => {
    const disk = modules('text@v0.1');
    mkdirSync(join(disk.root, 'x', 'y', 'empty'), { recursive: true });
    execFileSync('cp', ['-a', 'text@v0.1', 'x/y/'], { cwd: disk.root });
    for (const path of ['x/y/empty', 'x/y']) chmodSync(join(disk.root, path), 0o555);
    using cache = disk.cache({ maxEntries: 0 });
    expect(await cache.pass(enforce)).toMatchObject({ errors: [], evicted: [expect.anything(), expect.anything()] });
    expect(await cache.purge({ now: true })).toMatchObject({ purgedEntries: 2, errors: [] });
  });

  test('is deleted however deep it is', async () => {
    const disk = modules('text@v0.1');
    execFileSync('mkdir', [join(disk.root, 'deep')]);
    makeDeep(join(disk.root, 'deep'), { levels: 150, fileInEach: true });
    execFileSync('chmod', ['-R', 'a-w', join(disk.root, 'deep')]);
    using cache = disk.cache({ maxEntries: 0 });
    expect(await cache.pass(enforce)).toMatchObject({ errors: [] });
    expect(await cache.purge({ now: true })).toMatchObject({ errors: [] });
    expect([disk.names, disk.trash]).toEqual([[], []]);
  });

  test('comes back as it was, where it is used again in the trash', async () => {
    const disk = modules('text@v0.1', 'text@v0.2');
    const before = listing(disk.root);
    using cache = disk.cache({ maxEntries: 1 }, { restMs: 60_000 });
    expect((await cache.pass(enforce)).evicted).toHaveLength(1);
    const [item = ''] = disk.trash;
    const fd = openSync(disk.inOwn('trash', item, 'd/config.json'), 'r');
    onTestFinished(() => closeSync(fd));
    expect(await cache.purge({ now: true })).toMatchObject({ revivedNames: ['text@v0.1'], errors: [] });
    expect(listing(disk.root).filter((line) => !line.startsWith('.cachepolicy'))).toEqual(before);
    expect(disk.trash).toEqual([]);
  });

  test('comes back as it was, where the engine is stopped once it has made the folder writable', async () => {
    const disk = modules('text@v0.1', 'text@v0.2');
    const before = listing(disk.root);
    let isStopped = false;
    const fault: Fault = (step) => {
      if (isStopped) throw new Error('the machine stopped');
      isStopped = step.startsWith('chmod ');
    };
    using stopped = disk.cache({ maxEntries: 1 }, { fault });
    await expect(stopped.pass(enforce)).rejects.toThrow('the machine stopped');
    using cache = disk.cache({}, { clock: new SteppedClock() });
    expect(await cache.pass(enforce)).toMatchObject({ errors: [] });
    expect(listing(disk.root).filter((line) => !line.startsWith('.cachepolicy'))).toEqual(before);
    expect([modeOf(disk.root, 'text@v0.1'), disk.trash]).toEqual(['555', []]);
  });

  test('keeps what was written into it meanwhile', async () => {
    const disk = modules('text@v0.1', 'text@v0.2');
    const path = join(disk.root, 'text@v0.1');
    const clock = new SteppedClock(() => {
      chmodSync(path, 0o755);
      writeFileSync(join(path, 'new'), '');
    });
    using cache = disk.cache({ maxEntries: 1 }, { clock });
    expect(await cache.pass(enforce)).toMatchObject({ evicted: [], revived: 1, errors: [] });
    expect(readdirSync(path)).toContain('new');
  });
});

import { execFileSync } from 'node:child_process';
import { mkdirSync, renameSync, rmdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { isStrictlyBelow } from '../../src/api/paths.ts';
import { filesystemOf, identityOf, isSameRoot, openRoot } from '../../src/disk/pinned-root.ts';
import { hostilePaths } from '../fixtures/hostile-paths.ts';
import { asRoot, mount, pin, scratchDir, smallDisk, thrownBy } from './scratch.ts';

/** `<scratch>/allowed/home/cache`, with the first as allowed root. */
function layout() {
  const base = scratchDir();
  const allowed = join(base, 'allowed');
  const cache = join(allowed, 'home', 'cache');
  mkdirSync(cache, { recursive: true });
  return { base, allowed, home: join(allowed, 'home'), cache };
}

function opening(path: string, allowed: string) {
  return () => openRoot(path, { allowedRoots: [allowed] })[Symbol.dispose]();
}

test('a directory below an allowed root opens, and its path is kept for messages', () => {
  const { cache, allowed } = layout();
  using root = openRoot(cache, { allowedRoots: ['/nowhere', allowed] });
  expect(root.path).toBe(cache);
  expect(root.stat().kind).toBe('Directory');
});

test.each(hostilePaths('/ALLOWED'))('%s is not allowed', (_, path) => {
  const { allowed } = layout();
  expect(opening(path.replaceAll('ALLOWED', allowed.slice(1)), allowed)).toThrow(expect.objectContaining({ code: 'ERR_PATH_NOT_ALLOWED' }));
});

test('a missing directory is told by the first component that is missing', () => {
  const { allowed, home } = layout();
  expect(thrownBy(opening(`${home}/later/rootfs`, allowed))).toMatchObject({ code: 'ERR_ROOT_MISSING', message: `${home}/later does not exist` });
});

test('a missing allowed root is told the same way', () => {
  const { base } = layout();
  expect(thrownBy(opening(`${base}/absent/home`, `${base}/absent`))).toMatchObject({ code: 'ERR_ROOT_MISSING', message: `${base}/absent does not exist` });
});

test.each(['cache', 'home', 'allowed'] as const)('a symbolic link in the place of %s is refused by its name', (which) => {
  const paths = layout();
  renameSync(paths[which], join(paths.base, 'moved'));
  symlinkSync(join(paths.base, 'moved'), paths[which]);
  expect(thrownBy(opening(paths.cache, paths.allowed))).toMatchObject({ code: 'ERR_ROOT_SYMLINK', message: `${paths[which]} is a symbolic link` });
});

test('a file is no root', () => {
  const { allowed, home } = layout();
  writeFileSync(`${home}/file`, '');
  expect(thrownBy(opening(`${home}/file`, allowed))).toMatchObject({ code: 'ERR_ROOT_NOT_DIRECTORY', message: `${home}/file is not a directory` });
});

test('an open root stays the same directory when its path is swapped, and a new look tells the difference', () => {
  const { base, cache } = layout();
  const root = pin(cache);
  const before = identityOf(root);
  expect(isSameRoot(before, identityOf(pin(cache)))).toBe(true);
  renameSync(cache, join(base, 'moved'));
  mkdirSync(cache);
  writeFileSync(join(cache, 'new'), '');
  expect(root.statOf('new')).toBeUndefined();
  expect(isSameRoot(before, identityOf(pin(cache)))).toBe(false);
});

test('whole path components decide what lies below', () => {
  expect(isStrictlyBelow('/var/cache/a', '/var/cache')).toBe(true);
  expect(isStrictlyBelow('/var/cache-x', '/var/cache')).toBe(false);
  expect(isStrictlyBelow('/var/cache', '/var/cache')).toBe(false);
});

test('the filesystem has a capacity and not more available than that', () => {
  const { capacityBytes, availableBytes } = filesystemOf(pin(layout().cache));
  expect(capacityBytes).toBeGreaterThan(2 ** 20);
  expect(availableBytes).toBeLessThanOrEqual(capacityBytes);
});

describe.runIf(asRoot)('what could be free of a filesystem at most', () => {
  const at = (dir: string) => {
    mkdirSync(join(dir, 'cache'));
    return filesystemOf(pin(join(dir, 'cache')));
  };

  test('is all but what ext4 keeps for root, and as many inodes as it was made with', ({ skip }) => {
    const dir = smallDisk('ext4', { sizeMiB: 16, inodes: 256, reservedPercent: 25 });
    if (dir === undefined) return skip('no ext4 here');
    const { capacityBytes, availableBytes, mostFreeBytes = NaN, inodes, mostFreeInodes } = at(dir);
    expect(mostFreeBytes / capacityBytes).toBeLessThan(0.76);
    expect(mostFreeBytes).toBeGreaterThan(availableBytes);
    expect(mostFreeInodes).toBe(inodes);
  });

  test('is not what ext4 keeps by default either where root has taken of what it keeps, and nobody can see how much that was', ({ skip }) => {
    const dir = smallDisk('ext4', { sizeMiB: 16, reservedPercent: 10 });
    if (dir === undefined) return skip('no ext4 here');
    mkdirSync(join(dir, 'cache'));
    expect(() => writeFileSync(join(dir, 'all'), Buffer.alloc(17 * 2 ** 20))).toThrow('ENOSPC');
    const { capacityBytes, availableBytes, mostFreeBytes = NaN } = filesystemOf(pin(join(dir, 'cache')));
    expect(availableBytes).toBe(0);
    expect(mostFreeBytes / capacityBytes).toBeGreaterThan(0.9);
    expect(mostFreeBytes / capacityBytes).toBeLessThanOrEqual(0.951);
  });

  test('is all of a tmpfs, and as many inodes as it was mounted with, if it counts them', () => {
    expect(at(smallDisk('tmpfs', { sizeMiB: 1, inodes: 100 })!)).toMatchObject({ capacityBytes: 2 ** 20, inodes: 100, mostFreeInodes: 100 });
    const uncounted = at(smallDisk('tmpfs', { sizeMiB: 1, inodes: 0 })!);
    expect(Object.keys(uncounted)).toEqual(['capacityBytes', 'availableBytes']);
  });
});

describe.runIf(asRoot)('with mounts', () => {
  test('a filesystem mounted on the way is walked through, and makes another root of it', () => {
    const { home, cache, allowed } = layout();
    const before = identityOf(pin(cache));
    mount('-t', 'tmpfs', 'tmpfs', home);
    expect(opening(cache, allowed)).toThrow(expect.objectContaining({ code: 'ERR_ROOT_MISSING' }));
    mkdirSync(cache);
    expect(isSameRoot(before, identityOf(pin(cache)))).toBe(false);
  });

  test('a bind mount of the same filesystem makes another root of it', () => {
    const { cache } = layout();
    const before = identityOf(pin(cache));
    mount('--bind', cache, cache);
    expect(isSameRoot(before, identityOf(pin(cache)))).toBe(false);
  });

  test('a mount that shows a directory of another name is refused like the symbolic link it may stand for', () => {
    const { base, home, cache, allowed } = layout();
    mkdirSync(join(base, 'etc', 'cache'), { recursive: true });
    mount('--bind', join(base, 'etc'), home);
    expect(thrownBy(opening(cache, allowed))).toMatchObject({ code: 'ERR_ROOT_SYMLINK', message: expect.stringContaining(`what is mounted at ${home} is`) });
  });

  test('a mount that shows a directory of the same name elsewhere is taken', () => {
    const { base, home, cache, allowed } = layout();
    mkdirSync(join(base, 'elsewhere', 'home', 'cache'), { recursive: true });
    mount('--bind', join(base, 'elsewhere', 'home'), home);
    expect(opening(cache, allowed)).not.toThrow();
  });

  test('a removed directory that a mount still holds is missing', () => {
    const { base, home, allowed } = layout();
    mkdirSync(join(base, 'gone', 'cache'), { recursive: true });
    mkdirSync(join(home, 'cache'), { recursive: true });
    mount('--bind', join(base, 'gone', 'cache'), join(home, 'cache'));
    rmdirSync(join(base, 'gone', 'cache'));
    expect(thrownBy(opening(join(home, 'cache'), allowed))).toMatchObject({ code: 'ERR_ROOT_MISSING', message: `${home}/cache was removed` });
  });

  test('a directory that may not be read is unreadable', () => {
    const { cache, allowed } = layout();
    execFileSync('chmod', ['000', cache]);
    const script = `import(${JSON.stringify(join(import.meta.dirname, '../../src/disk/pinned-root.ts'))}).then((m) => {
      process.setgid(65534); process.setuid(65534);
      try { m.openRoot(${JSON.stringify(cache)}, { allowedRoots: [${JSON.stringify(allowed)}] }); } catch (error) { console.log(error.code); }
    })`;
    execFileSync('chmod', ['755', allowed, join(allowed, '..'), join(allowed, 'home')]);
    expect(execFileSync(process.execPath, ['-e', script], { encoding: 'utf8' }).trim()).toBe('ERR_ROOT_UNREADABLE');
  });
});

import { execFileSync, spawn } from 'node:child_process';
import { closeSync, linkSync, mkdirSync, openSync, readFileSync, statSync, symlinkSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { errno } from '../../src/disk/disk-error.ts';
import { tryLease } from '../../src/disk/libc.ts';
import type { Measure } from '../../src/disk/measure-tree.ts';
import { measureTree } from '../../src/disk/measure-tree.ts';
import { Slices } from '../../src/disk/slices.ts';
import { mapping } from '../fixtures/mapping.ts';
import { asRoot, mount, pin, scratchDir } from './scratch.ts';

const kib = 1024;

/** A folder `tree` to measure, and how to. */
function place(): { path: string; measure: (name?: string) => Promise<Measure> } {
  const dir = join(scratchDir(), 'dir');
  mkdirSync(join(dir, 'tree'), { recursive: true });
  const root = pin(dir);
  return { path: dir, measure: async (name = 'tree') => (await measureTree(root, name, { slices: new Slices(), askUse: true })) ?? expect.unreachable(`${name} is gone`) };
}

function write(path: string, bytes: number): void {
  writeFileSync(path, Buffer.alloc(bytes, 1));
}

describe('the size of a tree', () => {
  test('is what it takes on the disk: whole blocks, holes not counted, its folders counted', async () => {
    const { path, measure } = place();
    const empty = (await measure()).allocatedBytes;
    write(join(path, 'tree', 'small'), 1);
    write(join(path, 'tree', 'sparse'), 0);
    truncateSync(join(path, 'tree', 'sparse'), 1024 * kib);
    const { allocatedBytes, names } = await measure();
    expect(allocatedBytes - empty).toBe(4 * kib);
    expect(names).toBe(3);
  });

  test('counts a file with several names inside once', async () => {
    const { path, measure } = place();
    write(join(path, 'tree', 'a'), 40 * kib);
    const one = await measure();
    for (const name of ['b', 'c']) linkSync(join(path, 'tree', 'a'), join(path, 'tree', name));
    expect(await measure()).toMatchObject({ allocatedBytes: one.allocatedBytes, hasSharedFiles: false });
  });

  test('shares a file with whoever has its other names, so that the sum counts it once', async () => {
    const { path, measure } = place();
    mkdirSync(join(path, 'other'));
    const empty = (await measure()).allocatedBytes;
    write(join(path, 'tree', 'a'), 40 * kib);
    linkSync(join(path, 'tree', 'a'), join(path, 'other', 'a'));
    const [tree, other] = [await measure(), await measure('other')];
    expect([tree.hasSharedFiles, other.hasSharedFiles]).toEqual([true, true]);
    expect([tree.allocatedBytes - empty, other.allocatedBytes - empty]).toEqual([20 * kib, 20 * kib]);
  });

  test('lists the files with names elsewhere, and no others', async () => {
    const { path, measure } = place();
    mkdirSync(join(path, 'other'));
    for (const name of ['whole', 'shared', 'half']) write(join(path, 'tree', name), 8 * kib);
    linkSync(join(path, 'tree', 'whole'), join(path, 'tree', 'whole-2'));
    linkSync(join(path, 'tree', 'half'), join(path, 'tree', 'half-2'));
    for (const name of ['shared', 'half']) linkSync(join(path, 'tree', name), join(path, 'other', name));
    const { linked } = await measure();
    const files = Array.from(linked!.inodes, (inode, i) => ({ inode, linksHere: linked!.linksHere[i], links: linked!.links[i], allocatedBytes: linked!.allocatedBytes[i] }));
    const inodeOf = (name: string) => statSync(join(path, 'tree', name), { bigint: true }).ino;
    expect(files.toSorted((a, b) => a.links! - b.links!)).toEqual([
      { inode: inodeOf('shared'), linksHere: 1, links: 2, allocatedBytes: 8 * kib },
      { inode: inodeOf('half'), linksHere: 2, links: 3, allocatedBytes: 8 * kib },
    ]);
  });

  test('takes files for shared where they are too many to keep in mind, and their sizes for what they are', async () => {
    const { path, measure } = place();
    const [one, other] = ['one', 'other'].map((name) => join(path, 'tree', name)) as [string, string];
    for (const dir of [one, other]) mkdirSync(dir);
    const link = (from: number, to: number) => {
      for (let i = from; i < to; i += 1) {
        writeFileSync(join(one, `${i}`), '');
        linkSync(join(one, `${i}`), join(other, `${i}`));
      }
    };
    writeFileSync(join(one, 'large'), Buffer.alloc(40 * kib));
    linkSync(join(one, 'large'), join(other, 'large'));
    link(1, 10_000);
    expect(await measure()).toMatchObject({ hasSharedFiles: false, names: 20_003 });
    link(10_000, 10_001);
    const { hasSharedFiles, allocatedBytes } = await measure();
    expect(hasSharedFiles).toBe(true);
    expect(allocatedBytes).toBe(Number(execFileSync('du', ['-s', '--block-size=1', join(path, 'tree')]).toString().split('\t')[0]));
  }, 120_000);

  test.runIf(asRoot)('ends at what is mounted inside, and that is a use', async () => {
    const { path, measure } = place();
    mkdirSync(join(path, 'tree', 'mnt'));
    const before = await measure();
    mount('-t', 'tmpfs', 'tmpfs', join(path, 'tree', 'mnt'));
    write(join(path, 'tree', 'mnt', 'file'), 40 * kib);
    const { allocatedBytes, use } = await measure();
    expect(allocatedBytes).toBeLessThanOrEqual(before.allocatedBytes);
    expect(use).toEqual({ kind: 'Mounted', path: join(path, 'tree', 'mnt') });
  });

  test('follows no link', async () => {
    const { path, measure } = place();
    const outside = scratchDir();
    write(join(outside, 'big'), 400 * kib);
    symlinkSync(outside, join(path, 'tree', 'link'));
    expect(await measure()).toMatchObject({ names: 2 });
    expect((await measure()).allocatedBytes).toBeLessThan(40 * kib);
  });
});

describe('the times of a tree', () => {
  test('are the newest mtime inside, and the newest change, which no utimes can hide', async () => {
    const { path, measure } = place();
    const file = join(path, 'tree', 'file');
    write(file, 1);
    utimesSync(file, 2_000, 2_000);
    utimesSync(join(path, 'tree'), 1_000, 1_000);
    const before = await measure();
    expect(before.newestModifiedNs).toBe(2_000_000_000_000n);
    write(file, 2);
    utimesSync(file, 2_000, 2_000);
    const after = await measure();
    expect(after.newestModifiedNs).toBe(2_000_000_000_000n);
    expect(after.writtenNs).toBeGreaterThan(before.writtenNs);
  });
});

test('a folder with boxes and cache is told as a home, however deep', async () => {
  const { path, measure } = place();
  mkdirSync(join(path, 'tree', 'a', 'home', 'boxes'), { recursive: true });
  expect((await measure()).home).toBeUndefined();
  mkdirSync(join(path, 'tree', 'a', 'home', 'cache'));
  expect((await measure()).home).toBe(join(path, 'tree', 'a', 'home'));
});

test('a tree that is deeper than any cache makes is refused, not half measured', async () => {
  const { path, measure } = place();
  mkdirSync(join(path, 'tree', ...Array.from({ length: 300 }, () => 'd')), { recursive: true });
  await expect(measure()).rejects.toMatchObject({ code: 'ERR_DISK_IO' });
});

describe('who has a file open is found', () => {
  const kinds: Record<string, (file: string) => () => void> = {
    'to read': (file) => closing(openSync(file, 'r')),
    'to write': (file) => closing(openSync(file, 'r+')),
  };
  test.each(Object.entries(kinds))('%s', async (_, open) => {
    const { path, measure } = place();
    const file = join(path, 'tree', 'file');
    write(file, 1);
    const close = open(file);
    expect((await measure()).use).toEqual({ kind: 'Open', path: file });
    close();
    expect((await measure()).use).toBeUndefined();
  });

  test('by another process that mapped it and closed it, until that ends', async () => {
    const { path, measure } = place();
    const file = join(path, 'tree', 'file');
    write(file, 4096);
    const child = spawn('python3', ['-c', mapping, file], { stdio: ['pipe', 'pipe', 'inherit'] });
    onTestFinished(() => void child.kill('SIGKILL'));
    await new Promise((resolve) => child.stdout.once('data', resolve));
    expect((await measure()).use).toEqual({ kind: 'Open', path: file });
    child.stdin.end();
    await new Promise((resolve) => child.once('exit', resolve));
    expect((await measure()).use).toBeUndefined();
  });

  test('also under another of its names', async () => {
    const { path, measure } = place();
    const outside = join(path, 'outside');
    write(outside, 1);
    linkSync(outside, join(path, 'tree', 'file'));
    onTestFinished(closing(openSync(outside, 'r')));
    expect((await measure()).use?.kind).toBe('Open');
  });

  test.runIf(asRoot)('or that it cannot be asked: a file of another owner, without CAP_LEASE', () => {
    const dir = scratchDir();
    const file = join(dir, 'file');
    write(file, 1);
    const result = leaseAsNobody(file);
    expect(result).toBe(-errno.EACCES);
  });
});

function closing(fd: number): () => void {
  return () => closeSync(fd);
}

/** What tryLease says of a file of root to a thread that has no rights of its own. */
function leaseAsNobody(file: string): number {
  const fd = openSync(file, 'r');
  try {
    process.seteuid?.(65_534);
    return tryLease(fd);
  } finally {
    process.seteuid?.(0);
    closeSync(fd);
  }
}

test('whoever opens a file while it is asked about gets it, and the process that asks lives', async () => {
  const { path, measure } = place();
  const [file, log] = [join(path, 'tree', 'file'), join(path, 'log')];
  write(file, 1);
  writeFileSync(log, '');
  const script = 'until [ -e "$1.stop" ]; do cat "$0" >/dev/null || echo failed >>"$1"; echo >>"$1"; done';
  const child = spawn('bash', ['-c', script, file, log], { stdio: ['ignore', 'ignore', 'inherit'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  let inUse = 0;
  const opened = (): number => readFileSync(log, 'utf8').length;
  // Until it was met open, and has been opened some hundred times beside that.
  for (let asked = 0; (inUse < 20 || opened() < 200) && asked < 500_000; asked += 1) inUse += Number((await measure()).use !== undefined);
  writeFileSync(`${log}.stop`, '');
  await new Promise((resolve) => child.once('exit', resolve));
  expect(inUse).toBeGreaterThan(0);
  expect(readFileSync(log, 'utf8')).not.toContain('failed');
}, 120_000);

import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, linkSync, lutimesSync, mkdirSync, readFileSync, statSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { copyTree, openSource } from '../../src/disk/copy-tree.ts';
import { rootfsKeys, unpackHome } from '../fixtures/homes.ts';
import { asRoot, listing, makeDeep, mount, pin, scratchDir } from './scratch.ts';

/** Copies `<scratch>/source` to `<scratch>/target/copy`. */
function layout() {
  const base = scratchDir();
  const [source, target] = [join(base, 'source'), join(base, 'target')];
  mkdirSync(source);
  mkdirSync(target);
  async function copy(from = source): Promise<number> {
    using opened = openSource(from);
    return await copyTree(opened, pin(target), 'copy');
  }
  return { base, source, target, copied: join(target, 'copy'), copy };
}

test('a tree of the runtime comes out the same, and its size is the one the runtime measured', async () => {
  const { base, copied, copy } = layout();
  const entry = join(unpackHome(base), 'cache/rootfs', rootfsKeys['alpine:3.22']);
  // Only root reads what nobody may read.
  if (!asRoot) chmodSync(join(entry, 'etc/passwd'), 0o400);
  expect(await copy(entry)).toBe(50_071);
  expect(listing(copied)).toEqual(listing(entry));
  expect(readFileSync(join(copied, 'bin/busybox'))).toEqual(readFileSync(join(entry, 'bin/busybox')));
});

test('modes, times, links and FIFOs are kept, to the nanosecond and the setuid bit', async () => {
  const { source, copied, copy } = layout();
  mkdirSync(join(source, 'sub'));
  writeFileSync(join(source, 'sub/setuid'), 'x');
  chmodSync(join(source, 'sub/setuid'), 0o4751);
  writeFileSync(join(source, 'sub/closed'), '');
  chmodSync(join(source, 'sub/closed'), asRoot ? 0o000 : 0o400);
  symlinkSync('nowhere', join(source, 'dangling'));
  lutimesSync(join(source, 'dangling'), 1, 1.5);
  execFileSync('mkfifo', ['-m', '640', join(source, 'fifo')]);
  linkSync(join(source, 'sub/setuid'), join(source, 'hard'));
  utimesSync(join(source, 'sub/setuid'), 1_000_000_000.25, 1_234_567_890.123);
  chmodSync(join(source, 'sub'), 0o1555);
  utimesSync(join(source, 'sub'), 7, 7);
  await copy();
  expect(listing(copied)).toEqual(listing(source));
  expect(statSync(join(copied, 'hard')).ino).toBe(statSync(join(copied, 'sub/setuid')).ino);
});

test('the times and the mode of the top come along', async () => {
  const { source, copied, copy } = layout();
  writeFileSync(join(source, 'file'), '');
  chmodSync(source, 0o2711);
  utimesSync(source, 5, 6);
  await copy();
  expect(statSync(copied)).toMatchObject({ mode: statSync(source).mode, mtimeMs: 6000 });
});

test('hard links to outside of the tree become files of their own', async () => {
  const { base, source, copied, copy } = layout();
  writeFileSync(join(base, 'outside'), 'shared');
  linkSync(join(base, 'outside'), join(source, 'file'));
  await copy();
  writeFileSync(join(copied, 'file'), 'changed');
  expect(readFileSync(join(base, 'outside'), 'utf8')).toBe('shared');
});

test('names of any bytes are copied', async () => {
  const { source, copied, copy } = layout();
  for (const name of ['-rf', 'new\nline', 'x'.repeat(255)]) writeFileSync(join(source, name), name);
  writeFileSync(Buffer.concat([Buffer.from(`${source}/`), Buffer.from([0xff, 0xfe])]), '');
  await copy();
  expect(listing(copied)).toEqual(listing(source));
});

test('a file larger than any buffer is whole', async () => {
  const { source, copied, copy } = layout();
  const bytes = Buffer.alloc(1_500_001, 'abcdefg');
  writeFileSync(join(source, 'large'), bytes);
  expect(await copy()).toBe(bytes.length);
  expect(readFileSync(join(copied, 'large')).equals(bytes)).toBe(true);
});

test('a tree deeper than any path can say is copied', async () => {
  const { source, target, copy } = layout();
  makeDeep(source, { levels: 1200 });
  expect(await copy()).toBe(7);
  expect(execFileSync('find', [target, '-name', 'file'], { encoding: 'utf8' }).length).toBeGreaterThan(1200 * 8);
});

test('what is there already is not copied over', async () => {
  const { copied, copy } = layout();
  mkdirSync(copied);
  await expect(copy()).rejects.toMatchObject({ message: `cannot make ${copied}: the name is taken (EEXIST)` });
});

test('a source that is no directory is the user\'s to mend', async () => {
  const { source, copy } = layout();
  await expect(copy(join(source, 'absent'))).rejects.toMatchObject({ code: 'ERR_INPUT_UNREADABLE', message: `cannot open ${source}/absent: it does not exist (ENOENT)` });
});

describe.runIf(asRoot)('as root', () => {
  test('owners are kept, those of links too', async () => {
    const { source, copied, copy } = layout();
    writeFileSync(join(source, 'file'), '');
    chownSync(join(source, 'file'), 1234, 4321);
    chmodSync(join(source, 'file'), 0o6755);
    symlinkSync('file', join(source, 'link'));
    execFileSync('chown', ['-h', '77:88', join(source, 'link')]);
    chownSync(source, 5, 6);
    await copy();
    expect(listing(copied)).toEqual(listing(source));
    expect(statSync(copied)).toMatchObject({ uid: 5, gid: 6 });
  });

  test('device files are kept', async () => {
    const { source, copied, copy } = layout();
    execFileSync('mknod', [join(source, 'null'), 'c', '1', '3']);
    execFileSync('mknod', [join(source, 'disk'), 'b', '259', '70000']);
    await copy();
    expect(statSync(join(copied, 'null')).rdev).toBe(statSync(join(source, 'null')).rdev);
    expect(statSync(join(copied, 'disk')).rdev).toBe(statSync(join(source, 'disk')).rdev);
  });

  test('a mount inside is refused, not copied', async () => {
    const { source, copy } = layout();
    mkdirSync(join(source, 'mnt'));
    mount('-t', 'tmpfs', 'tmpfs', join(source, 'mnt'));
    await expect(copy()).rejects.toMatchObject({ code: 'ERR_INPUT_UNREADABLE', message: `cannot read ${source}/mnt: something is mounted there (EXDEV)` });
  });
});

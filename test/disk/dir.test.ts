import { lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Fault } from '../../src/disk/dir.ts';
import { namesIn } from '../../src/disk/dir-entries.ts';
import { pin, scratchDir, thrownBy } from './scratch.ts';

function layout(fault?: Fault) {
  const path = scratchDir();
  mkdirSync(join(path, 'dir'));
  writeFileSync(join(path, 'file'), 'content');
  symlinkSync('dir', join(path, 'link'));
  return { path, dir: pin(path, fault) };
}

test('names are read without . and .., also where they fill many batches', () => {
  const { path, dir } = layout();
  expect(namesIn(dir).toSorted()).toEqual(['dir', 'file', 'link']);
  for (let i = 0; i < 2_000; i += 1) writeFileSync(join(path, 'dir', `${i}`.padStart(100, '0')), '');
  using inner = dir.openDir('dir');
  expect(namesIn(inner)).toHaveLength(2_000);
  expect(new Set(namesIn(inner)).size).toBe(2_000);
});

test('a stat tells what is there, a link itself, and undefined for nothing', () => {
  const { path, dir } = layout();
  const file = lstatSync(join(path, 'file'), { bigint: true });
  expect(dir.statOf('file')).toMatchObject({
    kind: 'File', sizeBytes: 7, mode: Number(file.mode) & 0o7777, uid: Number(file.uid), nlink: 1,
    inode: file.ino, device: file.dev, modifiedNs: file.mtimeNs, changedNs: file.ctimeNs, accessedNs: file.atimeNs, allocatedBytes: Number(file.blocks) * 512,
  });
  expect(dir.statOf('link')?.kind).toBe('Link');
  expect(dir.statOf('dir')?.kind).toBe('Directory');
  expect(dir.statOf('absent')).toBeUndefined();
});

describe('no name leads out of the directory', () => {
  test.each(['..', '../..', '/etc', 'dir/../..', 'link'])('%s cannot be opened', (name) => {
    expect(() => layout().dir.openDir(name)).toThrow(expect.objectContaining({ code: 'ERR_DISK_IO' }));
  });

  test('a NUL does not cut a name short', () => {
    const { dir } = layout();
    expect(thrownBy(() => dir.unlink('file\0x'))).toMatchObject({ cause: { code: 'EINVAL' } });
    expect(dir.statOf('file')).toBeDefined();
  });

  test('a name too long is refused', () => {
    expect(thrownBy(() => layout().dir.statOf('x'.repeat(5_000)))).toMatchObject({ cause: { code: 'ENAMETOOLONG' } });
  });
});

describe('moving', () => {
  test('never replaces', () => {
    const { dir } = layout();
    expect(dir.rename('file', dir, 'dir')).toBe('Taken');
    expect(dir.rename('absent', dir, 'new')).toBe('Absent');
    expect(dir.rename('file', dir, 'new')).toBe('Moved');
    expect(namesIn(dir).toSorted()).toEqual(['dir', 'link', 'new']);
  });

  test('exchanges what two names stand for', () => {
    const { path, dir } = layout();
    using inner = dir.openDir('dir');
    inner.symlink('target', 'x');
    expect(dir.exchange('file', inner, 'x')).toBe(true);
    expect(readlinkSync(join(path, 'file'))).toBe('target');
    expect(readFileSync(join(path, 'dir/x'), 'utf8')).toBe('content');
    expect(dir.exchange('file', inner, 'absent')).toBe(false);
  });

  test('what the filesystem cannot do at one moment is told as that', () => {
    const { dir } = layout();
    using inner = dir.openDir('dir');
    inner.mkdir('below', 0o700);
    // EINVAL, as from a filesystem that knows no exchange: a directory cannot swap with its own child.
    expect(thrownBy(() => dir.exchange('dir', inner, 'below'))).toMatchObject({ code: 'ERR_ROOT_UNSUPPORTED', message: expect.stringContaining('renameat2: EINVAL') });
  });
});

test('what is absent, taken or not empty is a result, and not an error', () => {
  const { path, dir } = layout();
  writeFileSync(join(path, 'dir/file'), '');
  expect([dir.mkdir('dir', 0o700), dir.unlink('absent'), dir.rmdir('absent'), dir.rmdir('dir')]).toEqual([false, false, false, false]);
  expect([dir.readlink('absent'), dir.readlink('file'), dir.readlink('link')]).toEqual([undefined, undefined, 'dir']);
});

test('an error names the path, the reason and its errno', () => {
  const { path, dir } = layout();
  expect(thrownBy(() => dir.unlink('dir'))).toMatchObject({
    code: 'ERR_DISK_IO', message: `cannot remove ${path}/dir: it is a directory (EISDIR)`, cause: { code: 'EISDIR' },
  });
  expect(thrownBy(() => dir.openDir('new\nline'))).toMatchObject({ message: `cannot open "${path}/new\\nline": it does not exist (ENOENT)` });
});

test('every step that changes the disk is told before it is done, and can be refused', () => {
  const steps: string[] = [];
  const { path, dir } = layout((step) => {
    steps.push(step.replace(path, ''));
    if (steps.length === 4) throw new Error('the disk stopped');
  });
  dir.mkdir('new', 0o700);
  dir.symlink('x', 'other');
  dir.rename('file', dir, 'moved');
  expect(() => dir.unlink('moved')).toThrow('the disk stopped');
  expect(steps).toEqual(['mkdir /new', 'symlink /other', 'rename /file', 'unlink /moved']);
  expect(readdirSync(path)).toContain('moved');
});

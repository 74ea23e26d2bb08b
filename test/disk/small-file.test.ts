import { execFileSync } from 'node:child_process';
import { chmodSync, linkSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { readSmallFile, writeFileAtomically } from '../../src/disk/small-file.ts';
import { asRoot, mount, pin, scratchDir } from './scratch.ts';

describe('reading', () => {
  test('a small file is read with what identifies it', () => {
    const path = scratchDir();
    writeFileSync(join(path, 'file'), 'content');
    const file = readSmallFile(pin(path), 'file', 7);
    expect(file).toMatchObject({ outcome: 'Read', stat: { sizeBytes: 7, inode: statSync(join(path, 'file'), { bigint: true }).ino } });
    expect(file.outcome === 'Read' && file.bytes.toString()).toBe('content');
  });

  test.each<[string, (path: string) => void, string]>([
    ['nothing', () => {}, 'Absent'],
    ['a directory', (path) => mkdirSync(path), 'NotAFile'],
    ['a symbolic link to a file', (path) => symlinkSync('/etc/hostname', path), 'NotAFile'],
    ['a FIFO that nobody writes to', (path) => execFileSync('mkfifo', [path]), 'NotAFile'],
    ['one byte too many', (path) => writeFileSync(path, 'x'.repeat(1025)), 'TooLarge'],
    ['a gibibyte', (path) => { writeFileSync(path, ''); truncateSync(path, 2 ** 30); }, 'TooLarge'],
  ])('%s is answered at once', (_, make, outcome) => {
    const path = scratchDir();
    make(join(path, 'file'));
    expect(readSmallFile(pin(path), 'file', 1024).outcome).toBe(outcome);
  });

  test('a socket is answered at once', async () => {
    const path = scratchDir();
    const server = createServer().listen(join(path, 'file'));
    onTestFinished(() => void server.close());
    await once(server, 'listening');
    expect(readSmallFile(pin(path), 'file', 1024).outcome).toBe('NotAFile');
  });
});

describe('writing atomically', () => {
  const write = { name: 'file', tempName: 'temp', content: 'new', mode: 0o600 };

  test('replaces the file with the mode asked for, whatever the umask', () => {
    const path = scratchDir();
    writeFileSync(join(path, 'file'), 'old');
    chmodSync(join(path, 'file'), 0o777);
    linkSync(join(path, 'file'), join(path, 'other'));
    writeFileAtomically(pin(path), { ...write, mode: 0o666 });
    expect(readFileSync(join(path, 'file'), 'utf8')).toBe('new');
    expect(statSync(join(path, 'file')).mode & 0o7777).toBe(0o666);
    expect(readFileSync(join(path, 'other'), 'utf8')).toBe('old');
    expect(readdirSync(path).toSorted()).toEqual(['file', 'other']);
  });

  test('a temp file of somebody else is neither used nor removed', () => {
    const path = scratchDir();
    writeFileSync(join(path, 'temp'), 'theirs');
    expect(() => writeFileAtomically(pin(path), write)).toThrow(expect.objectContaining({ code: 'ERR_DISK_IO' }));
    expect(readFileSync(join(path, 'temp'), 'utf8')).toBe('theirs');
  });

  test('a disk that stops at any step leaves the old content or the new', () => {
    const outcomes = [];
    for (let stopAt = 0; stopAt < 6; stopAt += 1) {
      const path = scratchDir();
      writeFileSync(join(path, 'file'), 'old');
      let step = 0;
      const dir = pin(path, () => {
        if (step++ === stopAt) throw new Error('the disk stopped');
      });
      try {
        writeFileAtomically(dir, write);
      } catch {}
      outcomes.push(readFileSync(join(path, 'file'), 'utf8'));
    }
    expect(outcomes).toEqual(['old', 'old', 'old', 'new', 'new', 'new']);
  });

  test.runIf(asRoot)('on a full disk the old content stands and nothing is left behind', () => {
    const path = scratchDir();
    mount('-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', path);
    writeFileSync(join(path, 'file'), 'old');
    expect(() => writeFileAtomically(pin(path), { ...write, content: 'x'.repeat(100_000) })).toThrow(expect.objectContaining({ code: 'ERR_DISK_FULL' }));
    expect(readdirSync(path)).toEqual(['file']);
    expect(readFileSync(join(path, 'file'), 'utf8')).toBe('old');
  });
});

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { Dir, Fault } from '../../src/disk/dir.ts';
import { openRoot } from '../../src/disk/pinned-root.ts';

export const asRoot = process.geteuid?.() === 0;

/** An empty directory that is gone after the test. */
export function scratchDir(): string {
  const dir = mkdtempSync(join(tmpdir(), 'cachepolicy-'));
  onTestFinished(() => {
    // Without the rights of root a closed directory must be opened first.
    if (!asRoot) execFileSync('chmod', ['-R', 'u+rwX', dir]);
    rmSync(dir, { recursive: true, force: true });
  });
  return dir;
}

/** Opens a directory as the engine would, its parent being the allowed root; closed after the test. */
export function pin(path: string, fault?: Fault): Dir {
  const dir = openRoot(path, { allowedRoots: [dirname(path)], fault });
  onTestFinished(() => dir[Symbol.dispose]());
  return dir;
}

/** Mounts over a directory for the time of the test; needs root. */
export function mount(...args: readonly string[]): void {
  const target = args.at(-1) ?? '';
  execFileSync('mount', args, { stdio: 'pipe' });
  onTestFinished(() => void execFileSync('umount', ['-l', target]));
}

/** Everything of a tree that a copy must keep, one line a file. */
export function listing(dir: string): string[] {
  const format = '%P\\0%y %m %U:%G %n %s %T@ %l';
  const lines = execFileSync('find', [dir, '-mindepth', '1', '-printf', `${format}\\0`], { encoding: 'latin1', maxBuffer: 2 ** 26 }).split('\0');
  // Pairs of name and description; a directory's own link count says nothing that its entries do not.
  return lines.flatMap((name, index) => (index % 2 === 0 && name !== '' ? [`${name} | ${lines[index + 1]}`] : [])).toSorted();
}

/** What a call throws, for tests that look at more than one of its fields. */
export function thrownBy(act: () => unknown): unknown {
  try {
    act();
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
}

/** A chain of directories below `path`, longer than any path can say, with one file in the last or in each. */
export function makeDeep(path: string, { levels, fileInEach = false }: { levels: number; fileInEach?: boolean }): void {
  const script = `
import os, sys
os.chdir(sys.argv[1])
for level in range(${levels}):
    os.mkdir('level__')
    os.chdir('level__')
    if ${fileInEach ? 'True' : `level == ${levels - 1}`}: open('file', 'w').write('bottom\\n')
`;
  execFileSync('python3', ['-c', script, path]);
}

/** What kind of small filesystem a test has to itself. */
export type SmallDisk = 'tmpfs' | 'ext4' | 'xfs' | 'btrfs';

/** A small filesystem mounted for the time of the test; undefined where this machine cannot make one of the kind. xfs has 300 MiB at least. Needs root. */
export function smallDisk(kind: SmallDisk, { sizeMiB, inodes, reservedPercent = 0 }: { sizeMiB: number; inodes?: number | undefined; reservedPercent?: number }): string | undefined {
  const dir = scratchDir();
  if (kind === 'tmpfs') {
    mount('-t', 'tmpfs', '-o', [`size=${sizeMiB}m`, ...(inodes === undefined ? [] : [`nr_inodes=${inodes}`])].join(','), 'tmpfs', dir);
    return dir;
  }
  const image = join(scratchDir(), 'image');
  try {
    execFileSync('truncate', ['-s', `${sizeMiB}M`, image], { stdio: 'pipe' });
    if (kind === 'btrfs') execFileSync('mkfs.btrfs', ['-q', '-M', image], { stdio: 'pipe' });
    else if (kind === 'xfs') execFileSync('mkfs.xfs', ['-q', image], { stdio: 'pipe' });
    else execFileSync('mkfs.ext4', ['-q', '-F', '-m', `${reservedPercent}`, ...(inodes === undefined ? [] : ['-N', `${inodes}`]), image], { stdio: 'pipe' });
    mount('-o', 'loop', image, dir);
    return dir;
  } catch {
    return undefined;
  }
}

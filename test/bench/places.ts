import { mkdirSync, mkdtempSync, renameSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const magic = { ext4: 0xef53, tmpfs: 0x01021994 } as const;

export type FilesystemName = keyof typeof magic;

/** A directory of its own on a filesystem of this kind; gone with its scope. Undefined where this machine has none at hand. */
export function scratchOn(filesystem: FilesystemName): (Disposable & { readonly path: string }) | undefined {
  const parent = [process.env['BENCH_DIR'], tmpdir(), '/dev/shm', '/var/tmp'].find((dir) => dir !== undefined && filesystemAt(dir) === magic[filesystem]);
  if (parent === undefined) return undefined;
  const path = mkdtempSync(join(parent, 'cachepolicy-bench-'));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

/** Where memory is the disk if there is such a place: what is measured is not the disk. */
export function anyScratch(): Disposable & { readonly path: string } {
  const scratch = scratchOn('tmpfs') ?? scratchOn('ext4');
  if (scratch === undefined) throw new Error('neither tmpfs nor ext4 at hand; name a directory with BENCH_DIR');
  return scratch;
}

function filesystemAt(dir: string): number | undefined {
  try {
    return statfsSync(dir).type;
  } catch {
    return undefined;
  }
}

export interface HomeOptions {
  readonly entries: number;
  /** How many files are in each tree. Default 0: an empty directory. */
  readonly filesEach?: number;
  /** How long ago the most recently used entry was; each other a second longer. Default an hour. */
  readonly usedSecondsAgo?: number;
}

/** A home whose rootfs store holds entries as the runtime writes them: directory, metadata and lock file each. @returns its path */
export function makeHome(parent: string, { entries, filesEach = 0, usedSecondsAgo = 3_600 }: HomeOptions): string {
  const home = join(parent, 'home');
  const root = join(home, 'cache', 'rootfs');
  mkdirSync(root, { recursive: true });
  mkdirSync(join(home, 'boxes'));
  for (let i = 0; i < entries; i++) addEntry(root, i, { filesEach, usedSecondsAgo: usedSecondsAgo + i });
  return home;
}

export function keyOf(number: number): string {
  return number.toString(16).padStart(64, '0');
}

export function addEntry(root: string, number: number, { filesEach = 0, usedSecondsAgo }: { filesEach?: number; usedSecondsAgo: number }): void {
  makeTree(join(root, keyOf(number)), filesEach);
  writeFileSync(join(root, `${keyOf(number)}.meta.json.lock`), '');
  writeUse(root, number, { filesEach, usedSecondsAgo });
}

/** As the runtime does at every hit: beside, then renamed. */
export function writeUse(root: string, number: number, { filesEach = 0, usedSecondsAgo }: { filesEach?: number; usedSecondsAgo: number }): void {
  const usedAt = Math.floor(Date.now() / 1000) - usedSecondsAgo;
  const metadata = { key: keyOf(number), description: `docker.io/library/image-${number}:1.0`, size_bytes: filesEach * fileBytes, cached_at: usedAt - 60, last_accessed: usedAt };
  const temp = join(root, '.tmpBench0');
  writeFileSync(temp, JSON.stringify(metadata, null, 2), { mode: 0o600 });
  renameSync(temp, join(root, `${keyOf(number)}.meta.json`));
}

const fileBytes = 100;
const filesPerDirectory = 25;

/** So many small files, 25 to a directory. */
export function makeTree(path: string, files: number): void {
  mkdirSync(path);
  for (let i = 0; i < files; i++) {
    const dir = join(path, `d${Math.floor(i / filesPerDirectory)}`);
    if (i % filesPerDirectory === 0) mkdirSync(dir);
    writeFileSync(join(dir, `f${i % filesPerDirectory}`), 'x'.repeat(fileBytes));
  }
}

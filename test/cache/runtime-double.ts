import {
  closeSync, constants, existsSync, lstatSync, mkdirSync, openSync, readdirSync, readFileSync, readlinkSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { tryFlock } from '../../src/disk/libc.ts';

/** Where the runtime can lose the processor between two of its steps. */
export type Stop =
  /** get has found directory and metadata. */
  | 'Looked'
  /** get has read the metadata, or found it gone. */
  | 'Read'
  /** The metadata's lock is held, and the new file is about to take its place. */
  | 'Locked'
  /** get has returned, and the box is about to mount the tree. */
  | 'Got'
  /** The tree is mounted, and its marker not written. */
  | 'Mounted'
  /** The marker is made, and empty. */
  | 'Marking'
  /** put has a copy beside, and is about to rename it. */
  | 'Staged'
  /** put has the directory under its name, its own or one that was there, and is about to measure it. */
  | 'Published'
  /** put has measured, and is about to write the metadata. */
  | 'Measured';

export interface RuntimeOptions {
  readonly home: string;
  /** Called at each stop of each operation; what it does there happens between two steps. */
  readonly pause?: (stop: Stop) => void | Promise<void>;
  /** Stands for a disk without a free block: no metadata can be written, and a marker stays empty. */
  readonly diskIsFull?: boolean;
}

/** put found something else than a directory under its name. The runtime logs it, and the box uses its own copy. */
export class PutRefused extends Error {}

/**
 * The rootfs cache of the A3S Box runtime as far as the disk can tell: every system call that matters, in the order of the crate
 * a3s-box-runtime 3.3.0 (src/cache/{mod,layer_cache,rootfs_cache}.rs, src/file_lock.rs, src/vm/layout.rs), with a stop between any two.
 */
export class RuntimeDouble {
  readonly #home: string;
  readonly #root: string;
  readonly #pause: NonNullable<RuntimeOptions['pause']>;
  readonly #diskIsFull: boolean;

  constructor({ home, pause = () => {}, diskIsFull = false }: RuntimeOptions) {
    this.#home = home;
    this.#root = join(home, 'cache', 'rootfs');
    this.#pause = pause;
    this.#diskIsFull = diskIsFull;
  }

  /** @returns the path that a box mounts, or undefined on a miss */
  async get(key: string): Promise<string | undefined> {
    if (!this.#isWhole(key)) return undefined;
    await this.#pause('Looked');
    let fields: Record<string, unknown> | undefined;
    try {
      fields = JSON.parse(readFileSync(this.#metadataOf(key), 'utf8')) as Record<string, unknown>;
    } catch {
      // Gone or damaged meanwhile: a hit all the same.
    }
    await this.#pause('Read');
    // What cannot be written is logged: a hit all the same.
    if (fields !== undefined) await this.#writeMetadata(key, { ...fields, last_accessed: now() }).catch(onlyDiskErrors);
    return this.#treeOf(key);
  }

  /** @throws PutRefused, and whatever the disk reports: the runtime logs either */
  async put(key: string, source: string, description: string): Promise<'Known' | 'Adopted' | 'Copied'> {
    if (this.#isWhole(key)) return 'Known';
    const copied = await this.#publish(key, source);
    await this.#pause('Published');
    const sizeBytes = dirSizeOr0(this.#treeOf(key));
    const at = now();
    await this.#pause('Measured');
    await this.#writeMetadata(key, { key, description, size_bytes: sizeBytes, cached_at: at, last_accessed: at });
    return copied ? 'Copied' : 'Adopted';
  }

  /** Its own removal: the tree first, which is why a user beside it may see half of one. */
  invalidate(key: string): void {
    removeNoFollow(this.#treeOf(key));
    removeNoFollow(this.#metadataOf(key));
  }

  /** Its own prune, after a put that missed. @returns the keys that it removed */
  prune(maxEntries: number, onRemove: (key: string) => void = () => {}): string[] {
    const protectedKeys = this.#markedKeys();
    const entries = readdirSync(this.#root).filter((name) => name.endsWith('.meta.json')).flatMap((name) => {
      try {
        return [JSON.parse(readFileSync(join(this.#root, name), 'utf8')) as { key: string; last_accessed: number }];
      } catch {
        return [];
      }
    }).toSorted((a, b) => a.last_accessed - b.last_accessed);
    const removed: string[] = [];
    for (const { key } of entries) {
      if (entries.length - removed.length <= maxEntries) break;
      if (protectedKeys.has(key)) continue;
      onRemove(key);
      this.invalidate(key);
      removed.push(key);
    }
    return removed;
  }

  /**
   * Mounts what get returned: like an overlay's lowerdir the path is walked once, through links, and the tree it led to is kept.
   * @throws ENOENT where nothing is there any more: the box does not start
   */
  async mount(path: string): Promise<MountedTree> {
    await this.#pause('Got');
    return new MountedTree(openSync(path, constants.O_RDONLY | constants.O_DIRECTORY));
  }

  /** Says that a box uses the key, once its root is prepared. Its directory comes with it: made earlier, it would tell the agent more. */
  async mark(box: string, key: string): Promise<void> {
    await this.#pause('Mounted');
    mkdirSync(this.#boxOf(box), { recursive: true });
    const marker = openSync(join(this.#boxOf(box), '.rootfs-cache-key'), 'w', 0o644);
    await this.#pause('Marking');
    if (!this.#diskIsFull) writeFileSync(marker, key);
    closeSync(marker);
  }

  removeBox(box: string): void {
    rmSync(this.#boxOf(box), { recursive: true, force: true });
  }

  /** @returns false where an existing directory was adopted */
  async #publish(key: string, source: string): Promise<boolean> {
    const found = lstatSync(this.#treeOf(key), { throwIfNoEntry: false });
    if (found?.isDirectory()) return false;
    if (found !== undefined) throw new PutRefused(`${key} is not a real directory`);
    const staging = join(this.#root, `.staging-${sixLetters()}`);
    mkdirSync(staging, { mode: 0o700 });
    try {
      copyTree(source, join(staging, 'd'));
      await this.#pause('Staged');
      renameSync(join(staging, 'd'), this.#treeOf(key));
      return true;
    } catch (error) {
      // Somebody else's put was faster.
      if (isDirectory(this.#treeOf(key))) return false;
      throw new PutRefused(`cannot publish ${key}`, { cause: error });
    } finally {
      rmSync(staging, { recursive: true, force: true });
    }
  }

  /** Lock, temp file, rename. What is there by then is replaced, and what is not there comes back. */
  async #writeMetadata(key: string, fields: Record<string, unknown>): Promise<void> {
    const path = this.#metadataOf(key);
    const lock = openSync(`${path}.lock`, constants.O_RDWR | constants.O_CREAT, 0o644);
    try {
      // The runtime waits in the kernel; so long as this process does nothing else that is the same.
      while (tryFlock(lock) < 0) await new Promise((resolve) => setTimeout(resolve, 1));
      if (this.#diskIsFull) throw Object.assign(new Error('no space left'), { code: 'ENOSPC' });
      const temp = join(this.#root, `.tmp${sixLetters()}`);
      writeFileSync(temp, JSON.stringify(fields, null, 2), { mode: 0o600, flag: 'wx' });
      await this.#pause('Locked');
      renameSync(temp, path);
    } finally {
      closeSync(lock);
    }
  }

  #markedKeys(): ReadonlySet<string> {
    const boxes = join(this.#home, 'boxes');
    return new Set(readdirSync(boxes).flatMap((box) => {
      const marker = join(boxes, box, '.rootfs-cache-key');
      return existsSync(marker) ? [readFileSync(marker, 'utf8').trim()] : [];
    }));
  }

  #isWhole(key: string): boolean {
    return isDirectory(this.#treeOf(key)) && lstatSync(this.#metadataOf(key), { throwIfNoEntry: false })?.isFile() === true;
  }

  #treeOf(key: string): string {
    return join(this.#root, key);
  }

  #metadataOf(key: string): string {
    return join(this.#root, `${key}.meta.json`);
  }

  #boxOf(box: string): string {
    return join(this.#home, 'boxes', box);
  }
}

/** A tree that is in use: whatever happens to its path, this one is read. */
export class MountedTree implements Disposable {
  readonly #fd: number;

  constructor(fd: number) {
    this.#fd = fd;
  }

  get path(): string {
    return `/proc/self/fd/${this.#fd}`;
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}

/** As the runtime measures: lengths of files and links by path, links not followed; any failure makes it 0. */
function dirSizeOr0(path: string): number {
  try {
    return dirSize(path);
  } catch (error) {
    onlyDiskErrors(error);
    return 0;
  }
}

function dirSize(path: string): number {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return 0;
  if (!stat.isDirectory()) return stat.isFile() || stat.isSymbolicLink() ? stat.size : 0;
  return readdirSync(path).reduce((sum, name) => sum + dirSize(join(path, name)), 0);
}

function copyTree(from: string, to: string): void {
  mkdirSync(to);
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)];
    if (entry.isDirectory()) copyTree(source, target);
    else if (entry.isSymbolicLink()) symlinkSync(readlinkSync(source), target);
    else writeFileSync(target, readFileSync(source));
  }
}

function removeNoFollow(path: string): void {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return;
  if (stat.isDirectory()) rmSync(path, { recursive: true, force: true });
  else unlinkSync(path);
}

function isDirectory(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

function onlyDiskErrors(error: unknown): void {
  if (typeof (error as { code?: unknown }).code !== 'string') throw error;
}

function sixLetters(): string {
  const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
  return Array.from({ length: 6 }, () => letters[Math.floor(Math.random() * letters.length)]).join('');
}

function now(): number {
  return Math.floor(Date.now() / 1000);
}

import { randomBytes } from 'node:crypto';
import { chmodSync, constants, fchmodSync, ftruncateSync } from 'node:fs';
import { OperatorError } from '../errors.ts';
import type { DirEntry } from './dir-entries.ts';
import { DirNames } from './dir-entries.ts';
import type { Dir } from './dir.ts';
import { asDiskError, diskError, errno } from './disk-error.ts';
import type { Name } from './libc.ts';
import { O_PATH, rmdirat, tryLease, unlinkat } from './libc.ts';
import { moveTree } from './move-tree.ts';
import { NameList } from './name-list.ts';
import { Slices } from './slices.ts';
import type { Stat } from './stat.ts';
import { statAt } from './stat.ts';

/** What became of a tree. It is gone where nothing failed. */
export interface Deletion {
  readonly removed: number;
  readonly failed: number;
  readonly firstError: OperatorError | undefined;
  /** Allocated bytes of what was removed and had no other link; undefined where they were not counted. */
  readonly freedBytes: number | undefined;
}

export interface DeleteOptions {
  /** Of the whole work, of which this tree is one of perhaps thousands. */
  readonly slices?: Slices;
  /** All bytes of the tree, where known: spares a stat for every file where none can be large. */
  readonly totalBytes?: number | undefined;
  /** Count `freedBytes`. Costs a stat for every file. Default false. */
  readonly countsFreed?: boolean;
}

/** Above this a directory is moved to the top first, so that no more descriptors are held than this, however deep the tree. */
const maxDepth = 64;

/** How often one directory is read while others fill it: what is left then is an error of this tree, and no other tree waits for it. */
const mostReads = 1_000;

/**
 * Freeing this much at once takes some milliseconds on ext4 and xfs, and longer where freed blocks are discarded on the device;
 * larger files are truncated in steps of it.
 */
const largeFileBytes = 256 * 1024 * 1024;

/**
 * Deletes `name` of `container` and everything below it, in slices. Whatever is swapped meanwhile, only names below the open
 * `container` are removed; no symbolic link is followed and no mount is crossed. Goes on after errors.
 *
 * `container` must belong to the caller: parts of deep trees are moved there for a while, as `deep-<random>-<n>`, and stay after a crash.
 * @throws the signal's reason once it is aborted
 */
export async function deleteTree(container: Dir, name: Name, { slices = new Slices(), totalBytes, countsFreed = false }: DeleteOptions = {}): Promise<Deletion> {
  const walk = new DeleteWalk(container, slices, { mayHoldLargeFiles: totalBytes === undefined || totalBytes >= largeFileBytes, countsFreed });
  await walk.run(name);
  return walk;
}

class DeleteWalk implements Deletion {
  removed = 0;
  failed = 0;
  firstError: OperatorError | undefined;
  freedBytes: number | undefined;
  readonly #container: Dir;
  readonly #slices: Slices;
  /** Whether every file is looked at before it is removed. */
  readonly #statsFiles: boolean;
  /** No name of an earlier walk, which may have left thousands. */
  readonly #deepPrefix = `deep-${randomBytes(6).toString('hex')}-`;
  #moved = 0;

  constructor(container: Dir, slices: Slices, { mayHoldLargeFiles, countsFreed }: { mayHoldLargeFiles: boolean; countsFreed: boolean }) {
    this.#container = container;
    this.#slices = slices;
    this.#statsFiles = mayHoldLargeFiles || countsFreed;
    this.freedBytes = countsFreed ? 0 : undefined;
  }

  async run(name: Name): Promise<void> {
    await this.#top(name);
    // Their names are counted, not kept: there may be as many as the tree has directories.
    for (let next = 0; next < this.#moved; next += 1) await this.#top(this.#deepName(next));
  }

  async #top(name: Name): Promise<void> {
    const stat = statAt(this.#container.fd, name);
    if (typeof stat === 'number') this.#note('look at', this.#container, name, stat);
    else if (stat.kind === 'Directory') await this.#directory(this.#container, name, 1);
    else await this.#file(this.#container, { bytes: toBytes(name), kind: stat.kind });
  }

  #deepName(number: number): string {
    return `${this.#deepPrefix}${number}`;
  }

  async #directory(parent: Dir, name: Name, depth: number): Promise<void> {
    if (depth > maxDepth) return this.#moveToTop(parent, name);
    const failedBefore = this.failed;
    // A directory that changes while it is read may hide names from the reader: look again while that helps.
    for (let reads = 0; reads < mostReads; reads += 1) {
      const removedBefore = this.removed;
      if (!(await this.#empty(parent, name, depth)) || this.#rmdir(parent, name)) return;
      if (this.removed === removedBefore || this.failed > failedBefore) break;
    }
    if (this.failed === failedBefore) this.#note('remove', parent, name, -errno.ENOTEMPTY);
  }

  /** @returns false where it could not be opened */
  async #empty(parent: Dir, name: Name, depth: number): Promise<boolean> {
    const opened = this.#open(parent, name);
    if (opened === undefined) return false;
    using dir = opened;
    for (const each of await this.#files(dir)) await this.#directory(dir, each, depth + 1);
    return true;
  }

  /** Removes what is no directory. @returns the rest */
  async #files(dir: Dir): Promise<NameList> {
    const subdirectories = new NameList();
    try {
      using names = new DirNames(dir, { isShared: false });
      while (names.nextBatch()) {
        while (names.next()) {
          const kind = names.kind === 'Unknown' ? kindOf(dir, names.name) : names.kind;
          if (kind === 'Directory') subdirectories.push(names.name);
          else if (kind === 'File' && this.#statsFiles) await this.#file(dir, { bytes: names.name, kind });
          else if (dir.unlinkListed(names)) this.removed += 1;
          else this.#unlink(dir, names.name);
          if (this.#slices.overAfterShortSteps) await this.#slices.yield();
        }
      }
    } catch (error) {
      this.#keep(error);
    }
    return subdirectories;
  }

  async #file(dir: Dir, entry: DirEntry): Promise<void> {
    const stat = entry.kind === 'File' ? statAt(dir.fd, entry.bytes) : undefined;
    if (typeof stat === 'object') await this.#truncate(dir, entry.bytes, stat);
    const removedBefore = this.removed;
    this.#unlink(dir, entry.bytes);
    if (this.freedBytes !== undefined && typeof stat === 'object' && stat.nlink === 1) this.freedBytes += (this.removed - removedBefore) * stat.allocatedBytes;
  }

  /** Gives a large file back in steps. Where that fails it is left to unlink, whose error counts. */
  async #truncate(dir: Dir, name: Name, { allocatedBytes }: Stat): Promise<void> {
    if (allocatedBytes <= largeFileBytes) return;
    const file = dir.openFileOrErrno(name, constants.O_WRONLY | constants.O_NONBLOCK);
    if (typeof file === 'number') return;
    using opened = file;
    const { nlink, sizeBytes } = opened.stat();
    // Its content belongs to others too: by a hard link outside of the tree, or because a process that has it open goes on reading.
    if (nlink !== 1 || tryLease(opened.fd) < 0) return;
    try {
      for (let size = sizeBytes - largeFileBytes; size > 0; size -= largeFileBytes) {
        dir.step('truncate', name);
        ftruncateSync(opened.fd, size);
        await this.#slices.yield();
      }
    } catch (thrown) {
      // A full btrfs refuses it, and unlinks the file all the same.
      const error = asDiskError(`truncate ${opened.path}`, thrown);
      if (!(error instanceof OperatorError)) throw error;
    }
  }

  #unlink(dir: Dir, name: Name): void {
    dir.step('unlink', name);
    let result = unlinkat(dir.fd, name);
    if (result === -errno.EACCES && makeWritable(dir)) result = unlinkat(dir.fd, name);
    // Swapped for a directory since it was listed: the next look at this directory finds it as one.
    if (result !== -errno.EISDIR) this.#count('remove', dir, name, result);
  }

  /** @returns false where it is not empty (yet) */
  #rmdir(parent: Dir, name: Name): boolean {
    const stat = this.freedBytes === undefined ? undefined : statAt(parent.fd, name);
    parent.step('rmdir', name);
    let result = rmdirat(parent.fd, name);
    if (result === -errno.EACCES && makeWritable(parent)) result = rmdirat(parent.fd, name);
    if (result === -errno.ENOTEMPTY || result === -errno.EEXIST) return false;
    this.#count('remove', parent, name, result);
    if (result >= 0 && typeof stat === 'object') this.freedBytes! += stat.allocatedBytes;
    return true;
  }

  #open(parent: Dir, name: Name): Dir | undefined {
    let dir = parent.openDirOrErrno(name);
    if (dir === -errno.EACCES && makeAccessible(parent, name)) dir = parent.openDirOrErrno(name);
    if (typeof dir !== 'number') return dir;
    // Swapped since it was listed.
    if (dir === -errno.ELOOP || dir === -errno.ENOTDIR) this.#unlink(parent, name);
    else this.#note('open', parent, name, dir);
    return undefined;
  }

  /** The walk comes to it later. Where it is absent, others have moved or removed it since it was listed: nothing is left to do for this name. */
  #moveToTop(parent: Dir, name: Name): void {
    try {
      const result = this.#moveOut(parent, name, this.#deepName(this.#moved));
      if (result === 'Moved') this.#moved += 1;
      else if (result === 'Taken') this.#note('move out', parent, name, -errno.EEXIST);
    } catch (error) {
      this.#keep(error);
    }
  }

  /** Without CAP_DAC_OVERRIDE both the directory and the one that it leaves must be writable. */
  #moveOut(parent: Dir, name: Name, top: string): ReturnType<Dir['rename']> {
    try {
      return moveTree(parent, name, this.#container, top);
    } catch (error) {
      if (!(error instanceof OperatorError) || !makeWritable(parent)) throw error;
      return moveTree(parent, name, this.#container, top);
    }
  }

  #count(act: string, dir: Dir, name: Name, result: number): void {
    if (result >= 0) this.removed += 1;
    else this.#note(act, dir, name, result);
  }

  #note(act: string, dir: Dir, name: Name, result: number): void {
    if (result !== -errno.ENOENT) this.#keep(diskError(`${act} ${dir.pathOf(name)}`, result));
  }

  /** Only what the disk reports is an error of one file; everything else ends the walk. */
  #keep(error: unknown): void {
    if (!(error instanceof OperatorError)) throw error;
    this.failed += 1;
    this.firstError ??= error;
  }
}

function toBytes(name: Name): Buffer {
  return typeof name === 'string' ? Buffer.from(name) : Buffer.from(name.buffer, name.byteOffset, name.length);
}

function kindOf(dir: Dir, name: Name): DirEntry['kind'] {
  const stat = statAt(dir.fd, name);
  return typeof stat === 'number' ? 'Unknown' : stat.kind;
}

/** Without CAP_DAC_OVERRIDE a directory must be writable to be emptied. What cannot be changed fails at the next try. */
function makeWritable(dir: Dir): boolean {
  return succeeds(() => fchmodSync(dir.fd, 0o700));
}

function makeAccessible(parent: Dir, name: Name): boolean {
  const file = parent.openFileOrErrno(name, O_PATH | constants.O_DIRECTORY);
  if (typeof file === 'number') return false;
  using opened = file;
  // An O_PATH descriptor takes no fchmod; its /proc name reaches the same inode, and nothing else.
  return succeeds(() => chmodSync(`/proc/self/fd/${opened.fd}`, 0o700));
}

function succeeds(act: () => void): boolean {
  try {
    act();
    return true;
  } catch {
    return false;
  }
}

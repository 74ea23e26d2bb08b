import { chmodSync, constants, fchmodSync, readSync, writeSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { batchesOf } from './dir-entries.ts';
import type { OpenFile } from './dir.ts';
import { Dir } from './dir.ts';
import { asDiskError, diskError, errno, shown } from './disk-error.ts';
import type { Name } from './libc.ts';
import { AT_FDCWD, fchownat, linkat, mknodat, O_PATH, openat2, openDirFlags, readlinkat, utimensat } from './libc.ts';
import { Slices } from './slices.ts';
import type { Stat } from './stat.ts';
import { statAt } from './stat.ts';

/** Opens a tree to copy from. The path is the user's own: links on the way to it are followed, inside the tree they are not. */
export function openSource(path: string): Dir {
  const fd = openat2(AT_FDCWD, path, { flags: openDirFlags, resolve: 0 });
  if (fd < 0) throw diskError(`open ${shown(path)}`, fd, 'ERR_INPUT_UNREADABLE');
  return new Dir(fd, path, {});
}

/**
 * Copies everything in `source` to a new directory `name` of `target`, in slices: owners (as root), modes, times, symbolic links,
 * hard links within the tree, FIFOs, sockets and device files. Extended attributes and holes are not copied.
 * @returns the sum of the lengths of files and links, hard links counted each, as the A3S runtime measures
 * @throws on the first failure, a mount inside the tree included (ERR_INPUT_UNREADABLE); then the copy is unfinished and the caller's to remove
 */
export async function copyTree(source: Dir, target: Dir, name: Name, { signal }: { signal?: AbortSignal | undefined } = {}): Promise<number> {
  const walk = new CopyWalk(new Slices(signal));
  await walk.directory({ source, stat: source.stat(), target, name, depth: 0 });
  return walk.sizeBytes;
}

interface Step {
  readonly stat: Stat;
  readonly target: Dir;
  readonly name: Name;
}

const asRoot = process.geteuid?.() === 0;

class CopyWalk {
  sizeBytes = 0;
  readonly #slices: Slices;
  /** Files with further links: inode → where below the top its first copy lies. */
  readonly #copies = new Map<bigint, Buffer>();
  readonly #buffer = Buffer.allocUnsafeSlow(256 * 1024);
  #top: Dir | undefined;

  constructor(slices: Slices) {
    this.#slices = slices;
  }

  async directory({ source, stat, target, name, depth }: Step & { source: Dir; depth: number }, path: Buffer = Buffer.alloc(0)): Promise<void> {
    // Calls nest until the first await: this bounds the stack, however deep the tree.
    if (depth % 100 === 99) await nextTurn();
    if (!target.mkdir(name, 0o700)) throw diskError(`make ${target.pathOf(name)}`, -errno.EEXIST);
    using copy = target.openDir(name);
    this.#top ??= copy;
    for (const each of names(source)) {
      if (this.#slices.over) await this.#slices.yield();
      const inner = statAt(source.fd, each);
      if (typeof inner === 'number') throw diskError(`read ${source.pathOf(each)}`, inner, 'ERR_INPUT_UNREADABLE');
      const innerPath = path.length === 0 ? each : Buffer.concat([path, slash, each]);
      if (inner.kind !== 'Directory') {
        await this.#leaf(source, { stat: inner, target: copy, name: each }, innerPath);
        continue;
      }
      using below = openBelow(source, each);
      await this.directory({ source: below, stat: inner, target: copy, name: each, depth: depth + 1 }, innerPath);
    }
    // Last: what was made inside has changed the times, and a mode without w would have refused it.
    own({ stat, target, name });
    try {
      fchmodSync(copy.fd, stat.mode);
    } catch (thrown) {
      throw asDiskError(`set the mode of ${target.pathOf(name)}`, thrown);
    }
    setTimes({ stat, target, name });
  }

  async #leaf(source: Dir, step: Step, path: Buffer): Promise<void> {
    const { stat, target, name } = step;
    if (stat.kind === 'File' || stat.kind === 'Link') this.sizeBytes += stat.sizeBytes;
    const earlier = stat.nlink > 1 ? this.#copies.get(stat.inode) : undefined;
    target.step('create', name);
    if (earlier !== undefined && this.#top !== undefined) {
      refuse(linkat(this.#top.fd, earlier, target.fd, name), 'link', step);
      return;
    }
    if (stat.kind === 'File') await this.#file(source, step);
    else if (stat.kind === 'Link') copyLink(source, step);
    else refuse(mknodat(target.fd, name, fileTypes[stat.kind] | 0o600, stat.deviceFile), 'make', step);
    own(step);
    if (stat.kind !== 'Link') chmod(step);
    setTimes(step);
    // A path that no call takes cannot be linked to: its further links become files of their own.
    if (stat.nlink > 1 && path.length < maxPathBytes) this.#copies.set(stat.inode, path);
  }

  async #file(source: Dir, { target, name }: Step): Promise<void> {
    const file = source.openFileOrErrno(name, constants.O_RDONLY | constants.O_NONBLOCK);
    if (typeof file === 'number') throw diskError(`read ${source.pathOf(name)}`, file, 'ERR_INPUT_UNREADABLE');
    using from = file;
    using to = target.openFile(name, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
    for (let length = this.#read(from); length > 0; length = this.#read(from)) {
      this.#write(to, length);
      if (this.#slices.over) await this.#slices.yield();
    }
  }

  #read(from: OpenFile): number {
    try {
      return readSync(from.fd, this.#buffer);
    } catch (thrown) {
      throw asDiskError(`read ${from.path}`, thrown);
    }
  }

  #write(to: OpenFile, length: number): void {
    try {
      for (let written = 0; written < length; ) written += writeSync(to.fd, this.#buffer, written, length - written);
    } catch (thrown) {
      throw asDiskError(`write ${to.path}`, thrown);
    }
  }
}

const maxPathBytes = 4096;
const slash = Buffer.from('/');

const fileTypes: Readonly<Record<Stat['kind'], number>> = {
  File: constants.S_IFREG,
  Directory: constants.S_IFDIR,
  Link: constants.S_IFLNK,
  Fifo: constants.S_IFIFO,
  Socket: constants.S_IFSOCK,
  BlockDevice: constants.S_IFBLK,
  CharacterDevice: constants.S_IFCHR,
  Unknown: 0,
};

function names(dir: Dir): Buffer[] {
  const all: Buffer[] = [];
  for (const batch of batchesOf(dir)) for (const entry of batch) all.push(Buffer.from(entry.bytes));
  return all;
}

function openBelow(source: Dir, name: Name): Dir {
  const dir = source.openDirOrErrno(name);
  if (typeof dir === 'number') throw diskError(`read ${source.pathOf(name)}`, dir, 'ERR_INPUT_UNREADABLE');
  return dir;
}

function copyLink(source: Dir, step: Step): void {
  const linkTarget = readlinkat(source.fd, step.name);
  if (typeof linkTarget === 'number') throw diskError(`read the link ${source.pathOf(step.name)}`, linkTarget, 'ERR_INPUT_UNREADABLE');
  step.target.symlink(linkTarget, step.name);
}

/** Before the mode: a change of owner clears setuid and setgid. */
function own({ stat, target, name }: Step): void {
  if (asRoot) refuse(fchownat(target.fd, name, stat.uid, stat.gid), 'set the owner of', { target, name });
}

function chmod(step: Step): void {
  using file = step.target.openFile(step.name, O_PATH);
  try {
    chmodSync(`/proc/self/fd/${file.fd}`, step.stat.mode);
  } catch (thrown) {
    throw asDiskError(`set the mode of ${file.path}`, thrown);
  }
}

function setTimes({ stat, target, name }: Step): void {
  refuse(utimensat(target.fd, name, stat.accessedNs, stat.modifiedNs), 'set the times of', { target, name });
}

function refuse(result: number, act: string, { target, name }: Pick<Step, 'target' | 'name'>): void {
  if (result < 0) throw diskError(`${act} ${target.pathOf(name)}`, result);
}

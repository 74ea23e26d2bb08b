import { closeSync, constants, fchmodSync, fsyncSync } from 'node:fs';
import { OperatorError } from '../errors.ts';
import type { DirNames } from './dir-entries.ts';
import { asDiskError, diskError, errno, errnoName, shown } from './disk-error.ts';
import type { Name } from './libc.ts';
import * as libc from './libc.ts';
import type { Stat } from './stat.ts';
import { statAt, statOf } from './stat.ts';

/** Called before every step that changes the disk, with the step in words. A test throws from it to stop the disk there. */
export type Fault = (step: string) => void;

/** Called where a step failed for want of space. @returns true where it freed some, so that the step is to be tried again */
export type Relief = () => boolean;

/** What belongs to a directory and to everything that is opened through it. */
export interface Hooks {
  readonly fault?: Fault | undefined;
  readonly relief?: Relief | undefined;
}

/** An open file descriptor that ends with its scope. */
export class OpenFile implements Disposable {
  readonly fd: number;
  readonly #dir: Dir;
  readonly #name: Name;

  constructor(fd: number, dir: Dir, name: Name) {
    this.fd = fd;
    this.#dir = dir;
    this.#name = name;
  }

  /** For messages only: by the time it is read, something else may be there. */
  get path(): string {
    return this.#dir.pathOf(this.#name);
  }

  stat(): Stat {
    const stat = statOf(this.fd);
    return typeof stat === 'number' ? statOrThrow(stat, this.path) : stat;
  }

  [Symbol.dispose](): void {
    closeSync(this.fd);
  }
}

/**
 * An open directory. Every method acts on the very directory that was opened, whatever its path leads to by then. A name is a
 * single component, and a symbolic link there is never followed; where something is opened it may also be a path below.
 *
 * Failures are thrown as ERR_DISK_IO or ERR_DISK_FULL with the path; what is merely absent or taken is a result.
 */
export class Dir implements Disposable {
  readonly fd: number;
  readonly path: string;
  readonly #hooks: Hooks;

  constructor(fd: number, path: string, hooks: Hooks) {
    this.fd = fd;
    this.path = path;
    this.#hooks = hooks;
  }

  [Symbol.dispose](): void {
    closeSync(this.fd);
  }

  pathOf(name: Name): string {
    return shown(`${this.path}/${typeof name === 'string' ? name : Buffer.from(name).toString()}`);
  }

  stat(): Stat {
    return statOrThrow(statOf(this.fd), this.path);
  }

  /** @returns undefined where nothing has the name */
  statOf(name: Name): Stat | undefined {
    const stat = statAt(this.fd, name);
    if (stat === -errno.ENOENT) return undefined;
    return typeof stat === 'number' ? statOrThrow(stat, this.pathOf(name)) : stat;
  }

  /**
   * Opens a directory on the same mount as this one.
   * @param crossMounts true where a mount on the way is as good
   */
  openDir(name: Name, options: { crossMounts?: boolean } = {}): Dir {
    const dir = this.openDirOrErrno(name, options);
    if (typeof dir === 'number') throw diskError(`open ${this.pathOf(name)}`, dir);
    return dir;
  }

  /** The same, undefined where nothing has the name. */
  openDirIfPresent(name: Name, options: { crossMounts?: boolean } = {}): Dir | undefined {
    const dir = this.openDirOrErrno(name, options);
    if (dir === -errno.ENOENT) return undefined;
    if (typeof dir === 'number') throw diskError(`open ${this.pathOf(name)}`, dir);
    return dir;
  }

  /** For walks that go on after an error. @returns the directory, or a negated errno */
  openDirOrErrno(name: Name, { crossMounts = false }: { crossMounts?: boolean } = {}): Dir | number {
    const fd = libc.openat2(this.fd, name, { flags: libc.openDirFlags, resolve: crossMounts ? libc.resolve.beneath : libc.resolve.sameMount });
    return fd < 0 ? fd : new Dir(fd, `${this.path}/${typeof name === 'string' ? name : Buffer.from(name).toString()}`, this.#hooks);
  }

  /** This very directory by a handle of its own, to be closed by itself. */
  reopen(): Dir {
    const fd = libc.openat2(this.fd, '.', { flags: libc.openDirFlags, resolve: libc.resolve.sameMount });
    if (fd < 0) throw diskError(`open ${shown(this.path)}`, fd);
    return this.sibling(fd, this.path);
  }

  /** Another open directory, with the hooks of this one. */
  sibling(fd: number, path: string): Dir {
    return new Dir(fd, path, this.#hooks);
  }

  /** @param flags of node:fs constants; O_NOFOLLOW and O_CLOEXEC are implied. @returns the file, or a negated errno */
  openFileOrErrno(name: Name, flags: number, mode = 0): OpenFile | number {
    const open = () => libc.openat2(this.fd, name, { flags: flags | constants.O_NOFOLLOW, mode, resolve: libc.resolve.sameMount });
    const fd = (flags & constants.O_CREAT) === 0 ? open() : this.#change('create', name, open);
    return fd < 0 ? fd : new OpenFile(fd, this, name);
  }

  openFile(name: Name, flags: number, mode = 0): OpenFile {
    const file = this.openFileOrErrno(name, flags, mode);
    if (typeof file === 'number') throw diskError(`open ${this.pathOf(name)}`, file);
    return file;
  }

  /** @returns false where the name is taken */
  mkdir(name: Name, mode: number): boolean {
    return done(this.#change('mkdir', name, () => libc.mkdirat(this.fd, name, mode)), [errno.EEXIST], () => `make ${this.pathOf(name)}`);
  }

  /** Makes the directory where it is missing, and opens it. */
  ensureDir(name: Name, mode: number): Dir {
    return this.openDirIfPresent(name) ?? (this.mkdir(name, mode), this.openDir(name));
  }

  /** Sees to it that these are the rights of this very directory: those it was made with were cut by the umask. */
  ensureMode(mode: number): void {
    if ((this.stat().mode & 0o777) !== mode) this.setMode(mode);
  }

  /** Sets the rights of this very directory, with setuid, setgid and sticky. */
  setMode(mode: number): void {
    this.step('chmod', '.');
    try {
      fchmodSync(this.fd, mode);
    } catch (thrown) {
      throw asDiskError(`set the rights of ${shown(this.path)}`, thrown);
    }
  }

  /** Anything but a directory. @returns false where nothing has the name */
  unlink(name: Name): boolean {
    return done(this.#change('unlink', name, () => libc.unlinkat(this.fd, name)), [errno.ENOENT], () => `remove ${this.pathOf(name)}`);
  }

  /** The same for the name at which a reader of this directory stands, as fast as that goes. @returns false where it is still there, or was gone already */
  unlinkListed(names: DirNames): boolean {
    this.#hooks.fault?.(`unlink ${this.pathOf(names.name)}`);
    return libc.unlinkatAddress(this.fd, names.address) === 0;
  }

  /** An empty directory. @returns false where nothing has the name, or it is not empty */
  rmdir(name: Name): boolean {
    return done(this.#change('rmdir', name, () => libc.rmdirat(this.fd, name)), [errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST], () => `remove ${this.pathOf(name)}`);
  }

  symlink(target: Name, name: Name): void {
    done(this.#change('symlink', name, () => libc.symlinkat(target, this.fd, name)), [], () => `make the link ${this.pathOf(name)}`);
  }

  /** @returns undefined where the name is absent or no symbolic link */
  readlink(name: Name): string | undefined {
    const target = libc.readlinkat(this.fd, name);
    if (typeof target !== 'number') return target.toString();
    if (target === -errno.ENOENT || target === -errno.EINVAL) return undefined;
    throw diskError(`read the link ${this.pathOf(name)}`, target);
  }

  /** Never replaces. @returns 'Absent' where `from` is missing, 'Taken' where `to` exists */
  rename(from: Name, toDir: Dir, to: Name): 'Moved' | 'Absent' | 'Taken' {
    const result = this.#change('rename', from, () => libc.renameNoReplace(this.fd, from, toDir.fd, to));
    if (result >= 0) return 'Moved';
    if (result === -errno.ENOENT) return 'Absent';
    if (result === -errno.EEXIST || result === -errno.ENOTEMPTY) return 'Taken';
    throw this.#renameError('move', from, toDir, to, result);
  }

  /** Replaces a file `to` of this directory at one moment. */
  replace(from: Name, to: Name): void {
    const result = this.#change('replace', to, () => libc.renameReplace(this.fd, from, this.fd, to));
    if (result < 0) throw diskError(`replace ${this.pathOf(to)}`, result);
  }

  /** Two names swap what they stand for, at one moment; both keep their times. @returns false where one of them is missing */
  exchange(name: Name, other: Dir, otherName: Name): boolean {
    const [before, otherBefore] = [statAt(this.fd, name), statAt(other.fd, otherName)];
    const result = this.#change('exchange', name, () => libc.renameExchange(this.fd, name, other.fd, otherName));
    if (result >= 0) {
      keepTimes(other, otherName, before);
      keepTimes(this, name, otherBefore);
      return true;
    }
    if (result === -errno.ENOENT) return false;
    throw this.#renameError('exchange', name, other, otherName, result);
  }

  /** Sets both times of what has the name, a symbolic link itself. */
  touch(name: Name, atMs: number): void {
    const ns = BigInt(Math.floor(atMs)) * 1_000_000n;
    done(this.#change('touch', name, () => libc.utimensat(this.fd, name, ns, ns)), [errno.ENOENT], () => `set the times of ${this.pathOf(name)}`);
  }

  /** What was renamed, made and removed here so far survives a power cut. */
  sync(): void {
    this.step('sync', '.');
    try {
      fsyncSync(this.fd);
    } catch (thrown) {
      throw asDiskError(`sync ${shown(this.path)}`, thrown);
    }
  }

  /** To be called by whoever changes the disk below here without a method of this class. */
  step(act: string, name: Name): void {
    this.#hooks.fault?.(`${act} ${this.pathOf(name)}`);
  }

  /** One step that changes the disk, tried again for as long as there is relief for it. @returns as the call did */
  #change(act: string, name: Name, call: () => number): number {
    for (;;) {
      this.step(act, name);
      const result = call();
      const isFull = result === -errno.ENOSPC || result === -errno.EDQUOT;
      if (!isFull || this.#hooks.relief?.() !== true) return result;
    }
  }

  #renameError(act: string, from: Name, toDir: Dir, to: Name, result: number): OperatorError {
    const what = `${act} ${this.pathOf(from)} and ${toDir.pathOf(to)}`;
    // EINVAL is also what a filesystem answers that knows no flags of renameat2.
    const unsupported = result === -errno.EINVAL || result === -errno.ENOSYS;
    return unsupported
      ? new OperatorError('ERR_ROOT_UNSUPPORTED', `the filesystem of ${shown(this.path)} cannot ${what} at one moment (renameat2: ${errnoName(result)})`)
      : diskError(what, result, undefined, result === -errno.EXDEV ? notMovable : undefined);
  }
}

/** What rename(2) means by EXDEV: more than a mount, unlike openat2(2). */
const notMovable = 'the two are on different filesystems, mounts or project quotas, or the directory is part of the lower layer of an overlay filesystem, which has no redirect_dir (EXDEV)';

/**
 * XFS sets the mtime of a folder that is exchanged with something in another folder, although nothing in it was written. Who may not
 * set times leaves the new one: then the folder counts as written just now.
 */
function keepTimes(dir: Dir, name: Name, before: Stat | number): void {
  if (typeof before === 'number' || before.kind !== 'Directory') return;
  const now = statAt(dir.fd, name);
  if (typeof now === 'number' || now.inode !== before.inode || now.modifiedNs === before.modifiedNs) return;
  libc.utimensat(dir.fd, name, before.accessedNs, before.modifiedNs);
}

function done(result: number, harmless: readonly number[], act: () => string): boolean {
  if (result >= 0) return true;
  if (harmless.includes(-result)) return false;
  throw diskError(act(), result);
}

function statOrThrow(stat: Stat | number, path: string): Stat {
  if (typeof stat === 'number') throw diskError(`look at ${shown(path)}`, stat);
  return stat;
}

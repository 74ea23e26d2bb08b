import { randomBytes } from 'node:crypto';
import { constants, ftruncateSync, writeSync } from 'node:fs';
import { namesIn } from '../disk/dir-entries.ts';
import type { Dir, OpenFile } from '../disk/dir.ts';
import { asDiskError } from '../disk/disk-error.ts';
import { filesystemOf } from '../disk/pinned-root.ts';
import { Slices } from '../disk/slices.ts';
import { OperatorError } from '../errors.ts';
import type { OwnPlace } from './own-search.ts';
import { findOwn } from './own-search.ts';
import type { Site } from './site.ts';
import { note } from './site.ts';
import { lockSweep, sweepHidden } from './sweep-hidden.ts';

/**
 * What eviction needs on a disk that is full to the last byte, kept in our folder from the first pass on:
 *
 *     reserve    1 MiB, given back in eighths
 *     spare/     empty directories, given back one by one: each is an inode, and on most filesystems a block
 *
 * An entry on its way out takes a directory and two links. The first few that go give back more than that, and the reserve is filled again.
 */
const reserveFile = 'reserve';
const spareFolder = 'spare';
const reserveBytes = 1024 * 1024;
const sliceBytes = reserveBytes / 8;
const spareNames = Array.from({ length: 12 }, (_, n) => `${n}`);

export class Reserve {
  #isWorking = false;
  #isShort = false;
  #isSwept = false;

  /** Whether it had to be touched, could not be filled, or hardly anything is left beside it: then whatever frees space is not to wait. */
  get isShort(): boolean {
    return this.#isShort;
  }

  /**
   * Fills it as far as the disk lets it. A crash leaves a part, and the rest comes with the next call; two at once come to the same end.
   * While it is there nothing is hidden outside of our folder, so what is hidden is swept before it is made.
   */
  async fill(site: Site): Promise<void> {
    this.#isSwept ||= hasReserve(site.own) || (await this.#sweep(site));
    if (this.#isSwept) this.#fill(site);
  }

  /** Removes what is left of it, once all of it was spent in vain: from here on something may be hidden. */
  remove(place: OwnPlace): void {
    this.#isSwept = false;
    using own = findOwn(place);
    own?.unlink(reserveFile);
  }

  async #sweep(site: Site): Promise<boolean> {
    try {
      // Whoever may read the cache's directory may hold this lock, for ever: then nothing is kept for a full disk, and the pass goes on.
      using _lock = lockSweep(site.root);
      return (await sweepHidden(site, new Slices(site.signal))).isClean;
    } catch (error) {
      note(site.errors, error);
      return false;
    }
  }

  #fill({ root, own, errors }: Site): void {
    this.#isWorking = true;
    try {
      fillSpares(own);
      fillFile(own);
      this.#isShort = filesystemOf(root).availableBytes < reserveBytes;
    } catch (error) {
      if (error instanceof OperatorError && error.code === 'ERR_DISK_FULL') this.#isShort = true;
      else note(errors, error);
    } finally {
      this.#isWorking = false;
    }
  }

  /** Gives back a part of it, for what has just failed for want of space to be tried once more. @param find our folder, to be closed then @returns false where nothing is left */
  spend(find: () => Dir | undefined): boolean {
    // Its own steps must not eat it.
    if (this.#isWorking) return false;
    this.#isWorking = true;
    this.#isShort = true;
    try {
      using own = find();
      return own !== undefined && [shrinkFile(own), removeSpare(own)].includes(true);
    } finally {
      this.#isWorking = false;
    }
  }
}

export function hasReserve(own: Dir): boolean {
  return own.statOf(reserveFile) !== undefined;
}

/** In a folder that is given up. */
export function removeReserve(own: Dir): void {
  own.unlink(reserveFile);
  using spare = own.openDirIfPresent(spareFolder);
  for (const name of spareNames) spare?.rmdir(name);
  own.rmdir(spareFolder);
}

function fillSpares(own: Dir): void {
  using spare = own.ensureDir(spareFolder, 0o700);
  const there = new Set(namesIn(spare));
  for (const name of spareNames) if (!there.has(name)) spare.mkdir(name, 0o700);
}

function fillFile(own: Dir): void {
  using file = own.openFile(reserveFile, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_CREAT, 0o600);
  if (!isOurs(file)) throw new OperatorError('ERR_DISK_IO', `${file.path} is no file of ours alone; remove it`);
  for (let size = file.stat().sizeBytes; size < reserveBytes; ) {
    own.step('write', reserveFile);
    // Random, because some filesystems keep no zeros.
    const missing = randomBytes(reserveBytes - size);
    size += atDisk(file, () => writeSync(file.fd, missing, 0, missing.length, size));
  }
}

function shrinkFile(own: Dir): boolean {
  const file = own.openFileOrErrno(reserveFile, constants.O_WRONLY | constants.O_NONBLOCK);
  if (typeof file === 'number') return false;
  using opened = file;
  const { sizeBytes } = opened.stat();
  if (sizeBytes === 0 || !isOurs(opened)) return false;
  own.step('truncate', reserveFile);
  atDisk(opened, () => ftruncateSync(opened.fd, Math.max(0, sizeBytes - sliceBytes)));
  return true;
}

/** What has another name, too, may be anybody's file. */
function isOurs(file: OpenFile): boolean {
  const { kind, nlink } = file.stat();
  return kind === 'File' && nlink === 1;
}

function removeSpare(own: Dir): boolean {
  using spare = own.openDirIfPresent(spareFolder);
  return spare !== undefined && spareNames.some((name) => spare.rmdir(name));
}

function atDisk<T>(file: OpenFile, act: () => T): T {
  try {
    return act();
  } catch (thrown) {
    throw asDiskError(`write ${file.path}`, thrown);
  }
}

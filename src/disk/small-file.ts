import { constants, fchmodSync, fsyncSync, readSync, writeSync } from 'node:fs';
import { OperatorError } from '../errors.ts';
import type { Dir, OpenFile } from './dir.ts';
import { asDiskError, errno, reasonOf } from './disk-error.ts';
import type { Stat } from './stat.ts';

/** What reading a file that should be small came to. Whatever lies there, reading it neither waits nor takes more memory than allowed. */
export type SmallFile =
  | { readonly outcome: 'Read'; readonly bytes: Buffer; readonly stat: Stat }
  | { readonly outcome: 'Absent' }
  | { readonly outcome: 'NotAFile' | 'TooLarge' | 'Unreadable'; readonly message: string };

// One file at a time is read, and copied out at its true size.
let scratch = Buffer.allocUnsafeSlow(4096);

export function readSmallFile(dir: Dir, name: string, maxBytes: number): SmallFile {
  // O_NONBLOCK: opening a FIFO that nobody writes to would wait forever.
  const file = dir.openFileOrErrno(name, constants.O_RDONLY | constants.O_NONBLOCK);
  if (file === -errno.ENOENT) return { outcome: 'Absent' };
  if (typeof file === 'number') return notOpened(dir, name, file);
  using opened = file;
  const stat = opened.stat();
  if (stat.kind !== 'File') return { outcome: 'NotAFile', message: `${opened.path} is no regular file` };
  if (stat.sizeBytes > maxBytes) return { outcome: 'TooLarge', message: `${opened.path} has ${stat.sizeBytes} bytes, more than the ${maxBytes} it may have` };
  return contentOf(opened, stat, maxBytes);
}

function notOpened(dir: Dir, name: string, result: number): SmallFile {
  const symbolic = result === -errno.ELOOP;
  // A socket cannot be opened, nor can a device without a driver.
  if (symbolic || result === -errno.ENXIO || result === -errno.ENODEV) {
    return { outcome: 'NotAFile', message: `${dir.pathOf(name)} is ${symbolic ? 'a symbolic link' : 'no regular file'}` };
  }
  return { outcome: 'Unreadable', message: `cannot read ${dir.pathOf(name)}: ${reasonOf(result)}` };
}

function contentOf(file: OpenFile, stat: Stat, maxBytes: number): SmallFile {
  if (scratch.length < maxBytes + 1) scratch = Buffer.allocUnsafeSlow(maxBytes + 1);
  let length: number;
  try {
    // It may have grown since the stat: one byte more than allowed tells. A short read of a regular file is its end.
    length = readSync(file.fd, scratch, 0, maxBytes + 1, 0);
  } catch (error) {
    return { outcome: 'Unreadable', message: `cannot read ${file.path}: ${reasonOf((error as { errno?: number }).errno ?? -errno.EIO)}` };
  }
  if (length > maxBytes) return { outcome: 'TooLarge', message: `${file.path} grew beyond the ${maxBytes} bytes it may have` };
  return { outcome: 'Read', bytes: Buffer.from(scratch.subarray(0, length)), stat };
}

export interface AtomicWrite {
  readonly name: string;
  /** Where the content grows; a crash leaves it there. Must not exist. */
  readonly tempName: string;
  /** In pieces where it is large: the heap of an agent does not hold 15 MB of text twice. */
  readonly content: string | Iterable<string>;
  readonly mode: number;
}

/**
 * Writes a file so that a reader sees the old content or the new one, and a power cut leaves one of them.
 * @throws ERR_DISK_IO, ERR_DISK_FULL; then the old content stands
 */
export function writeFileAtomically(dir: Dir, { name, tempName, content, mode }: AtomicWrite): void {
  using file = dir.openFile(tempName, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, mode);
  try {
    fill(file, { dir, tempName, content, mode });
    dir.replace(tempName, name);
  } catch (thrown) {
    const error = asDiskError(`write ${file.path}`, thrown);
    // Only after a failure that the disk reported: one that stopped (a crash) cleans nothing up.
    if (error instanceof OperatorError) dir.unlink(tempName);
    throw error;
  }
  dir.sync();
}

function fill(file: OpenFile, { dir, tempName, content, mode }: Omit<AtomicWrite, 'name'> & { dir: Dir }): void {
  // The mode of the open was cut by the umask.
  fchmodSync(file.fd, mode);
  for (const piece of typeof content === 'string' ? [content] : content) {
    const bytes = Buffer.from(piece);
    for (let written = 0; written < bytes.length; ) {
      dir.step('write', tempName);
      written += writeSync(file.fd, bytes, written);
    }
  }
  fsyncSync(file.fd);
}

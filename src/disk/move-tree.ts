import { chmodSync, constants } from 'node:fs';
import { errnoOf, OperatorError } from '../errors.ts';
import type { Dir } from './dir.ts';
import { asDiskError } from './disk-error.ts';
import type { Name } from './libc.ts';
import { O_PATH } from './libc.ts';

const ownerWrites = 0o200;

/**
 * Moves a file or directory to another directory; never replaces. A directory that changes its parent has to be writable itself, because its
 * `..` is written: without CAP_DAC_OVERRIDE the owner of a read-only one, such as a version in Go's module cache, is refused (EACCES). It is
 * made writable for its owner then, and stays so: see `setMode`.
 * @returns as Dir.rename does @throws ERR_DISK_IO, ERR_DISK_FULL
 */
export function moveTree(from: Dir, name: Name, to: Dir, toName: Name): ReturnType<Dir['rename']> {
  try {
    return from.rename(name, to, toName);
  } catch (error) {
    if (!isRefused(error) || !makeWritable(from, name)) throw error;
    return from.rename(name, to, toName);
  }
}

/** Whether the mode of a directory keeps its owner from moving it. */
export function isReadOnly({ mode }: { readonly mode: number }): boolean {
  return (mode & ownerWrites) === 0;
}

/** Of the directory that has the name now; does nothing where there is none. @throws ERR_DISK_IO */
export function setMode(parent: Dir, name: Name, mode: number): void {
  // An O_PATH descriptor takes no fchmod; its /proc name reaches the same inode, and nothing else.
  const dir = parent.openFileOrErrno(name, O_PATH | constants.O_DIRECTORY);
  if (typeof dir === 'number') return;
  using opened = dir;
  if (opened.stat().mode === mode) return;
  parent.step('chmod', name);
  try {
    chmodSync(`/proc/self/fd/${opened.fd}`, mode);
  } catch (thrown) {
    throw asDiskError(`set the rights of ${opened.path}`, thrown);
  }
}

/** @returns false where that is not what is in the way, or not ours to change */
function makeWritable(parent: Dir, name: Name): boolean {
  const stat = parent.statOf(name);
  if (stat?.kind !== 'Directory' || !isReadOnly(stat)) return false;
  try {
    setMode(parent, name, stat.mode | ownerWrites);
    return true;
  } catch (error) {
    if (error instanceof OperatorError) return false;
    throw error;
  }
}

function isRefused(error: unknown): boolean {
  return error instanceof OperatorError && errnoOf(error.cause) === 'EACCES';
}

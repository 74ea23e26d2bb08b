import { constants } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { OperatorError } from '../errors.ts';
import type { Dir, OpenFile } from './dir.ts';
import { diskError, errno } from './disk-error.ts';
import { tryFlock } from './libc.ts';
import { isSameFile } from './stat.ts';

/**
 * An exclusive flock(2) on a file of its own, as the A3S runtime takes it: released when the scope ends, or the process.
 * Lock files are never removed: two processes could then hold "the" lock on two inodes.
 */
export class FileLock implements Disposable {
  readonly #file: Disposable;

  constructor(file: Disposable) {
    this.#file = file;
  }

  [Symbol.dispose](): void {
    this.#file[Symbol.dispose]();
  }
}

/**
 * Takes the lock, without waiting. The file is made when it is missing.
 * @returns undefined where another process, or another holder in this one, has it
 * @throws ERR_DISK_IO, ERR_DISK_FULL, ERR_LOCK_BUSY
 */
export function tryLock(dir: Dir, name: string, mode = 0o644): FileLock | undefined {
  for (let tries = 0; tries < 10; tries += 1) {
    using scope = new DisposableStack();
    const file = scope.use(openLockFile(dir, name, mode));
    const locked = tryFlock(file.fd);
    if (locked === -errno.EAGAIN || locked === -errno.EINTR) return undefined;
    if (locked < 0) throw diskError(`lock ${file.path}`, locked);
    const named = dir.statOf(name);
    // Somebody may have removed or replaced the file between open and flock: that lock would exclude nobody.
    if (named !== undefined && isSameFile(file.stat(), named)) return new FileLock(scope.move());
  }
  throw new OperatorError('ERR_LOCK_BUSY', `the lock ${dir.pathOf(name)} is replaced again and again`);
}

/**
 * An exclusive flock(2) on a directory itself, for where no lock file can be made.
 * @returns undefined where it is locked already
 * @throws ERR_DISK_IO
 */
export function tryLockDirectory(dir: Dir): FileLock | undefined {
  using scope = new DisposableStack();
  const own = scope.use(dir.openDir('.'));
  const locked = tryFlock(own.fd);
  if (locked === -errno.EAGAIN || locked === -errno.EINTR) return undefined;
  if (locked < 0) throw diskError(`lock ${dir.path}`, locked);
  const lock = new FileLock(own);
  scope.move();
  return lock;
}

function openLockFile(dir: Dir, name: string, mode: number): OpenFile {
  const flags = constants.O_RDWR | constants.O_NONBLOCK;
  // Without O_CREAT first: looking at a lock that is there changes nothing on the disk.
  const file = dir.openFileOrErrno(name, flags);
  if (file === -errno.ENOENT) return dir.openFile(name, flags | constants.O_CREAT, mode);
  if (typeof file === 'number') throw diskError(`open the lock ${dir.pathOf(name)}`, file);
  return file;
}

/**
 * Takes the lock, looking every few milliseconds until it is free: a flock that waits would stop the whole process.
 * @throws ERR_LOCK_BUSY after `timeoutMs`; an AbortError once the signal is aborted
 */
export async function waitForLock(dir: Dir, name: string, { timeoutMs, signal, mode }: { timeoutMs: number; signal?: AbortSignal | undefined; mode?: number }): Promise<FileLock> {
  const giveUpAt = performance.now() + timeoutMs;
  for (let pauseMs = 1; ; pauseMs = Math.min(50, pauseMs * 2)) {
    signal?.throwIfAborted();
    const lock = tryLock(dir, name, mode);
    if (lock !== undefined) return lock;
    if (performance.now() >= giveUpAt) throw new OperatorError('ERR_LOCK_BUSY', `the lock ${dir.pathOf(name)} was held by another process for ${timeoutMs} ms`);
    await sleep(pauseMs, undefined, { signal });
  }
}

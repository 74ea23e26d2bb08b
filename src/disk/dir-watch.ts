import type { Dir } from './dir.ts';
import { errno } from './disk-error.ts';
import { endOfWatch, inotifyAddWatch, inotifyInit } from './inotify.ts';
import { addressOf, close, read } from './libc.ts';

/** Beyond so many names it is as fast to look at all of them. */
const maxNames = 10_000;

/**
 * Hears which names of one directory come, go and are written, from inotify(7): of this very directory, whatever its path leads to
 * later, and whoever changes it from whatever container. It keeps neither the directory nor its mount busy.
 *
 * Nothing runs beside: what has been heard is fetched by `drain`. Not through fs.watch, which follows a link in the directory's place
 * and drops without a word what was too much for its queue.
 */
export class DirWatch implements Disposable {
  readonly #fd: number;
  #names = new Set<string>();
  #isComplete = true;
  #isOver = false;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /** @returns undefined where no watch is to be had: a user has 128 of them by default, over all containers */
  static on(dir: Dir): DirWatch | undefined {
    const fd = inotifyInit();
    if (fd < 0) return undefined;
    const watch = new DirWatch(fd);
    if (inotifyAddWatch(fd, `/proc/self/fd/${dir.fd}`) >= 0) return watch;
    watch[Symbol.dispose]();
    return undefined;
  }

  [Symbol.dispose](): void {
    close(this.#fd);
  }

  /** Nothing will be heard any more: the directory is gone, or its filesystem. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** Fetches what was heard. @returns whether anything has been since the last `take` */
  drain(): boolean {
    for (;;) {
      const filled = read(this.#fd, bufferAddress, buffer.length);
      if (filled === -errno.EINTR) continue;
      if (filled <= 0) break;
      this.#hear(filled);
    }
    return this.#names.size > 0 || !this.#isComplete;
  }

  /** @returns the names since the last call; undefined where it may have been any */
  take(): ReadonlySet<string> | undefined {
    this.drain();
    const names = this.#isComplete ? this.#names : undefined;
    this.#names = new Set();
    this.#isComplete = !this.#isOver;
    return names;
  }

  /** struct inotify_event: s32 watch, u32 mask, u32 cookie, u32 length, and the name with NULs up to that length. */
  #hear(filled: number): void {
    for (let at = 0; at < filled; ) {
      const mask = buffer.readUInt32LE(at + 4);
      const length = buffer.readUInt32LE(at + 12);
      const start = at + 16;
      at = start + length;
      if ((mask & endOfWatch) !== 0) this.#isOver = true;
      if (length === 0) this.#isComplete = false;
      // Where any name may have changed, nobody asks for one.
      if (!this.#isComplete) continue;
      const name = buffer.toString('utf8', start, buffer.indexOf(0, start));
      // A name that is no UTF-8 cannot be found again by its text.
      if (name.includes('\ufffd') || this.#names.size >= maxNames) this.#isComplete = false;
      else this.#names.add(name);
    }
  }
}

const buffer = Buffer.alloc(16 * 1024);
const bufferAddress = addressOf(buffer);

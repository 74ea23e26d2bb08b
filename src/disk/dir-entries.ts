import type { Dir } from './dir.ts';
import { diskError, shown } from './disk-error.ts';
import { getdents } from './libc.ts';
import type { FileKind } from './stat.ts';
import { kindsByMode } from './stat.ts';

/** One name of a directory. `bytes` is a view that the next entry leaves alone, but the next directory read may overwrite. */
export interface DirEntry {
  readonly bytes: Buffer;
  /** As the filesystem says without a stat; 'Unknown' where it does not. */
  readonly kind: FileKind;
}

/** By the type in a directory entry, which is that of a mode without its permissions. In an array, because it is asked for each of 100,000 names. */
const kinds = Array.from({ length: 256 }, (_, type): FileKind => kindsByMode.get(type << 12) ?? 'Unknown');

/** 32 KiB hold about 300 cache names; the kernel fills it in one call. Kept for the next directory: a walk reads thousands. */
const batchBytes = 32 * 1024;
let spare: Buffer | undefined;

/**
 * The names in a directory, without `.` and `..`, in the filesystem's order, one at a time and as bytes: for directories of 100,000
 * names. What is added or removed meanwhile may be missed.
 */
export class DirNames implements Disposable {
  /** The present name lies in here, from `start` to `end`. Overwritten by the next batch. */
  readonly buffer: Buffer;
  start = 0;
  end = 0;
  kind: FileKind = 'Unknown';
  readonly #dir: Dir;
  #filled = 0;
  #next = 0;

  constructor(dir: Dir) {
    // A descriptor of its own: the read position of `dir` is shared by all who use it.
    this.#dir = dir.openDir('.');
    this.buffer = spare ?? Buffer.allocUnsafeSlow(batchBytes);
    spare = undefined;
  }

  [Symbol.dispose](): void {
    this.#dir[Symbol.dispose]();
    spare = this.buffer;
  }

  /** @returns false at the end of the directory @throws ERR_DISK_IO where the directory cannot be read */
  nextBatch(): boolean {
    this.#filled = getdents(this.#dir.fd, this.buffer);
    this.#next = 0;
    if (this.#filled < 0) throw diskError(`read ${shown(this.#dir.path)}`, this.#filled);
    return this.#filled > 0;
  }

  /** @returns false at the end of the batch */
  next(): boolean {
    const { buffer } = this;
    while (this.#next < this.#filled) {
      // struct linux_dirent64: u64 inode, s64 offset, u16 record length, u8 type, name with NUL, up to seven bytes of anything.
      const at = this.#next;
      const length = buffer[at + 16]! | (buffer[at + 17]! << 8);
      this.#next += length;
      const start = at + 19;
      let end = Math.max(start, at + length - 8);
      while (buffer[end] !== 0) end += 1;
      if (buffer[start] === dot && (end === start + 1 || (end === start + 2 && buffer[start + 1] === dot))) continue;
      this.start = start;
      this.end = end;
      this.kind = kinds[buffer[at + 18]!]!;
      return true;
    }
    return false;
  }
}
const dot = 0x2e;

/**
 * The same in batches of objects. Each batch is read when it is asked for; its entries are valid until the next batch.
 * @throws ERR_DISK_IO where the directory cannot be read
 */
export function* batchesOf(dir: Dir): Generator<DirEntry[]> {
  using names = new DirNames(dir);
  while (names.nextBatch()) {
    const batch: DirEntry[] = [];
    while (names.next()) batch.push({ bytes: names.buffer.subarray(names.start, names.end), kind: names.kind });
    yield batch;
  }
}

/** All names as text. Only for directories that are known to be small. */
export function namesIn(dir: Dir): string[] {
  const names: string[] = [];
  for (const batch of batchesOf(dir)) for (const entry of batch) names.push(entry.bytes.toString());
  return names;
}

import type { Dir } from './dir.ts';
import { diskError, isAbsence, shown } from './disk-error.ts';
import { addressOf, getdents } from './libc.ts';
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
  /** The present name lies in here, from `start` to `end`, and a NUL behind it. Overwritten by the next batch. */
  readonly buffer: Buffer;
  start = 0;
  kind: FileKind = 'Unknown';
  readonly #dir: Dir;
  readonly #isOwnDir: boolean;
  #bufferAddress: number | undefined;
  #filled = 0;
  #next = 0;

  /** @param isShared false where nobody else reads by this handle, and nobody has: its read position is one for all */
  constructor(dir: Dir, { isShared = true }: { isShared?: boolean } = {}) {
    this.#isOwnDir = isShared;
    this.#dir = isShared ? dir.openDir('.') : dir;
    this.buffer = spare ?? Buffer.allocUnsafeSlow(batchBytes);
    spare = undefined;
  }

  [Symbol.dispose](): void {
    if (this.#isOwnDir) this.#dir[Symbol.dispose]();
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
      this.#next += buffer[at + 16]! | (buffer[at + 17]! << 8);
      const start = at + 19;
      if (buffer[start] === dot && (buffer[start + 1] === 0 || (buffer[start + 1] === dot && buffer[start + 2] === 0))) continue;
      this.start = start;
      this.kind = kinds[buffer[at + 18]!]!;
      return true;
    }
    return false;
  }

  get end(): number {
    let end = Math.max(this.start, this.#next - 8);
    while (this.buffer[end] !== 0) end += 1;
    return end;
  }

  /** The present name as a view, until the next batch. */
  get name(): Buffer {
    return this.buffer.subarray(this.start, this.end);
  }

  /** Where the present name lies in memory, until the next batch. */
  get address(): number {
    this.#bufferAddress ??= addressOf(this.buffer);
    return this.#bufferAddress + this.start;
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
    while (names.next()) batch.push({ bytes: names.name, kind: names.kind });
    yield batch;
  }
}

/** The same for a directory that others may remove meanwhile. A removed directory has no names. */
export function* batchesWhilePresent(dir: Dir): Generator<DirEntry[]> {
  try {
    yield* batchesOf(dir);
  } catch (error) {
    if (!isAbsence(error)) throw error;
  }
}

/** The names that begin with a text of ASCII; of 100,000 others none becomes an object. @throws ERR_DISK_IO where the directory cannot be read */
export function namesBeginning(dir: Dir, start: string): string[] {
  const found: string[] = [];
  const first = start.charCodeAt(0);
  using names = new DirNames(dir);
  while (names.nextBatch()) {
    while (names.next()) if (names.buffer[names.start] === first && names.name.indexOf(start) === 0) found.push(names.name.toString());
  }
  return found;
}

/** All names as text. Only for directories that are known to be small. */
export function namesIn(dir: Dir): string[] {
  const names: string[] = [];
  for (const batch of batchesOf(dir)) for (const entry of batch) names.push(entry.bytes.toString());
  return names;
}

import { constants } from 'node:fs';
import type { Dir } from './dir.ts';
import { diskError, shown } from './disk-error.ts';
import { getdents } from './libc.ts';
import type { FileKind } from './stat.ts';

/** One name of a directory. `bytes` is a view that the next entry leaves alone, but the next directory read may overwrite. */
export interface DirEntry {
  readonly bytes: Buffer;
  /** As the filesystem says without a stat; 'Unknown' where it does not. */
  readonly kind: FileKind;
}

const kinds = new Map<number, FileKind>([
  [constants.S_IFREG >> 12, 'File'],
  [constants.S_IFDIR >> 12, 'Directory'],
  [constants.S_IFLNK >> 12, 'Link'],
  [constants.S_IFIFO >> 12, 'Fifo'],
  [constants.S_IFSOCK >> 12, 'Socket'],
  [constants.S_IFBLK >> 12, 'BlockDevice'],
  [constants.S_IFCHR >> 12, 'CharacterDevice'],
]);

/** 32 KiB hold about 300 cache names; the kernel fills it in one call. Kept for the next directory: a walk reads thousands. */
const batchBytes = 32 * 1024;
let spare: Buffer | undefined;

/**
 * The names in a directory, without `.` and `..`, in the filesystem's order. What is added or removed meanwhile may be missed.
 * Each batch is read when it is asked for; its entries are valid until the next batch.
 * @throws ERR_DISK_IO where the directory cannot be read
 */
export function* batchesOf(dir: Dir): Generator<DirEntry[]> {
  // A descriptor of its own: the read position of `dir` is shared by all who use it.
  using own = dir.openDir('.');
  const buffer = spare ?? Buffer.allocUnsafeSlow(batchBytes);
  spare = undefined;
  try {
    for (;;) {
      const filled = getdents(own.fd, buffer);
      if (filled < 0) throw diskError(`read ${shown(dir.path)}`, filled);
      if (filled === 0) return;
      yield entriesIn(buffer, filled);
    }
  } finally {
    spare = buffer;
  }
}

/** struct linux_dirent64: u64 inode, s64 offset, u16 record length, u8 type, name with NUL. */
function entriesIn(buffer: Buffer, filled: number): DirEntry[] {
  const entries: DirEntry[] = [];
  for (let at = 0; at < filled; ) {
    const length = buffer.readUInt16LE(at + 16);
    const start = at + 19;
    const end = buffer.indexOf(0, start);
    at += length;
    if (buffer[start] === dot && (end === start + 1 || (end === start + 2 && buffer[start + 1] === dot))) continue;
    entries.push({ bytes: buffer.subarray(start, end), kind: kinds.get(buffer[start - 1] ?? 0) ?? 'Unknown' });
  }
  return entries;
}
const dot = 0x2e;

/** All names as text. Only for directories that are known to be small. */
export function namesIn(dir: Dir): string[] {
  const names: string[] = [];
  for (const batch of batchesOf(dir)) for (const entry of batch) names.push(entry.bytes.toString());
  return names;
}

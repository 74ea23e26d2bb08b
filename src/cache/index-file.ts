import { constants, fstatSync, readSync, writeSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import type { Dir, OpenFile } from '../disk/dir.ts';
import { asDiskError } from '../disk/disk-error.ts';
import type { Slices } from '../disk/slices.ts';
import { OperatorError } from '../errors.ts';
import type { FormatName } from '../policy/compiled.ts';
import { Columns } from '../policy/entry-columns.ts';
import { EntryTable } from '../policy/entry-table.ts';

/** What of a CacheIndex outlives the agent. */
export interface SavedIndex {
  readonly format: FormatName;
  readonly settledAtMs: number;
  readonly entries: EntryTable;
  /** Change time of the root when nothing but these entries was in it; null where that is not known, or the change was too recent to show the next one. */
  readonly rootChangedNs: bigint | null;
}

export interface IndexPlace {
  readonly root: Dir;
  /** Our folder of it. */
  readonly own: Dir;
}

/**
 * `index` in our folder: a line of JSON with version, format, root, lengths and checksum, and the columns of the table as they lie in
 * memory (little-endian, as every machine this runs on). Of another version, of another root, or damaged, it is as good as none.
 */
const fileName = 'index';
const formatVersion = 2;
const maxRows = 2_000_000;
const maxBytes = 512 * 2 ** 20;
const maxHeaderBytes = 512;
/** Some milliseconds of copying, between two turns of the event loop. */
const chunkBytes = 2 ** 20;

interface Header {
  readonly formatVersion: number;
  readonly format: string;
  readonly root: string;
  readonly settledAtMs: number;
  /** In decimal: JSON has no integers of this size. */
  readonly rootChangedNs: string | null;
  readonly rows: number;
  readonly textBytes: [number, number, number];
  readonly checksum: number;
}

/**
 * To be called under the pass lock. Nothing waits for the disk: what a power cut spoils, the checksum finds.
 * @throws ERR_DISK_IO, ERR_DISK_FULL; then the old one stands
 */
export async function saveIndex({ root, own }: IndexPlace, { format, settledAtMs, entries: { columns }, rootChangedNs }: SavedIndex, slices: Slices): Promise<void> {
  if (columns.length > maxRows) return;
  const pieces = columns.pieces();
  const header = { formatVersion, format, root: markOf(root), settledAtMs, rootChangedNs: rootChangedNs?.toString() ?? null, rows: columns.length, textBytes: columns.textBytes };
  const text = JSON.stringify({ ...header, checksum: checksumOf(header, pieces) } satisfies Header);
  const tempName = `${fileName}.new`;
  // Left by a crash.
  own.unlink(tempName);
  using file = own.openFile(tempName, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
  try {
    for (const piece of [Buffer.from(`${text}\n`), ...pieces]) await writeAll(file, piece, { dir: own, tempName, slices });
    own.replace(tempName, fileName);
  } catch (thrown) {
    const error = asDiskError(`write ${file.path}`, thrown);
    if (error instanceof OperatorError) own.unlink(tempName);
    throw error;
  }
}

async function writeAll(file: OpenFile, bytes: Uint8Array, { dir, tempName, slices }: { dir: Dir; tempName: string; slices: Slices }): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    dir.step('write', tempName);
    at += writeSync(file.fd, bytes, at, Math.min(chunkBytes, bytes.length - at));
    if (slices.over) await slices.yield();
  }
}

/** @returns undefined where there is none of this version, format and root, or it cannot be read whole: it is a hint, and nothing is decided by its absence */
export async function loadIndex({ root, own }: IndexPlace, format: FormatName, slices: Slices): Promise<SavedIndex | undefined> {
  const opened = own.openFileOrErrno(fileName, constants.O_RDONLY | constants.O_NONBLOCK);
  if (typeof opened === 'number') return undefined;
  using file = opened;
  const stat = fstatSync(file.fd);
  if (!stat.isFile() || stat.size > maxBytes) return undefined;
  const start = Buffer.alloc(maxHeaderBytes);
  const end = start.subarray(0, readAt(file, start, 0)).indexOf('\n');
  const header = end === -1 ? undefined : parse(start.toString('utf8', 0, end));
  if (header === undefined || header.format !== format || header.root !== markOf(root)) return undefined;
  const from = end + 1;
  if (from + Columns.bytesOf(header.rows, header.textBytes) !== stat.size) return undefined;
  // Nothing is allocated for what it claims to hold before it is known to be whole: that may be more than the agent has.
  if (!(await isWhole(file, { header, from, sizeBytes: stat.size }, slices))) return undefined;
  const columns = Columns.blank(header.rows, header.textBytes);
  let at = from;
  for (const piece of columns.pieces()) {
    if (!(await readInto(file, piece, at, slices))) return undefined;
    at += piece.length;
  }
  if (!columns.isSound) return undefined;
  const rootChangedNs = header.rootChangedNs === null ? null : BigInt(header.rootChangedNs);
  return { format, settledAtMs: header.settledAtMs, entries: new EntryTable(columns, header.settledAtMs), rootChangedNs };
}

async function isWhole(file: OpenFile, { header: { checksum, ...rest }, from, sizeBytes }: { header: Header; from: number; sizeBytes: number }, slices: Slices): Promise<boolean> {
  const chunk = Buffer.alloc(chunkBytes);
  let sum = checksumOf(rest, []);
  for (let at = from; at < sizeBytes; ) {
    const read = readAt(file, chunk, at);
    if (read === 0) return false;
    sum = crc32(chunk.subarray(0, read), sum);
    at += read;
    if (slices.over) await slices.yield();
  }
  return sum === checksum;
}

/** @returns false where there is less */
async function readInto(file: OpenFile, piece: Uint8Array, at: number, slices: Slices): Promise<boolean> {
  for (let done = 0; done < piece.length; ) {
    const read = readAt(file, piece.subarray(done, done + chunkBytes), at + done);
    if (read === 0) return false;
    done += read;
    if (slices.over) await slices.yield();
  }
  return true;
}

/** 0 also where the disk fails: then there is no index. */
function readAt(file: OpenFile, into: Uint8Array, at: number): number {
  try {
    return readSync(file.fd, into, 0, into.length, at);
  } catch (error) {
    if (asDiskError('read the index', error) instanceof OperatorError) return 0;
    throw error;
  }
}

function checksumOf(header: Omit<Header, 'checksum'>, pieces: readonly Uint8Array[]): number {
  return pieces.reduce((sum, piece) => crc32(piece, sum), crc32(JSON.stringify(header)));
}

/** Another directory has another index. Devices and mounts are numbered anew with every boot and every pod. */
function markOf(root: Dir): string {
  return String(root.stat().inode);
}

function parse(text: string): Header | undefined {
  let header: Partial<Header> | null;
  try {
    header = JSON.parse(text) as Partial<Header> | null;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
  const { rows, textBytes, settledAtMs, rootChangedNs } = header ?? {};
  if (header?.formatVersion !== formatVersion || !isCount(rows, maxRows) || !Number.isFinite(settledAtMs)) return undefined;
  if (rootChangedNs !== null && !/^\d{1,20}$/.test(rootChangedNs ?? '')) return undefined;
  if (!Array.isArray(textBytes) || textBytes.length !== 3 || !textBytes.every((bytes) => isCount(bytes, maxBytes))) return undefined;
  return header as Header;
}

function isCount(value: unknown, most: number): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= most;
}

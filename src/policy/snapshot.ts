import type { EntryTable } from './entry-table.ts';
import type { LinkedFilesByEntry } from './linked-files.ts';

/** What a scan finds in one cache directory. Data only: no file is open, nothing refers back to the disk. */

declare const parsed: unique symbol;

/** The name of an entry's directory below its root: one path component that the format has recognised. Got only from a format's parser. */
export type EntryName = string & { readonly [parsed]: 'EntryName' };

/** What identifies one version of a metadata file; another stamp right before eviction means somebody wrote it. */
export interface MetadataStamp {
  readonly inode: bigint;
  /** Its ctime, ns since the epoch: unlike the mtime nobody can set it back. */
  readonly changedNs: bigint;
  readonly size: number;
}

export interface Entry {
  readonly name: EntryName;
  /** What its users call it: the rootfs key, the layer digest. */
  readonly key: string;
  readonly description: string;
  readonly sizeBytes: number;
  readonly cachedAtMs: number;
  /** Never later than the scan: a clock ahead is read as used now. */
  readonly lastAccessedAtMs: number;
  /** The metadata said a time later than the scan. */
  readonly clockAhead: boolean;
  readonly stamp: MetadataStamp;
}

/** Why something that looks like an entry is none. Nothing damaged is ever evicted. */
export type DamageReason =
  | 'MetadataUnreadable'
  | 'MetadataNotAFile'
  | 'MetadataTooLarge'
  | 'MetadataMalformed'
  | 'MetadataNamesAnotherKey'
  | 'MetadataValueInvalid'
  | 'NotADirectory'
  | 'EntryUnreadable'
  | 'EntryHoldsHome'
  | 'EntryHoldsData';

export interface Damaged {
  readonly name: string;
  readonly reason: DamageReason;
  /** One sentence for people. */
  readonly message: string;
}

/**
 * What a crash or a race leaves behind; never served, never counted as an entry.
 * Staging, Temp: a put that did not finish. Orphan: a directory whose metadata is missing.
 * Ghost: metadata whose directory is missing. Trash: what our own purge could not delete yet.
 */
export type LeftoverKind = 'Staging' | 'Temp' | 'Orphan' | 'Ghost' | 'Trash';

export interface Leftover {
  readonly name: string;
  readonly kind: LeftoverKind;
  /** The newest change of it (for a directory: of anything inside), ms since the epoch. */
  readonly changedAtMs: number;
  /** True where it is old enough to be removed by a pass. */
  readonly removable: boolean;
}

export interface Snapshot {
  readonly takenAtMs: number;
  /** When the figures that were measured longest ago were measured; absent where each scan reads all of them. */
  readonly measuredSinceMs?: number;
  readonly entries: EntryTable;
  readonly damaged: readonly Damaged[];
  readonly leftovers: readonly Leftover[];
  /** Names the format does not know; reported, never touched. */
  readonly unrecognised: readonly string[];
  /** How many files the scan had to open: all that are not remembered from a scan before. */
  readonly filesRead: number;
  /** The entries whose files have hard links elsewhere; absent where there are none. */
  readonly linked?: LinkedFilesByEntry | undefined;
}

/** The trait's CacheStats: entries that are whole, and the sum of their sizes. */
export interface CacheStats {
  readonly entryCount: number;
  readonly totalBytes: number;
}

export function statsOf(snapshot: Snapshot): CacheStats {
  const { length, sizeBytes } = snapshot.entries;
  let totalBytes = 0;
  for (let row = 0; row < length; row += 1) totalBytes += sizeBytes[row]!;
  return { entryCount: length, totalBytes };
}

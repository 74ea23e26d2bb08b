import type { Dir } from '../../disk/dir.ts';
import type { Slices } from '../../disk/slices.ts';
import type { FileKind } from '../../disk/stat.ts';
import type { FormatName } from '../../policy/compiled.ts';
import type { EntryRow, RawRow } from '../../policy/entry-table.ts';
import type { Hold, HoldSource } from '../../policy/holds.ts';
import type { DamageReason, EntryName, Snapshot } from '../../policy/snapshot.ts';
import type { Room } from '../room.ts';

/** What a metadata file says of its entry. Times in ms since the epoch; the formats keep whole seconds on disk. */
export interface Metadata {
  readonly key: string;
  readonly description: string;
  readonly sizeBytes: number;
  readonly cachedAtMs: number;
  readonly lastAccessedAtMs: number;
}

export interface Damage {
  readonly damage: DamageReason;
  /** What is wrong, to stand behind the path: `"size_bytes" is -5`. */
  readonly message: string;
}

/** What a name in the root can be, judged by the name alone. */
export type Role =
  | { readonly role: 'Entry' | 'Metadata'; readonly name: EntryName }
  /** Lock: made beside each metadata file, never removed. Own: our folder. Neither is anything to report. */
  | { readonly role: 'Staging' | 'Temp' | 'Lock' | 'Own' | 'Unrecognised' };

/**
 * One step of taking entries out. The order is the format's, because its reader decides what a hit is.
 * Crash safety and meaning of each: cache/evict.ts.
 */
export type EvictionStep = 'MoveMetadata' | 'LookAgain' | 'Settle' | 'ExchangeForLink' | 'RemoveLink' | 'AskAgain' | 'MoveTree';

export interface ScanOptions {
  readonly nowMs: number;
  /** A leftover that nothing has changed for this long belongs to nobody any more. */
  readonly leftoverAgeMs: number;
  readonly slices: Slices;
  /** Our folder of this cache, where there is one. */
  readonly own?: Dir | undefined;
  /** What has to hold all that is found, if anything has to. */
  readonly room?: Room | undefined;
  /** Called for each entry that is measured, with how many were, and how many will be in this scan. */
  readonly onMeasured?: ((done: number, total: number) => void) | undefined;
  /** What the last scan of this very directory found; without it everything is read. */
  readonly previous?: PreviousScan | undefined;
  /** False where nobody compares the stamps of the entries later: neither an eviction nor another scan. Then some of them are zero. What is planned for free space is evicted later. */
  readonly stamped?: boolean;
}

export interface PreviousScan {
  readonly snapshot: Snapshot;
  /** What changed later than this may have changed once more right after it was read, and show the same stamp. */
  readonly settledAtMs: number;
  /** The only names in the root that may stand for something else by now; undefined where any may. */
  readonly changed: ReadonlySet<string> | undefined;
}

/** How one kind of cache lies on disk. One file per format, registered in registry.ts; nothing else knows formats apart. */
export type Format = StoreFormat | PlainFormat;

interface AnyFormat {
  readonly name: FormatName;
  /** What can tell that an entry is in use; see cache/holds. */
  readonly holdSources: readonly HoldSource[];
  readonly evictionOrder: readonly EvictionStep[];

  /**
   * Reads what lies in a root: in slices, without a lock, writing nothing. Whatever lies there, it is an entry, damage, a leftover or
   * unrecognised.
   * @throws ERR_ROOT_UNREADABLE where the root itself cannot be read
   */
  scan(root: Dir, options: ScanOptions): Promise<Snapshot>;

  /** @returns undefined where the key cannot be one of this format */
  nameOf(key: string): EntryName | undefined;
  roleOf(name: string): Role;
  /** Whether what is of this kind can be an entry's own, rather than something in its place. */
  isTree(kind: FileKind): boolean;
}

/** Entries are a directory and a metadata file each. */
export interface StoreFormat extends AnyFormat {
  readonly kind: 'Store';
  /** Whether a directory without metadata was once an entry, rather than somebody's own. */
  looksLikeEntry(name: EntryName): boolean;

  /** `<name><suffix>`. A name of ASCII letters, digits, `_` and `-` alone, with or without one of these, is judged by them. */
  readonly metadataSuffix: string;
  readonly lockSuffix: string;
  metadataName(name: EntryName): string;
  lockName(name: EntryName): string;
  /** Fresh names for a directory and a file on their way in, as the runtime chooses them. */
  stagingName(): string;
  tempName(): string;

  /** Total: whatever the bytes are, they are metadata of that entry or damage. */
  parseMetadata(bytes: Buffer, name: EntryName): Metadata | Damage;
  /** The same for the text that the runtime itself writes, without making texts of it. @returns false where parseMetadata has to judge */
  readPlainMetadata(bytes: Buffer, length: number, row: RawRow): boolean;
  /** As the runtime writes it. */
  serialiseMetadata(metadata: Metadata): string;
}

/** An entry is all there is, and nobody but its users writes it. */
export interface PlainFormat extends AnyFormat {
  readonly kind: 'Plain';
  /**
   * One entry anew, wherever it lies by now.
   * @returns undefined where it is gone, or is no entry any more. `isLinked`: some of its files have hard links elsewhere
   * @throws ERR_DISK_IO
   */
  look(tree: { readonly parent: Dir; readonly name: string }, entry: EntryName, slices: Slices): Promise<(EntryRow & { readonly isLinked: boolean }) | undefined>;

  /** @throws ERR_ROOT_NEAR_HOME, ERR_ROOT_KNOWN_LAYOUT where a directory may not be such a cache, whatever a policy says */
  refuseRoot(root: Dir, allowedRoots: readonly string[]): void;
  /** The same by what is in it: what a scan sees by the way, for who does not scan. */
  refuseContent(root: Dir): void;
  /** What the last scan saw in use by the way; it does not ask of every entry each time. */
  readonly usesSeen: ReadonlyMap<EntryName, Hold>;
  /** To be called when evicted entries were deleted: the shares of entries that are linked with them have grown. */
  sawPurge(): void;
  /** To be told by whoever found an entry in use: nothing on the disk remembers it. */
  sawInUse(name: EntryName, atMs: number): void;
  /** Whether it is time to `save` again: how much is remembered decides how often it is written. */
  isSaveDue(nowMs: number): boolean;
  /** Writes what is remembered beyond the disk into our folder. Under the pass lock. @throws ERR_DISK_IO, ERR_DISK_FULL */
  save(own: Dir, nowMs: number): void;
}

/** More is damage: the runtime writes 200 bytes and a description. */
export const maxMetadataBytes = 64 * 1024;
export const metadataMode = 0o600;

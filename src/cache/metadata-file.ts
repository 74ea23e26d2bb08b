import type { Dir } from '../disk/dir.ts';
import { tryLock } from '../disk/lock.ts';
import { readSmallFile, writeFileAtomically } from '../disk/small-file.ts';
import type { DamageReason, EntryName, MetadataStamp } from '../policy/snapshot.ts';
import type { Format, Metadata, StoreFormat } from './formats/format.ts';
import { maxMetadataBytes, metadataMode } from './formats/format.ts';

/** What the metadata file of one entry turned out to be. */
export type MetadataFile =
  | { readonly outcome: 'Read'; readonly metadata: Metadata; readonly stamp: MetadataStamp }
  | { readonly outcome: 'Absent' }
  | { readonly outcome: 'Damaged'; readonly reason: DamageReason; readonly message: string };

const damageOf = { NotAFile: 'MetadataNotAFile', TooLarge: 'MetadataTooLarge', Unreadable: 'MetadataUnreadable' } as const;

/** Damage is data: never throws for what lies there. @param fileName where it lies, if not under its own name in the root */
export function readMetadata(dir: Dir, format: StoreFormat, name: EntryName, fileName = format.metadataName(name)): MetadataFile {
  const file = readSmallFile(dir, fileName, maxMetadataBytes);
  if (file.outcome === 'Absent') return file;
  if (file.outcome !== 'Read') return { outcome: 'Damaged', reason: damageOf[file.outcome], message: file.message };
  const parsed = format.parseMetadata(file.bytes, name);
  if ('damage' in parsed) return { outcome: 'Damaged', reason: parsed.damage, message: `${dir.pathOf(fileName)}: ${parsed.message}` };
  const { inode, changedNs, sizeBytes } = file.stat;
  return { outcome: 'Read', metadata: parsed, stamp: { inode, changedNs, size: sizeBytes } };
}

/** Whether a metadata file stands beside an entry, whatever is in it. */
export function hasMetadata(root: Dir, format: Format, name: EntryName): boolean {
  return format.kind === 'Store' && root.statOf(format.metadataName(name)) !== undefined;
}

/** Under it no metadata is written. @returns undefined where another process has it; what has no metadata needs none */
export function tryEntryLock(root: Dir, format: Format, name: EntryName): Disposable | undefined {
  return format.kind === 'Store' ? tryLock(root, format.lockName(name)) : new DisposableStack();
}

/** Undefined where there is no metadata that can be read. */
export function descriptionIn(dir: Dir, format: Format, name: EntryName, fileName?: string): string | undefined {
  if (format.kind === 'Plain') return name;
  const file = readMetadata(dir, format, name, fileName);
  return file.outcome === 'Read' ? file.metadata.description : undefined;
}

/** To be called under the entry's lock. @throws ERR_DISK_IO, ERR_DISK_FULL; then the old metadata stands */
export function writeMetadata(root: Dir, format: StoreFormat, name: EntryName, metadata: Metadata): void {
  writeFileAtomically(root, {
    name: format.metadataName(name),
    tempName: format.tempName(),
    content: format.serialiseMetadata(metadata),
    mode: metadataMode,
  });
}

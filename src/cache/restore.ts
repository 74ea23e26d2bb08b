import type { Dir } from '../disk/dir.ts';
import type { FileLock } from '../disk/lock.ts';
import { waitForLock } from '../disk/lock.ts';
import { moveTree, setMode } from '../disk/move-tree.ts';
import { OperatorError } from '../errors.ts';
import type { StoreFormat } from './formats/format.ts';
import { readMetadata, writeMetadata } from './metadata-file.ts';
import type { Site } from './site.ts';
import { note } from './site.ts';
import type { ItemId } from './trash.ts';
import { asideName, asideOf, holdsTree, isEvictionLink, itemInode, itemMetadata, itemMode, itemTree } from './trash.ts';

/** The runtime holds an entry's lock for a few milliseconds. Whoever holds it longer was stopped. */
const patienceMs = 1_000;

/**
 * Brings an entry back from wherever its eviction stood: the directory first, the metadata second, so that it is served only
 * once it is whole. Every step leaves a state from which the same call goes on. The entry keeps the last use that it had: only who has
 * seen it in use makes it younger.
 * @returns false where the name is taken by something newer; then nothing was changed
 */
export async function restore(site: Site, item: ItemId): Promise<boolean> {
  const { root, trash, format } = site;
  using lock = await lockIfFree(site, item);
  using dir = trash.openDir(item.id);
  const tree = placeOfTree(site, dir, item);
  if (tree !== undefined) {
    // A crash here: the entry stands as before, its metadata with the true size.
    if (lock !== undefined && format.kind === 'Store') keepSize(site, format, dir, item);
    // A crash after either: the tree under its name, the link where the tree was.
    if (isEvictionLink(root, item.name, item)) root.exchange(item.name, tree.parent, tree.name);
    else if (moveTree(tree.parent, tree.name, root, item.name) !== 'Moved') return false;
  }
  restoreMode(root, dir, item);
  if (asideOf(site, item) === 'OurLink') root.unlink(asideName(item));
  // Left by an earlier version.
  if (dir.statOf(itemTree)?.kind === 'Link') dir.unlink(itemTree);
  // A crash here: metadata in the trash, directory in the root. Where metadata is back already it is newer than ours.
  if (format.kind === 'Store' && dir.rename(itemMetadata, root, format.metadataName(item.name)) === 'Taken') dir.unlink(itemMetadata);
  // A crash after either: an item with nothing of the entry.
  for (const link of [itemMode, itemInode]) dir.unlink(link);
  trash.rmdir(item.id);
  return true;
}

/** Of a read-only directory, which may have been made writable to be moved. */
function restoreMode(root: Dir, dir: Dir, { name }: ItemId): void {
  const mode = dir.readlink(itemMode);
  if (mode !== undefined && dir.readlink(itemInode) === String(root.statOf(name)?.inode)) setMode(root, name, Number.parseInt(mode, 8));
}

/** Where the tree is, if not under its own name. What stands aside and is not the item's own is put back only where our link leads to it. */
function placeOfTree(site: Site, dir: Dir, item: ItemId): { parent: Dir; name: string } | undefined {
  const { root, trash } = site;
  if (holdsTree(trash, item)) return { parent: dir, name: itemTree };
  const aside = asideOf(site, item);
  const isItsOwn = aside === 'Tree' || (aside === 'Stranger' && isEvictionLink(root, item.name, item));
  return isItsOwn ? { parent: root, name: asideName(item) } : undefined;
}

/** Without the lock nothing is lost either: each move is refused where something newer has the name. */
async function lockIfFree({ root, format }: Site, { name }: ItemId): Promise<FileLock | undefined> {
  if (format.kind === 'Plain') return undefined;
  try {
    return await waitForLock(root, format.lockName(name), { timeoutMs: patienceMs });
  } catch (error) {
    if (error instanceof OperatorError) return undefined;
    throw error;
  }
}

/** A put that adopted the directory while it was leaving measured only what it could still see: the size known before is the true one. */
function keepSize({ root, errors }: Site, format: StoreFormat, dir: Dir, { name }: ItemId): void {
  const before = readMetadata(dir, format, name, itemMetadata);
  const now = readMetadata(root, format, name);
  if (before.outcome !== 'Read' || now.outcome !== 'Read' || before.metadata.sizeBytes === now.metadata.sizeBytes) return;
  try {
    writeMetadata(root, format, name, { ...now.metadata, sizeBytes: before.metadata.sizeBytes });
  } catch (error) {
    note(errors, error, name);
  }
}

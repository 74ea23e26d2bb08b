import type { Dir } from '../disk/dir.ts';
import { diskError, errno } from '../disk/disk-error.ts';
import { moveTree } from '../disk/move-tree.ts';
import { Slices } from '../disk/slices.ts';
import { OperatorError } from '../errors.ts';
import type { Hold, Holds } from '../policy/holds.ts';
import { holdOf } from '../policy/holds.ts';
import type { EntryName } from '../policy/snapshot.ts';
import { tellRevived } from './journal.ts';
import { descriptionIn, hasMetadata } from './metadata-file.ts';
import { restore } from './restore.ts';
import type { Site } from './site.ts';
import { note } from './site.ts';
import type { ItemId } from './trash.ts';
import type { Aside } from './trash.ts';
import { asideName, asideOf, holdsTree, isEvictionLink, itemInode, itemMetadata, itemsIn, itemTree, newGarbageName } from './trash.ts';
import { noteUse } from './uses.ts';

/** What an item of the trash and its name in the root look like, whoever left them so. */
export interface Found {
  /** The item holds the entry's directory or file. */
  readonly hasTree: boolean;
  readonly aside: Aside;
  readonly inRoot: 'Nothing' | 'Tree' | 'OurLink' | 'Other';
  readonly rootHasMetadata: boolean;
  readonly hold: Hold | undefined;
}

/** Restore: the entry comes back. Rest: evicted, waits for its purge. MoveTree: the same, once its tree is in the item. Drop: nothing is left of the entry. */
export type Fate = 'Restore' | 'Rest' | 'MoveTree' | 'Drop';

export function fateOf({ hasTree, aside, inRoot, rootHasMetadata, hold }: Found): Fate {
  // Stopped between the exchange and the last question. What the link leads to goes back whatever it is: it is what the name stands for.
  if (!hasTree && inRoot === 'OurLink' && (aside === 'Tree' || aside === 'Stranger')) return 'Restore';
  // Something newer has the name: only the older one leaves.
  if (!hasTree && aside === 'Tree') return inRoot === 'Nothing' ? 'Restore' : 'MoveTree';
  // An earlier version was stopped between the exchange and its end.
  if (hasTree && inRoot === 'OurLink') return 'Restore';
  // In use after all; or the runtime hit it while it left, and wrote its metadata again.
  if (hasTree && inRoot === 'Nothing' && (hold !== undefined || rootHasMetadata)) return 'Restore';
  if (hasTree) return 'Rest';
  // Stopped before the exchange.
  if (inRoot === 'Tree') return 'Restore';
  return 'Drop';
}

export function look(site: Site, item: ItemId, holds: Holds): Found {
  const { root, trash, format } = site;
  const inRoot = root.statOf(item.name)?.kind;
  const link = inRoot === 'Link' && isEvictionLink(root, item.name, item);
  return {
    hasTree: holdsTree(trash, item),
    aside: asideOf(site, item),
    inRoot: inRoot === undefined ? 'Nothing' : format.isTree(inRoot) ? 'Tree' : link ? 'OurLink' : 'Other',
    rootHasMetadata: hasMetadata(root, format, item.name),
    hold: holdOf(holds, { name: item.name, description: holds.byDescription.size === 0 ? undefined : descriptionOf(site, item) }),
  };
}

function descriptionOf({ root, trash, format }: Site, { id, name }: ItemId): string | undefined {
  // Absent: another process has begun to delete it since it was listed.
  using dir = trash.openDirIfPresent(id);
  return (dir && descriptionIn(dir, format, name, itemMetadata)) ?? descriptionIn(root, format, name);
}

/** Brings an item back. @returns whether it had been evicted, and is wanted after all; not what a crash had left half way, or where it stays */
export async function revive(site: Site, item: ItemId, { hasTree, inRoot, hold }: Found): Promise<boolean> {
  if (!(await restore(site, item))) return false;
  noteUse(site.format, item.name, { hold, nowMs: site.clock.now() });
  return hasTree && inRoot === 'Nothing';
}

/**
 * Finishes, at the start of a pass, what an earlier one left undone. The pass lock excludes every other pass, so that whatever is
 * half done was left by a process that stopped.
 * @returns how many evicted entries came back; the journal names them
 */
export async function recover(site: Site, holds: Holds): Promise<number> {
  const revived: EntryName[] = [];
  const slices = new Slices();
  for await (const item of itemsIn(site.trash, site.format, slices)) {
    if (slices.over) await slices.yield();
    try {
      const found = look(site, item, holds);
      const fate = fateOf(found);
      if (fate === 'Restore') revived.push(...((await revive(site, item, found)) ? [item.name] : []));
      else if (fate === 'MoveTree') moveTreeIn(site, item);
      else if (fate === 'Drop') drop(site, item);
    } catch (error) {
      note(site.errors, error, item.name);
    }
  }
  tellRevived(site, revived);
  return revived.length;
}

/**
 * Moves the tree of an item from aside into the item. It must be the very one that the item was made for: where others may rename in the
 * cache's directory they can put another in its place, and that one stays where it is.
 * @throws ERR_DISK_IO
 */
export function moveTreeIn({ root, trash }: Pick<Site, 'root' | 'trash'>, item: ItemId): void {
  using dir = trash.openDir(item.id);
  const aside = asideName(item);
  if (moveTree(root, aside, dir, itemTree) !== 'Moved') throw diskError(`take in ${root.pathOf(aside)}`, -errno.ENOENT);
  if (dir.readlink(itemInode) !== String(dir.statOf(itemTree)?.inode)) putOut({ root }, dir, item);
}

/**
 * Of an item of a plain format, whose directory may be one that others rename in: another tree may have come in where `moveTreeIn` was stopped,
 * or could not put it out again because its name was taken. It is not deleted.
 * @throws ERR_DISK_IO
 */
export function refuseStranger({ root, trash, format }: Pick<Site, 'root' | 'trash' | 'format'>, item: ItemId): void {
  // Where nobody else can rename, another inode number is the same tree on a filesystem that does not keep them.
  if (format.kind === 'Store' || (root.stat().mode & 0o022) === 0) return;
  using dir = trash.openDir(item.id);
  const [inode, tree] = [dir.readlink(itemInode), dir.statOf(itemTree)];
  if (inode !== undefined && tree !== undefined && inode !== String(tree.inode)) putOut({ root }, dir, item);
}

function putOut({ root }: Pick<Site, 'root'>, dir: Dir, item: ItemId): never {
  const aside = asideName(item);
  const isOut = moveTree(dir, itemTree, root, aside) === 'Moved';
  const where = isOut ? 'it is left alone' : `it stays at ${dir.pathOf(itemTree)} until that name is free`;
  throw new OperatorError('ERR_DISK_IO', `${root.pathOf(aside)} was replaced by another while it left; ${where}`);
}

/** Begins the deletion of an item, at one moment: from here on it is garbage, and no crash brings any of it back. */
export function drop(site: Site, item: ItemId): string {
  const { root, trash } = site;
  if (isEvictionLink(root, item.name, item)) root.unlink(item.name);
  if (asideOf(site, item) === 'OurLink') root.unlink(asideName(item));
  const garbage = newGarbageName();
  trash.rename(item.id, trash, garbage);
  return garbage;
}


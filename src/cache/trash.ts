import { randomBytes } from 'node:crypto';
import { batchesOf } from '../disk/dir-entries.ts';
import type { Dir } from '../disk/dir.ts';
import type { Slices } from '../disk/slices.ts';
import { msOf } from '../disk/stat.ts';
import type { EntryName, Leftover } from '../policy/snapshot.ts';
import type { Format } from './formats/format.ts';
import { ownFolder, trashFolder } from './own-folder.ts';

/**
 * Where entries go on their way out: `<root>/.cachepolicy/trash/<id>/`, `<id>` being `<random>.<name of the entry>`, with
 *
 *     meta    the metadata file, moved here
 *     d       the directory; before the exchange the link that is to take its place
 *
 * So an item says whose it is by its own name, from the moment it exists. A name without a dot is garbage: deletion of it has
 * begun, and nothing of it ever comes back.
 */
/** From the root. */
export const trashPath: readonly string[] = [ownFolder, trashFolder];
export const itemMetadata = 'meta';
export const itemTree = 'd';

export interface ItemId {
  readonly id: string;
  readonly name: EntryName;
}

export function newItemId(name: EntryName): ItemId {
  return { id: `${randomBytes(6).toString('hex')}.${name}`, name };
}

export function newGarbageName(): string {
  return `gone-${randomBytes(6).toString('hex')}`;
}

/** Whether the item holds the entry's own directory or file; a link there is ours, before the exchange. */
export function holdsTree(trash: Dir, { id }: ItemId): boolean {
  using item = trash.openDirIfPresent(id);
  const kind = item?.statOf(itemTree)?.kind;
  return kind !== undefined && kind !== 'Link';
}

/** Where the link points that stands in for a directory: every path through it still reaches the whole tree. */
export function evictionLinkTarget({ id }: ItemId): string {
  return `${ownFolder}/${trashFolder}/${id}/${itemTree}`;
}

/** @param item the item that the link must lead to; without it any of ours will do */
export function isEvictionLink(root: Dir, name: EntryName, item?: ItemId): boolean {
  const target = root.readlink(name);
  if (item !== undefined) return target === evictionLinkTarget(item);
  return target !== undefined && target.startsWith(`${ownFolder}/${trashFolder}/`) && target.endsWith(`.${name}/${itemTree}`);
}

/**
 * Tries once whether the filesystem can exchange two names at one moment, without which no entry may be taken out.
 * A crash leaves garbage.
 * @throws ERR_ROOT_UNSUPPORTED
 */
export function proveExchange(trash: Dir): void {
  const [one, other] = [newGarbageName(), newGarbageName()];
  try {
    trash.mkdir(one, 0o700);
    trash.mkdir(other, 0o700);
    trash.exchange(one, trash, other);
  } finally {
    trash.rmdir(one);
    trash.rmdir(other);
  }
}

/** Undefined where the name is none of an item, or of one that holds no entry of this format. */
export function itemIdOf(id: string, format: Format): ItemId | undefined {
  const dot = id.indexOf('.');
  const role = dot === -1 ? undefined : format.roleOf(id.slice(dot + 1));
  return role?.role === 'Entry' ? { id, name: role.name } : undefined;
}

export interface TrashContent {
  readonly items: readonly ItemId[];
  readonly garbage: readonly string[];
}

export async function contentOf(trash: Dir, format: Format, slices: Slices): Promise<TrashContent> {
  const items: ItemId[] = [];
  const garbage: string[] = [];
  for (const batch of batchesOf(trash)) {
    for (const { bytes } of batch) {
      const id = bytes.toString();
      const item = itemIdOf(id, format);
      if (item !== undefined) items.push(item);
      // An item of another format's name cannot be given back here: left alone, like anything unrecognised.
      else if (!id.includes('.')) garbage.push(id);
    }
    if (slices.over) await slices.yield();
  }
  return { items, garbage };
}

/** What a purge could not delete, or has not yet. Nothing where the trash cannot be looked into: a scan needs no trash. */
export async function leftInTrash(root: Dir, format: Format, slices: Slices): Promise<Leftover[]> {
  const opened = root.openDirOrErrno(`${ownFolder}/${trashFolder}`);
  if (typeof opened === 'number') return [];
  using trash = opened;
  return (await contentOf(trash, format, slices)).garbage.flatMap((name) => {
    const stat = trash.statOf(name);
    return stat === undefined ? [] : [{ name: `${ownFolder}/${trashFolder}/${name}`, kind: 'Trash' as const, changedAtMs: msOf(stat.changedNs), removable: true }];
  });
}

import { randomBytes } from 'node:crypto';
import { batchesOf } from '../disk/dir-entries.ts';
import type { Dir } from '../disk/dir.ts';
import type { Slices } from '../disk/slices.ts';
import type { Stat } from '../disk/stat.ts';
import { msOf } from '../disk/stat.ts';
import type { EntryName, Leftover } from '../policy/snapshot.ts';
import type { Format } from './formats/format.ts';
import { trashFolder } from './own-folder.ts';
import { ownFolder } from './own-search.ts';

/**
 * Where entries go on their way out: `trash/<id>/` in our folder, `<id>` being `<random>.<name of the entry>`, with
 *
 *     meta    the metadata file, moved here
 *     of      a link whose target is the inode number of the entry's directory or file
 *     mode    a link whose target is the mode of the directory, where that keeps its owner from moving it: it may be another meanwhile
 *     d       the directory or file itself, once nobody is to reach it by its path
 *
 * So an item says whose it is by its own name, from the moment it exists. A name without a dot is garbage: deletion of it has
 * begun, and nothing of it ever comes back.
 *
 * Before the tree moves into the item it stands aside, in the cache's own directory, as `.cachepolicy.<id>`, and a link to that name
 * takes its place: whoever sees the cache's directory alone, such as a pod that mounts it, reaches the whole tree by its old path.
 * The item is made first. So a name of that kind is believed only where an item of ours names it.
 */
export const itemMetadata = 'meta';
export const itemTree = 'd';
export const itemInode = 'of';
export const itemMode = 'mode';
const asidePrefix = `${ownFolder}.`;
const maxFileNameBytes = 255;

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

/** Whether the item holds the entry's own directory or file; a link there was made by an earlier version, before its exchange. */
export function holdsTree(trash: Dir, { id }: ItemId): boolean {
  using item = trash.openDirIfPresent(id);
  const kind = item?.statOf(itemTree)?.kind;
  return kind !== undefined && kind !== 'Link';
}

/** The name under which an entry stands in its own directory while it leaves. Cut where a file name cannot be so long: the item has the whole name. */
export function asideName({ id }: ItemId): string {
  const bytes = Buffer.from(asidePrefix + id);
  let end = Math.min(bytes.length, maxFileNameBytes);
  // Not within a letter of UTF-8.
  while (end < bytes.length && (bytes[end]! & 0xc0) === 0x80) end -= 1;
  return bytes.toString('utf8', 0, end);
}

/** The item that a name aside belongs to; undefined where it is no such name. @param trash asked for the whole of a name that may be cut */
export function itemAside(name: string, format: Format, trash: Dir | undefined): ItemId | undefined {
  if (!name.startsWith(asidePrefix)) return undefined;
  const id = name.slice(asidePrefix.length);
  const isWhole = trash === undefined || Buffer.byteLength(name) < maxFileNameBytes - 3;
  return itemIdOf(isWhole ? id : (beginningWith(trash, id) ?? id), format);
}

function beginningWith(trash: Dir, id: string): string | undefined {
  for (const batch of batchesOf(trash)) for (const { bytes } of batch) if (bytes.toString().startsWith(id)) return bytes.toString();
  return undefined;
}

/** What stands at the name aside of an item. Tree: the one that the item was made for. Stranger: another directory or file. */
export type Aside = 'Nothing' | 'Tree' | 'Stranger' | 'OurLink' | 'Other';

export function asideOf({ root, trash, format }: { root: Dir; trash: Dir; format: Format }, item: ItemId): Aside {
  const name = asideName(item);
  const stat = root.statOf(name);
  if (stat === undefined) return 'Nothing';
  if (stat.kind === 'Link') return isOurs(stat) && root.readlink(name) === name ? 'OurLink' : 'Other';
  if (!format.isTree(stat.kind)) return 'Other';
  using dir = trash.openDirIfPresent(item.id);
  return dir?.readlink(itemInode) === String(stat.inode) ? 'Tree' : 'Stranger';
}

/**
 * Whether a link of ours stands in for an entry. To be believed it must be owned by this user, whoever else may write in the directory.
 * @param item the item that the link must lead to; without it any of ours will do, also one of root, for who only looks
 */
export function isEvictionLink(root: Dir, name: EntryName, item?: ItemId): boolean {
  const stat = root.statOf(name);
  if (stat?.kind !== 'Link' || !(isOurs(stat) || (item === undefined && stat.uid === 0))) return false;
  const target = root.readlink(name);
  if (item !== undefined) return target === asideName(item) || target === oldLinkTarget(item);
  return target !== undefined && (target.startsWith(asidePrefix) || (target.startsWith(`${ownFolder}/${trashFolder}/`) && target.endsWith(`.${name}/${itemTree}`)));
}

/** Where earlier versions let the link point: their items hold the tree already while the link stands. */
function oldLinkTarget({ id }: ItemId): string {
  return `${ownFolder}/${trashFolder}/${id}/${itemTree}`;
}

function isOurs({ uid }: Stat): boolean {
  return uid === process.geteuid?.();
}

/**
 * Tries once whether the filesystem can exchange two names at one moment, without which no entry may be taken out.
 * A crash leaves garbage.
 * @throws ERR_ROOT_UNSUPPORTED
 */
function proveExchange(trash: Dir): void {
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

/** The same, once for as long as nothing says that it may be another filesystem. */
export class ExchangeProof {
  #isProven = false;

  forget(): void {
    this.#isProven = false;
  }

  /** @throws ERR_ROOT_UNSUPPORTED */
  require(trash: Dir): void {
    if (!this.#isProven) proveExchange(trash);
    this.#isProven = true;
  }
}

/** Undefined where the name is none of an item, or of one that holds no entry of this format. */
export function itemIdOf(id: string, format: Format): ItemId | undefined {
  const dot = id.indexOf('.');
  const role = dot === -1 ? undefined : format.roleOf(id.slice(dot + 1));
  return role?.role === 'Entry' ? { id, name: role.name } : undefined;
}

/**
 * What was evicted, read as it is gone through: a prune that was stopped may have left more than an agent can keep in mind. What is given
 * back or begun to be deleted meanwhile is no trouble. An item of another format's name cannot be given back here: it is left alone, like
 * anything that is not recognised.
 */
export async function* itemsIn(trash: Dir, format: Format, slices: Slices): AsyncGenerator<ItemId, void, undefined> {
  for await (const id of idsIn(trash, slices)) {
    const item = itemIdOf(id, format);
    if (item !== undefined) yield item;
  }
}

/** What is being deleted, in the same way. */
export async function* garbageIn(trash: Dir, format: Format, slices: Slices): AsyncGenerator<string, void, undefined> {
  for await (const id of idsIn(trash, slices)) if (itemIdOf(id, format) === undefined && !id.includes('.')) yield id;
}

/** Every name in it, also of what is not recognised. */
export async function* idsIn(trash: Dir, slices: Slices): AsyncGenerator<string, void, undefined> {
  for (const batch of batchesOf(trash)) {
    // As texts: the bytes of a batch are gone with the next.
    yield* batch.map(({ bytes }) => bytes.toString());
    if (slices.over) await slices.yield();
  }
}

/** More garbage is as good as so much: it is told to people. */
const mostLeftovers = 1_000;

/** What a purge could not delete, or has not yet. Nothing where the trash cannot be looked into: a scan needs no trash. @param own our folder, where there is one */
export async function leftInTrash(own: Dir | undefined, format: Format, slices: Slices): Promise<Leftover[]> {
  const opened = own?.openDirOrErrno(trashFolder);
  if (opened === undefined || typeof opened === 'number') return [];
  using trash = opened;
  const leftovers: Leftover[] = [];
  for await (const name of garbageIn(trash, format, slices)) {
    const stat = trash.statOf(name);
    if (stat !== undefined) leftovers.push({ name: `${trash.path}/${name}`, kind: 'Trash', changedAtMs: msOf(stat.changedNs), removable: true });
    if (leftovers.length === mostLeftovers) break;
  }
  return leftovers;
}

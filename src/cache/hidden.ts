import { batchesOf, namesBeginning } from '../disk/dir-entries.ts';
import type { Dir } from '../disk/dir.ts';
import { deleteTree } from '../disk/delete-tree.ts';
import { NameList } from '../disk/name-list.ts';
import type { Slices } from '../disk/slices.ts';
import type { Stat } from '../disk/stat.ts';
import { msOf } from '../disk/stat.ts';
import { OperatorError } from '../errors.ts';
import type { EntryName } from '../policy/snapshot.ts';
import type { Format } from './formats/format.ts';
import { ownFolder } from './own-search.ts';
import type { Ground } from './site.ts';

/**
 * How an entry leaves a disk on which neither a folder nor a link can be made: its directory is renamed within the cache's own directory, or into the
 * folder of another entry that has to go, and its metadata into its own folder. Such a rename needs no space where the directory has slack.
 *
 * The name is `.cachepolicy-<inode>.<old name>`, and is believed only where the inode is its own: an image that brings such a name does not know its
 * number. Who may write in the cache's directory can give any entry such a name (see sweep-hidden.ts). A sticky directory is one whose deletion has begun: nothing of it ever comes back.
 */
const prefix = `${ownFolder}-`;
const deletionBegun = 0o1700;
const pattern = new RegExp(`^${prefix.replaceAll('.', '\\.')}([0-9a-z]{1,13})\\.(.+)$`, 's');

/** Something under a name of that kind. `host`: the entry in whose folder it lies; undefined for the cache's own directory. */
export interface Hidden {
  readonly host: EntryName | undefined;
  readonly hiddenName: string;
  /** What it was called in the cache's own directory. */
  readonly name: string;
}

/** A tree that is hidden. */
export type HiddenTree = Hidden & { readonly name: EntryName };

/** The entry that a name of that kind stands for, as far as the name itself tells. */
export function entryHidden(name: string, format: Format): EntryName | undefined {
  const role = format.roleOf(pattern.exec(name)?.[2] ?? '');
  return role.role === 'Entry' ? role.name : undefined;
}

/** Everything of that kind in one directory. */
export function hiddenIn(dir: Dir, host: EntryName | undefined): Hidden[] {
  const names = namesBeginning(dir, prefix);
  return names.flatMap((hiddenName) => {
    const name = pattern.exec(hiddenName)?.[2];
    const stat = dir.statOf(hiddenName);
    return name !== undefined && stat !== undefined && isNamedBy(hiddenName, stat) ? [{ host, hiddenName, name }] : [];
  });
}

function isNamedBy(hiddenName: string, { inode }: Stat): boolean {
  return pattern.exec(hiddenName)?.[1] === inode.toString(36);
}

export function openHost(root: Dir, host: EntryName | undefined): Dir {
  return root.openDir(host ?? '.');
}

/** From here on the runtime sees a miss. @returns false where there is no metadata, or its folder has no slack */
export function hideMetadata({ root, format }: Ground, name: EntryName): boolean {
  if (format.kind !== 'Store') return true;
  const stat = root.statOf(format.metadataName(name));
  if (stat === undefined) return false;
  using dir = root.openDir(name);
  return withSlack(() => root.rename(format.metadataName(name), dir, hiddenNameOf(stat, format.metadataName(name)))) === 'Moved';
}

/** Puts metadata back beside its entry. What was written meanwhile is newer. */
export function showMetadata({ root, format }: Ground, name: EntryName): void {
  if (format.kind !== 'Store') return;
  using dir = root.openDirIfPresent(name);
  if (dir === undefined) return;
  for (const each of hiddenIn(dir, name)) {
    if (each.name === format.metadataName(name) && dir.rename(each.hiddenName, root, each.name) === 'Taken') dir.unlink(each.hiddenName);
  }
}

/** @param hosts where it may lie, if not in the cache's own directory @returns undefined where it is gone, or there is no slack anywhere */
export function hideTree({ root }: Ground, name: EntryName, hosts: readonly EntryName[]): HiddenTree | undefined {
  const stat = root.statOf(name);
  if (stat === undefined) return undefined;
  const hiddenName = hiddenNameOf(stat, name);
  for (const host of [undefined, ...hosts]) {
    using dir = openHost(root, host);
    const result = withSlack(() => keepingTime(root, host, () => root.rename(name, dir, hiddenName)));
    if (result === 'Moved' && dir.statOf(hiddenName)?.inode === stat.inode) return { host, hiddenName, name };
    // Swapped for another since it was looked at: that one was not asked.
    if (result === 'Moved') dir.rename(hiddenName, root, name);
    if (result !== undefined) return undefined;
  }
  return undefined;
}

/** @returns false where something newer has the name, or its deletion has begun */
export function showTree(ground: Ground, { host, hiddenName, name }: HiddenTree): boolean {
  const { root } = ground;
  using dir = openHost(root, host);
  if (isBeingDeleted(dir, hiddenName) || keepingTime(root, host, () => dir.rename(hiddenName, root, name)) !== 'Moved') return false;
  showMetadata(ground, name);
  return true;
}

export function isBeingDeleted(dir: Dir, hiddenName: string): boolean {
  return ((dir.statOf(hiddenName)?.mode ?? 0) & 0o7777) === deletionBegun;
}

/** @throws ERR_DISK_IO for the first that could not be deleted; then the rest is gone, and the next pass goes on */
export async function deleteHidden({ root }: Ground, { host, hiddenName }: HiddenTree, slices: Slices): Promise<void> {
  using dir = openHost(root, host);
  const timeMs = modifiedMs(root, host);
  using tree = dir.openDir(hiddenName);
  if (!isNamedBy(hiddenName, tree.stat())) throw new OperatorError('ERR_DISK_IO', `${dir.pathOf(hiddenName)} was replaced by another while it left; it is left alone`);
  // A crash before it: a whole tree, which may come back; after it one that never does.
  tree.setMode(deletionBegun);
  const names = new NameList();
  for (const batch of batchesOf(tree)) for (const { bytes } of batch) names.push(bytes);
  for (const name of names) {
    const { firstError } = await deleteTree(tree, name, { slices });
    if (firstError !== undefined) throw firstError;
  }
  if (!dir.rmdir(hiddenName)) throw new OperatorError('ERR_DISK_IO', `cannot remove ${dir.pathOf(hiddenName)}: somebody writes in it`);
  if (host !== undefined) root.touch(host, timeMs);
}

function hiddenNameOf({ inode }: Stat, name: string): string {
  return `${prefix}${inode.toString(36)}.${name}`;
}

/** A host's own time would tell of a use that was none. */
function keepingTime<T>(root: Dir, host: EntryName | undefined, act: () => T): T {
  const timeMs = modifiedMs(root, host);
  const result = act();
  if (host !== undefined) root.touch(host, timeMs);
  return result;
}

function modifiedMs(root: Dir, host: EntryName | undefined): number {
  const stat = root.statOf(host ?? '.');
  return stat === undefined ? 0 : msOf(stat.modifiedNs);
}

/** @returns undefined where the directory has no slack for one more name */
function withSlack<T>(act: () => T): T | undefined {
  try {
    return act();
  } catch (error) {
    if (error instanceof OperatorError && error.code === 'ERR_DISK_FULL') return undefined;
    throw error;
  }
}

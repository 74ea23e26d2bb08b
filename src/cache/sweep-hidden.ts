import { batchesOf } from '../disk/dir-entries.ts';
import type { Dir } from '../disk/dir.ts';
import { shown } from '../disk/disk-error.ts';
import { tryLockDirectory } from '../disk/lock.ts';
import { NameList } from '../disk/name-list.ts';
import type { Slices } from '../disk/slices.ts';
import { OperatorError } from '../errors.ts';
import type { Holds } from '../policy/holds.ts';
import { holdOf } from '../policy/holds.ts';
import type { EntryName } from '../policy/snapshot.ts';
import type { Format } from './formats/format.ts';
import type { Hidden, HiddenTree } from './hidden.ts';
import { descriptionIn } from './metadata-file.ts';
import { deleteHidden, entryHidden, hiddenIn, isBeingDeleted, openHost, showMetadata, showTree } from './hidden.ts';
import type { Ground } from './site.ts';
import { note } from './site.ts';

/** What a sweep came to. */
export interface Sweep {
  /** False where something is left: its error was noted. */
  readonly isClean: boolean;
  /** Trees that were deleted. */
  readonly deleted: number;
}

/**
 * Finishes what a process left that stopped while it made the first space on a full disk (first-space.ts): metadata comes back, and a tree that
 * nobody uses is deleted, for it was on its way out; where others may write in the cache's directory it comes back, unless its deletion has begun.
 * To be called where there is no reserve: as long as there is one, nothing is hidden.
 */
export async function sweepHidden(ground: Ground, slices: Slices): Promise<Sweep> {
  const { root, format } = ground;
  let isClean = true;
  let deleted = 0;
  let holds: Holds | undefined;
  for (const host of [undefined, ...foldersIn(root, format)]) {
    if (slices.over) await slices.yield();
    for (const hidden of namesHiddenIn(root, host)) {
      try {
        const name = entryHidden(hidden.hiddenName, format);
        if (name === undefined) {
          if (host !== undefined) showMetadata(ground, host);
          continue;
        }
        holds ??= ground.holders.read().holds;
        if (await finish(ground, { ...hidden, name }, holds, slices)) deleted += 1;
      } catch (error) {
        isClean = false;
        note(ground.errors, error, hidden.name);
      }
    }
  }
  return { isClean, deleted };
}

/** Held by whoever hides or sweeps. @throws ERR_LOCK_BUSY */
export function lockSweep(root: Dir): Disposable {
  const lock = tryLockDirectory(root);
  // Anybody who may read the directory may hold this lock, for ever: who it is, only the machine can tell.
  if (lock === undefined) throw new OperatorError('ERR_LOCK_BUSY', `a process holds a lock on the directory ${shown(root.path)} itself: another run of this program, or somebody's own; lslocks shows whose`);
  return lock;
}

/** Deletes the tree, or puts it back where it is in use or others may have named it so. @returns whether it was deleted */
async function finish(ground: Ground, tree: HiddenTree, holds: Holds, slices: Slices): Promise<boolean> {
  const { root } = ground;
  using dir = openHost(root, tree.host);
  if (isBeingDeleted(dir, tree.hiddenName) || !(isOpenToOthers(tree, root) || (await isUsed(ground, dir, { tree, holds, slices })))) {
    await deleteHidden(ground, tree, slices);
    return true;
  }
  const path = dir.pathOf(tree.hiddenName);
  if (tree.host !== undefined && !mayComeBack(root, dir, tree.hiddenName)) throw new OperatorError('ERR_ENTRY_IN_USE', `${path} is in use, and its owner may not write ${root.path}: rename it to ${tree.name} or remove it`);
  if (!showTree(ground, tree)) throw new OperatorError('ERR_ENTRY_IN_USE', `${path} cannot come back, because something newer is called ${tree.name}: rename or remove one of the two`);
  return false;
}

async function isUsed({ format, holders }: Ground, dir: Dir, { tree: { hiddenName, name }, holds, slices }: { tree: HiddenTree; holds: Holds; slices: Slices }): Promise<boolean> {
  using opened = dir.openDir(hiddenName);
  const metadata = format.kind === 'Store' ? hiddenIn(opened, name).find((each) => each.name === format.metadataName(name)) : undefined;
  const description = metadata && descriptionIn(opened, format, name, metadata.hiddenName);
  return holdOf(holds, { name, description }) !== undefined || (await holders.probe({ parent: dir, name: hiddenName }, slices)).hold !== undefined;
}

/** Whether others can rename what lies there: they may have given such a name to an entry that nobody wants gone. */
function isOpenToOthers({ host }: Hidden, root: Dir): boolean {
  return host === undefined && (root.stat().mode & 0o022) !== 0;
}

/** Somebody who may write in an entry but not in the cache's directory must not get a folder of theirs into it by such a name. */
function mayComeBack(root: Dir, dir: Dir, hiddenName: string): boolean {
  const owner = dir.statOf(hiddenName)?.uid;
  return owner === 0 || owner === process.geteuid?.() || owner === root.stat().uid;
}

function namesHiddenIn(root: Dir, host: EntryName | undefined): readonly Hidden[] {
  // A mount, or a folder that may not be opened: nothing was moved in there.
  const opened = root.openDirOrErrno(host ?? '.');
  if (typeof opened === 'number') return [];
  using dir = opened;
  return hiddenIn(dir, host);
}

function* foldersIn(root: Dir, format: Format): Generator<EntryName> {
  const names = new NameList();
  for (const batch of batchesOf(root)) for (const { bytes, kind } of batch) if (kind === 'Directory' || kind === 'Unknown') names.push(bytes);
  for (const bytes of names) {
    const role = format.roleOf(bytes.toString());
    if (role.role === 'Entry') yield role.name;
  }
}

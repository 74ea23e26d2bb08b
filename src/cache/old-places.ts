import type { Dir } from '../disk/dir.ts';
import { tryLock } from '../disk/lock.ts';
import { Slices } from '../disk/slices.ts';
import { isSameFile } from '../disk/stat.ts';
import { OperatorError } from '../errors.ts';
import { shown } from '../disk/disk-error.ts';
import { trashFolder } from './own-folder.ts';
import { identityFile, isOfThisMachine, readIdentity } from './own-identity.ts';
import type { OwnSource } from './own-search.ts';
import { ownNames, searchOwn } from './own-search.ts';
import { recover } from './recover.ts';
import { removeReserve } from './reserve.ts';
import type { Site } from './site.ts';
import { note } from './site.ts';
import { idsIn, newGarbageName } from './trash.ts';

/** What one process remembers for the next. */
const memories = ['state', 'clock', 'journal', 'measures', 'index'] as const;

/**
 * Takes over what lies in other folders of ours for the same cache: where an earlier version had it, in the cache itself, or where a process
 * that was allowed other roots made one. What is half out is put back first, what rests moves into our trash, what is remembered comes along,
 * and the folder goes. To be called under the pass lock. A crash leaves the rest for the next pass.
 * @returns how many evicted entries came back
 * @throws ERR_LOCK_BUSY where a process works there
 */
export async function takeOver(site: Site): Promise<number> {
  using search = searchOwn(site.place);
  const own = site.own.stat();
  const others = [...search.current, ...(search.unnamed === undefined ? [] : [search.unnamed])].filter(({ dir }) => !isSameFile(dir.stat(), own));
  let revived = 0;
  for (const source of others) {
    try {
      revived += await takeOverFrom(source, site);
    } catch (error) {
      if (error instanceof OperatorError && error.code === 'ERR_LOCK_BUSY') throw error;
      note(site.errors, error);
    }
  }
  return revived;
}

async function takeOverFrom({ dir, parent, name }: OwnSource, site: Site): Promise<number> {
  const isOpenToOthers = ((dir.statOf('lock')?.mode ?? 0) & 0o077) !== 0;
  using lock = tryLock(dir, 'lock', 0o600);
  if (lock === undefined) {
    // Earlier versions sometimes made a lock that others may take, for ever: that one stops no pass.
    if (isOpenToOthers) return 0;
    throw new OperatorError('ERR_LOCK_BUSY', `another process works in ${shown(site.root.path)}, with its lock at ${dir.pathOf('lock')}`);
  }
  const revived = await takeTrash(dir, site);
  const identity = readIdentity(dir);
  if (identity === 'Absent' || (typeof identity === 'object' && isOfThisMachine(identity))) for (const each of memories) takeMemory(dir, site.own, each);
  removeReserve(dir);
  for (const each of ownNames) if (each !== trashFolder && each !== 'spare' && each !== 'lock' && each !== identityFile) dir.unlink(each);
  // From here on it is none of ours to anybody.
  dir.unlink(identityFile);
  dir.unlink('lock');
  parent.rmdir(name);
  return revived;
}

async function takeTrash(dir: Dir, site: Site): Promise<number> {
  using trash = dir.openDirIfPresent(trashFolder);
  if (trash === undefined) return 0;
  const revived = await recover({ ...site, trash }, site.holders.read().holds);
  const slices = new Slices(site.signal);
  // What moves away while the directory is read may hide others from the reader.
  for (let moved = 1; moved > 0; ) {
    moved = 0;
    for await (const id of idsIn(trash, slices)) if (trash.rename(id, site.trash, site.trash.statOf(id) === undefined ? id : newGarbageName()) === 'Moved') moved += 1;
  }
  dir.rmdir(trashFolder);
  return revived;
}

/** What is there already is the newer one. */
function takeMemory(dir: Dir, own: Dir, name: string): void {
  const stat = dir.statOf(name);
  if (stat?.kind === 'File' && stat.uid === process.geteuid?.() && stat.nlink === 1) dir.rename(name, own, name);
}

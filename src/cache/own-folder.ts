import type { Dir } from '../disk/dir.ts';
import type { FileLock } from '../disk/lock.ts';
import { tryLock, waitForLock } from '../disk/lock.ts';
import { shown } from '../disk/disk-error.ts';
import { OperatorError } from '../errors.ts';

/** What we keep below a cache root: `lock`, `state`, `clock` (clock-record.ts), `index` (index-file.ts), `journal`, `trash/` and the reserve (reserve.ts). The runtime skips dot names. */
export const ownFolder = '.cachepolicy';
export const trashFolder = 'trash';
const lockName = 'lock';
/** How long to wait for a pass, which settles twice. */
const passPatienceMs = 60_000;
/** Nobody else is led here: an entry stands in the cache's own directory for as long as its path leads to it. */
export const folderMode = 0o700;

/**
 * Makes what is missing of our folder, and takes the lock that one pass at a time holds.
 * @throws ERR_LOCK_BUSY where another process works in this cache
 */
export function lockPasses(root: Dir): FileLock {
  using own = openOwnFolder(root);
  const lock = tryLock(own, lockName, 0o600);
  if (lock === undefined) throw new OperatorError('ERR_LOCK_BUSY', `another process works in ${shown(root.path)}`);
  return lock;
}

/** The same, waiting for a pass to end. */
export async function waitForPasses(root: Dir): Promise<FileLock> {
  using own = openOwnFolder(root);
  return await waitForLock(own, lockName, { timeoutMs: passPatienceMs });
}

export function openTrash(root: Dir): Dir {
  using own = openOwnFolder(root);
  return openPassage(own, trashFolder);
}

/** Made where it is missing. */
export function openOwnFolder(root: Dir): Dir {
  return openPassage(root, ownFolder);
}

function openPassage(dir: Dir, name: string): Dir {
  using scope = new DisposableStack();
  const passage = scope.use(dir.ensureDir(name, folderMode));
  passage.ensureMode(folderMode);
  scope.move();
  return passage;
}

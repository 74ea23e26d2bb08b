import { randomBytes } from 'node:crypto';
import { contains } from '../api/paths.ts';
import { batchesOf } from '../disk/dir-entries.ts';
import type { Dir } from '../disk/dir.ts';
import { shown } from '../disk/disk-error.ts';
import type { FileLock } from '../disk/lock.ts';
import { tryLock, tryLockDirectory, waitForLock } from '../disk/lock.ts';
import { OperatorError } from '../errors.ts';
import { belongsTo, identityFile, isOfThisMachine, newIdentity, readIdentity, writeIdentity } from './own-identity.ts';
import { thisMachine } from './machine.ts';
import type { OwnPlace } from './own-search.ts';
import { findOwn, foldersIn, isOwnMode, nameOf, openOurs, ownFolder, ownMode, searchOwn } from './own-search.ts';

/**
 * Our folder of a cache (own-search.ts says where it is) holds `identity`, `lock`, `state`, `clock`, `index`, `measures`, `journal`, `trash/` and
 * the reserve (reserve.ts). Others can neither read nor change any of it.
 */
export const trashFolder = 'trash';
const lockName = 'lock';
/** How long to wait for a pass, which settles twice. */
const passPatienceMs = 60_000;
/** What only the machine it was written on may believe. */
const memories = ['state', 'clock', 'index', 'measures', 'journal'] as const;

/**
 * Opens our folder of a cache, and makes it where there is none. The caller closes it.
 * @throws ERR_ROOT_UNSAFE where no place serves but the cache itself, and there somebody else's has the name; ERR_DISK_*
 */
export function openOwn(place: OwnPlace): Dir {
  using search = searchOwn(place);
  const [found] = search.current;
  if (found !== undefined) return found.dir.reopen();
  const allowed = search.levels.filter((level) => place.allowedRoots.some((root) => contains(root, level.path)) && isSafe(level));
  for (const level of allowed) {
    const made = makeUnlessRefused(level, place.root);
    if (made !== undefined) return made;
  }
  return search.unnamed?.dir.reopen() ?? makeInside(place.root, search.foreign);
}

/** Nobody but root and this user can take away what lies there. */
function isSafe(level: Dir): boolean {
  const { uid, mode } = level.stat();
  return (uid === 0 || uid === process.geteuid?.()) && ((mode & 0o022) === 0 || (mode & 0o1000) !== 0);
}

/** @returns undefined where it cannot be made there, or nothing can move between it and the cache (another project's quota) */
function makeUnlessRefused(level: Dir, root: Dir): Dir | undefined {
  try {
    return makeOutside(level, root);
  } catch (error) {
    if (!(error instanceof OperatorError) || error.code === 'ERR_DISK_FULL' || error.code === 'ERR_LOCK_BUSY') throw error;
    return undefined;
  }
}

function makeOutside(level: Dir, root: Dir): Dir | undefined {
  const isNew = level.mkdir(ownFolder, ownMode);
  if (isNew) {
    using top = level.openDir(ownFolder);
    top.ensureMode(ownMode);
  }
  const opened = openOurs(level, ownFolder, { isMode: isOwnMode, foreign: [] });
  if (opened === undefined) return undefined;
  using top = opened;
  using _making = lockMaking(top);
  const [first, ...others] = foldersIn(top, root);
  for (const { dir } of others) dir[Symbol.dispose]();
  try {
    return first?.dir ?? makeFolder(top, root);
  } catch (error) {
    if (isNew && error instanceof OperatorError) level.rmdir(ownFolder);
    throw error;
  }
}

/** Two processes that make one for the same cache must come to the same. Made in some milliseconds: it is waited for without giving way. */
function lockMaking(top: Dir): FileLock {
  const cell = new Int32Array(new SharedArrayBuffer(4));
  for (let tries = 0; tries < 200; tries += 1) {
    const lock = tryLockDirectory(top);
    if (lock !== undefined) return lock;
    Atomics.wait(cell, 0, 0, 5);
  }
  throw new OperatorError('ERR_LOCK_BUSY', `another process makes a folder in ${shown(top.path)}`);
}

/** Under another name until it is whole: a crash leaves `new-…`, which the next one to make a folder removes. */
function makeFolder(top: Dir, root: Dir): Dir {
  const random = newRandom();
  const prefix = `new-${nameOf(root, '')}`;
  removeUnfinished(top, root, prefix);
  const unfinished = prefix + random;
  top.mkdir(unfinished, ownMode);
  try {
    using dir = top.openDir(unfinished);
    dir.ensureMode(ownMode);
    proveExchange(dir, root, random);
    writeIdentity(dir, newIdentity(root, random));
    const name = nameOf(root, random);
    top.rename(unfinished, top, name);
    return top.openDir(name);
  } catch (error) {
    if (error instanceof OperatorError) removeUnfinished(top, root, prefix);
    throw error;
  }
}

/** Between a name of ours in it and one in the cache: with one filesystem, but two mounts or two projects with quotas, it fails. */
function proveExchange(own: Dir, root: Dir, random: string): void {
  const name = trialName(random);
  own.symlink(name, trialLink);
  try {
    root.symlink(name, name);
    own.exchange(trialLink, root, name);
  } finally {
    removeTrial(root, random);
    own.unlink(trialLink);
  }
}

const trialLink = 'trial';

function trialName(random: string): string {
  return `${ownFolder}.${random}`;
}

function removeTrial(root: Dir, random: string): void {
  const name = trialName(random);
  if (root.readlink(name) === name && root.statOf(name)?.uid === process.geteuid?.()) root.unlink(name);
}

function removeUnfinished(top: Dir, root: Dir, prefix: string): void {
  for (const name of unfinishedIn(top, prefix)) {
    using dir = top.openDir(name);
    removeTrial(root, name.slice(prefix.length));
    for (const each of [trialLink, identityFile, `${identityFile}.new`]) dir.unlink(each);
    top.rmdir(name);
  }
}

function unfinishedIn(top: Dir, prefix: string): string[] {
  const names: string[] = [];
  for (const batch of batchesOf(top)) for (const { bytes } of batch) if (bytes.toString().startsWith(prefix)) names.push(bytes.toString());
  return names;
}

function newRandom(): string {
  return randomBytes(6).toString('hex');
}

function makeInside(root: Dir, foreign: string | undefined): Dir {
  root.mkdir(ownFolder, ownMode);
  const found: string[] = [];
  const own = openOurs(root, ownFolder, { isMode: isOwnMode, foreign: found });
  // Also one that is there and belongs to another cache.
  if (own !== undefined && foreign === undefined) return own;
  own?.[Symbol.dispose]();
  throw new OperatorError('ERR_ROOT_UNSAFE', `the folder of this operator for ${shown(root.path)} cannot be made: in its place is ${foreign ?? found.join()}`);
}

/**
 * Takes the lock that one pass at a time holds.
 * @throws ERR_LOCK_BUSY where another process works in this cache
 */
export function lockPasses(own: Dir, root: Dir): FileLock {
  const lock = tryLock(own, lockName, 0o600);
  if (lock === undefined) throw new OperatorError('ERR_LOCK_BUSY', `another process works in ${shown(root.path)}`);
  return settled(lock, own, root);
}

/** The same, waiting for a pass to end. */
export async function waitForPasses(own: Dir, root: Dir): Promise<FileLock> {
  return settled(await waitForLock(own, lockName, { timeoutMs: passPatienceMs, mode: 0o600 }), own, root);
}

/** Under the lock: a folder of another machine, or of the directory that this one is a copy of, forgets; what rests in its trash stays. */
function settled(lock: FileLock, own: Dir, root: Dir): FileLock {
  using scope = new DisposableStack();
  scope.use(lock);
  own.ensureMode(ownMode);
  const identity = readIdentity(own);
  const isKnown = typeof identity === 'object' && belongsTo(identity, root) && isOfThisMachine(identity);
  if (identity !== 'Absent' && !isKnown) for (const name of memories) own.unlink(name);
  if (!isKnown || identity.machine.boot !== thisMachine().boot) writeUnlessFull(own, newIdentity(root, typeof identity === 'object' ? identity.random : newRandom()));
  scope.move();
  return lock;
}

/** On a full disk it is written by a later pass: until then the folder is one without an identity. */
function writeUnlessFull(own: Dir, identity: ReturnType<typeof newIdentity>): void {
  try {
    writeIdentity(own, identity);
  } catch (error) {
    if (!(error instanceof OperatorError) || error.code !== 'ERR_DISK_FULL') throw error;
  }
}

/** Made where it is missing. */
export function openTrash(own: Dir): Dir {
  using scope = new DisposableStack();
  const trash = scope.use(own.ensureDir(trashFolder, ownMode));
  trash.ensureMode(ownMode);
  scope.move();
  return trash;
}

/** Our folder of a cache and its trash, open. */
export interface OwnDirs {
  readonly own: Dir;
  readonly trash: Dir;
}

/** The same under the lock of passes, made where they are missing. @throws ERR_LOCK_BUSY, ERR_ROOT_UNSAFE, ERR_DISK_* */
export function openLocked(place: OwnPlace): OwnDirs & Disposable {
  using scope = new DisposableStack();
  const own = scope.use(openOwn(place));
  scope.use(lockPasses(own, place.root));
  return withTrash(own, scope.use(openTrash(own)), scope.move());
}

/** The same, waiting for a pass to end. */
export async function waitForLocked(place: OwnPlace): Promise<OwnDirs & Disposable> {
  using scope = new DisposableStack();
  const own = scope.use(openOwn(place));
  scope.use(await waitForPasses(own, place.root));
  return withTrash(own, scope.use(openTrash(own)), scope.move());
}

function withTrash(own: Dir, trash: Dir, stack: DisposableStack): OwnDirs & Disposable {
  return { own, trash, [Symbol.dispose]: () => stack.dispose() };
}

/** Our folder and its trash, for who neither makes them nor takes over what lies in an old place. Undefined where nothing was evicted yet. */
export function findTrash(place: OwnPlace, { unnamed = false }: { unnamed?: boolean } = {}): (OwnDirs & Disposable) | undefined {
  using scope = new DisposableStack();
  const own = findOwn(place, { unnamed });
  const trash = own && scope.use(own).openDirIfPresent(trashFolder);
  if (own === undefined || trash === undefined) return undefined;
  return withTrash(own, scope.use(trash), scope.move());
}

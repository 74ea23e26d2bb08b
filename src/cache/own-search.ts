import { batchesOf } from '../disk/dir-entries.ts';
import type { Dir } from '../disk/dir.ts';
import { openLevels } from '../disk/levels.ts';
import type { FormatName } from '../policy/compiled.ts';
import { belongsTo, identityFile, isOfThisMachine, marksOf, readIdentity } from './own-identity.ts';

/** What we keep of a cache has this name; see own-folder.ts for what is in it. The runtime of a store skips dot names. */
export const ownFolder = '.cachepolicy';
/** Nobody else is led into it: an entry stands in the cache's own directory for as long as its path leads to it. */
export const ownMode = 0o700;
/** As versions before this one made it. */
const oldMode = 0o711;

/** A cache, as far as it decides where our folder is. */
export interface OwnPlace {
  readonly root: Dir;
  readonly allowedRoots: readonly string[];
  readonly format: FormatName;
}

/** One folder of ours. */
export interface OwnSource {
  readonly dir: Dir;
  /** Where it has its name. */
  readonly parent: Dir;
  readonly name: string;
}

/** What there is of ours; everything is closed with it. */
export interface OwnSearch extends Disposable {
  /** Belong to this very directory, the deepest first: that one everybody can see who can see the cache. */
  readonly current: readonly OwnSource[];
  /** In the cache itself, as earlier versions made it, or one that nobody has locked yet: without an identity. */
  readonly unnamed: OwnSource | undefined;
  /** The directories above the cache, from the top down, as far as they lie on its mount; none for a store. */
  readonly levels: readonly Dir[];
  /** What has our name in the cache itself and is not ours, in words. */
  readonly foreign: string | undefined;
}

/**
 * Finds our folder of a cache. A store has it in its own directory, which belongs to the home of a runtime; a `directory` cache outside, in
 * `.cachepolicy/<inode>-<birth time>-<random>/` of a directory above it, or in itself where no other place served. All directories above
 * are searched, not only the allowed ones: command line and agent may be allowed different ones, and must meet at one lock.
 *
 * Each is looked at through its open handle. It is ours if this user owns it, it has the rights it was made with, and no link leads to it;
 * and this cache's, if its identity says so.
 */
export function searchOwn({ root, format }: OwnPlace): OwnSearch {
  using scope = new DisposableStack();
  const foreign: string[] = [];
  const current: OwnSource[] = [];
  let unnamed: OwnSource | undefined;
  const isStore = format !== 'directory';
  const inside = openOurs(root, ownFolder, { isMode: isStore && isOurAlone(root) ? isClosed : isModeInside, foreign });
  const identity = inside && readIdentity(scope.use(inside));
  const found = inside && { dir: inside, parent: root, name: ownFolder };
  const isNamed = identity !== 'Absent';
  // Whoever copied a store copied our folder with it: nobody else can put one there, because the home belongs to the runtime.
  if (found !== undefined && (isNamed ? isStore || isOf(identity, root) : isStore && hasOnlyOurs(found.dir))) current.push(found);
  else if (found !== undefined && !isNamed && hasOnlyOurs(found.dir)) unnamed = found;
  else if (found !== undefined) foreign.push(`${root.pathOf(ownFolder)}, a directory of this user that was not made for this cache`);
  const levels = isStore ? [] : ownLevels(root, scope);
  for (const level of levels.toReversed()) current.push(...searchLevel(level, root, scope));
  const stack = scope.move();
  return { current, unnamed, levels, foreign: foreign[0], [Symbol.dispose]: () => stack.dispose() };
}

/** Only where nothing is mounted between the two a name can move from one to the other. */
function ownLevels(root: Dir, scope: DisposableStack): Dir[] {
  const { mountId } = root.stat();
  return openLevels(root).map((level) => scope.use(level)).filter((level) => level.stat().mountId === mountId);
}

function searchLevel(level: Dir, root: Dir, scope: DisposableStack): OwnSource[] {
  const top = openOurs(level, ownFolder, { isMode: isOwnMode, foreign: [] });
  return top === undefined ? [] : foldersIn(scope.use(top), root).map((found) => (scope.use(found.dir), found));
}

function isOf(identity: ReturnType<typeof readIdentity>, root: Dir): boolean {
  return typeof identity === 'object' && belongsTo(identity, root);
}

/** Folders of one cache, in what all caches below a directory share. To be closed by the caller. */
export function foldersIn(top: Dir, root: Dir): OwnSource[] {
  const found: OwnSource[] = [];
  for (const name of namesOf(top, root)) {
    const dir = openOurs(top, name, { isMode: isOwnMode, foreign: [] });
    if (dir === undefined) continue;
    const identity = readIdentity(dir);
    if (typeof identity === 'object' && isOf(identity, root) && name === nameOf(root, identity.random)) found.push({ dir, parent: top, name });
    else dir[Symbol.dispose]();
  }
  return found;
}

export function nameOf(root: Dir, random: string): string {
  const { inode, bornNs } = marksOf(root);
  return `${inode}-${bornNs}-${random}`;
}

/** A folder for each cache below, and nobody else can make names there; all the same it is read to an end. */
const mostNames = 100_000;

function namesOf(top: Dir, root: Dir): string[] {
  const prefix = nameOf(root, '');
  const names: string[] = [];
  let met = 0;
  for (const batch of batchesOf(top)) {
    for (const { bytes } of batch) if (bytes.subarray(0, prefix.length).toString() === prefix) names.push(bytes.toString());
    met += batch.length;
    if (met > mostNames) break;
  }
  return names.toSorted();
}

/** What all versions keep in our folder of a cache. */
export const ownNames: ReadonlySet<string> = new Set(['lock', 'trash', 'reserve', 'spare', ...[identityFile, 'state', 'clock', 'index', 'journal', 'measures'].flatMap((name) => [name, `${name}.new`])]);

/** Somebody else's folder that was given our name is not taken for ours, also where it belongs to this user. */
function hasOnlyOurs(dir: Dir): boolean {
  for (const batch of batchesOf(dir)) for (const { bytes } of batch) if (!ownNames.has(bytes.toString())) return false;
  return true;
}

export function isOwnMode(mode: number): boolean {
  return mode === ownMode;
}

function isModeInside(mode: number): boolean {
  return mode === ownMode || mode === oldMode;
}

/** Nobody else can write in it. A copy of a store may have lost the rights of our folder; it gets them back under the lock. */
function isClosed(mode: number): boolean {
  return (mode & 0o022) === 0;
}

/** Nobody else can make or move names in it. */
function isOurAlone(root: Dir): boolean {
  const { uid, mode } = root.stat();
  return uid === process.geteuid?.() && isClosed(mode);
}

/** @returns undefined where nothing has the name, or what has it is not ours; then `foreign` says what it is */
export function openOurs(parent: Dir, name: string, { isMode, foreign }: { isMode: (mode: number) => boolean; foreign: string[] }): Dir | undefined {
  const named = parent.statOf(name);
  if (named === undefined) return undefined;
  const opened = parent.openDirOrErrno(name);
  const stat = typeof opened === 'number' ? named : opened.stat();
  if (typeof opened !== 'number' && stat.uid === process.geteuid?.() && isMode(stat.mode & 0o777)) return opened;
  if (typeof opened !== 'number') opened[Symbol.dispose]();
  const what = stat.kind === 'Directory' ? `directory (mode ${(stat.mode & 0o777).toString(8)})` : stat.kind === 'Link' ? 'symbolic link' : 'file';
  foreign.push(`${parent.pathOf(name)}, a ${what} of user ${stat.uid}`);
  return undefined;
}

/**
 * Our folder as it is, for who only reads: also one without an identity. Undefined where there is none, and where it comes from another
 * machine: what that one remembered says nothing here. The caller closes it.
 */
export function findOwn(place: OwnPlace, { unnamed = true }: { unnamed?: boolean } = {}): Dir | undefined {
  using search = searchOwn(place);
  const found = search.current[0] ?? (unnamed ? search.unnamed : undefined);
  const identity = found && readIdentity(found.dir);
  if (found === undefined || (typeof identity === 'object' && !(isOfThisMachine(identity) && belongsTo(identity, place.root)))) return undefined;
  return found.dir.reopen();
}

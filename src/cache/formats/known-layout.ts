import type { Dirent, Stats } from 'node:fs';
import { lstatSync, opendirSync } from 'node:fs';
import { dirname } from 'node:path';
import { contains } from '../../api/paths.ts';
import type { Dir } from '../../disk/dir.ts';
import { asDiskError, shown } from '../../disk/disk-error.ts';
import { errnoOf, OperatorError } from '../../errors.ts';
import type { LayoutReader } from '../../policy/layout-signs.ts';
import { layoutOf } from '../../policy/layout-signs.ts';
import type { Layout } from '../../policy/layouts.ts';

/**
 * Refuses a directory that is or lies inside a store of which a child is no entry: see the table in policy/layouts.ts. By path, because it only reads:
 * the directory itself was opened without following a link. Costs about a hundred stats, so that every pass asks again.
 * @throws ERR_ROOT_KNOWN_LAYOUT; ERR_ROOT_UNREADABLE where it cannot be told
 */
export function refuseKnownLayout(root: Dir, allowedRoots: readonly string[]): void {
  for (let top = root.path; allowedRoots.some((allowed) => contains(allowed, top)); top = dirname(top)) {
    const below = root.path.slice(top.length + 1);
    const layout = layoutOf(new DiskReader(top), below);
    if (layout === undefined) continue;
    const where = below === '' ? `is ${layout.what}` : `lies inside ${layout.what}, ${shown(top)}`;
    throw new OperatorError('ERR_ROOT_KNOWN_LAYOUT', `${shown(root.path)} ${where}: ${adviceFor(layout, top)}`);
  }
}

/** With the path that was meant, where there is one that would not be refused in turn. */
function adviceFor({ advice, instead }: Layout, top: string): string {
  const meant = instead === undefined ? undefined : instead === '..' ? dirname(top) : `${top}/${instead}`;
  if (meant === undefined || new DiskReader(meant).kindOf('') !== 'Folder') return advice;
  const refused = layoutOf(new DiskReader(meant));
  return refused === undefined ? `${advice}: name ${shown(meant)}` : refused.advice;
}

/** So many names of a folder are listed. */
const mostNames = 512;
/** Gone, or no folder any more; or closed to this process, which could not delete anything there either. */
const absent: ReadonlySet<string> = new Set(['ENOENT', 'ENOTDIR', 'EACCES']);

type Kind = ReturnType<LayoutReader['kindOf']>;

interface Listing {
  readonly kinds: ReadonlyMap<string, Kind>;
  /** There is nothing else in the folder. */
  readonly isWhole: boolean;
}

/** One directory. Remembers what it read: many signs ask for the same names, and most ask for names that the first listing shows to be absent. */
class DiskReader implements LayoutReader {
  readonly path: string;
  readonly #kinds = new Map<string, Kind>();
  readonly #listings = new Map<string, Listing>();

  constructor(path: string) {
    this.path = path;
    this.#list('');
  }

  kindOf(path: string): Kind {
    const slash = path.lastIndexOf('/');
    const listing = this.#listings.get(path.slice(0, Math.max(0, slash)));
    const name = path.slice(slash + 1);
    if (path !== '' && listing !== undefined && (listing.isWhole || listing.kinds.has(name))) return listing.kinds.get(name);
    if (!this.#kinds.has(path)) this.#kinds.set(path, this.#read(path, kindAt, undefined));
    return this.#kinds.get(path);
  }

  namesIn(path: string): readonly string[] {
    return [...this.#list(path).kinds.keys()];
  }

  #list(path: string): Listing {
    const listing = this.#listings.get(path) ?? this.#read(path, listingOf, { kinds: new Map(), isWhole: false });
    this.#listings.set(path, listing);
    return listing;
  }

  #read<T>(path: string, read: (path: string) => T, nothing: T): T {
    try {
      return read(`${this.path}/${path}`);
    } catch (error) {
      if (absent.has(errnoOf(error) ?? '')) return nothing;
      throw asDiskError(`tell what ${shown(this.path)} is`, error, 'ERR_ROOT_UNREADABLE');
    }
  }
}

function kindAt(path: string): Kind {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  return stat && kindOf(stat);
}

function kindOf(found: Stats | Dirent): Kind {
  return found.isDirectory() ? 'Folder' : found.isSymbolicLink() ? 'Link' : 'File';
}

function listingOf(path: string): Listing {
  const kinds = new Map<string, Kind>();
  using dir = opendirSync(path, { bufferSize: mostNames });
  for (let child = dir.readSync(); child !== null; child = dir.readSync()) {
    if (kinds.size === mostNames) return { kinds, isWhole: false };
    // A filesystem that does not say what a name is has to be asked.
    const isUntold = !child.isDirectory() && !child.isFile() && !child.isSymbolicLink();
    kinds.set(child.name, isUntold ? kindAt(`${path}/${child.name}`) : kindOf(child));
  }
  return { kinds, isWhole: true };
}

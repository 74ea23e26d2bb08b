/** Paths of caches. Always compared by whole components: /var/cache-x is not below /var/cache. */

export type Store = 'Rootfs' | 'Layers';

const storeFolders: Readonly<Record<Store, string>> = { Rootfs: 'rootfs', Layers: 'layers' };

/** A store of the runtime, as a policy names it. */
export interface A3sStore {
  readonly home: string;
  readonly store: Store;
  /** Where the runtime keeps its cache apart from the home. */
  readonly cacheDir?: string;
}

/** The directory whose children are the store's entries. */
export function storeRoot({ home, store, cacheDir = `${home}/cache` }: A3sStore): string {
  return `${cacheDir}/${storeFolders[store]}`;
}

/** PATH_MAX of Linux, without the NUL at the end. */
const maxPathBytes = 4095;

/** Absolute, of the characters the CRD allows and no more of them than the kernel takes, and with no `.`, `..`, empty component or slash at the end: one path has one spelling. */
export function isNormalPath(path: string): boolean {
  return path.length <= maxPathBytes && /^(\/[A-Za-z0-9_.@:+-]+)+$/.test(path) && !/\/\.\.?(\/|$)/.test(path);
}

/** The same path, or an ancestor of it. Both in normal form. */
export function contains(ancestor: string, path: string): boolean {
  return path === ancestor || path.startsWith(`${ancestor}/`);
}

export function isStrictlyBelow(path: string, ancestor: string): boolean {
  return path !== ancestor && contains(ancestor, path);
}

/** The allowed root that a path lies strictly below; undefined where none does, or where the path is not in normal form. */
export function allowedRootOf(path: string, allowedRoots: readonly string[]): string | undefined {
  return isNormalPath(path) ? allowedRoots.find((root) => isStrictlyBelow(path, root)) : undefined;
}

/** What a cache takes for itself: its root with all that lies in it, and that the home of its runtime is nobody's entry. */
export interface Territory {
  readonly root: string;
  readonly home: string | null;
}

export function territoryOf(store: A3sStore): Territory & { readonly home: string } {
  return { root: storeRoot(store), home: store.home };
}

/** Whether what one cache evicts may be of use to the other. */
export function overlap(one: Territory, other: Territory): boolean {
  const nested = contains(one.root, other.root) || contains(other.root, one.root);
  return nested || holds(one, other.home) || holds(other, one.home) || isStrayIn(other.home, one) || isStrayIn(one.home, other);
}

/** What belongs to no runtime has no business in the home of one. */
function isStrayIn(home: string | null, { root, home: own }: Territory): boolean {
  return home !== null && own === null && contains(home, root);
}

function holds({ root }: Territory, home: string | null): boolean {
  return home !== null && contains(root, home);
}

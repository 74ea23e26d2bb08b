/** Paths of caches. Always compared by whole components: /var/cache-x is not below /var/cache. */

export type Store = 'Rootfs' | 'Layers';

const storeFolders: Readonly<Record<Store, string>> = { Rootfs: 'rootfs', Layers: 'layers' };

/** The directory of a home whose children are the store's entries. */
export function storeRoot(home: string, store: Store): string {
  return `${home}/cache/${storeFolders[store]}`;
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

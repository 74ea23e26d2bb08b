import { contains } from '../api/paths.ts';
import type { Mount } from './mounts.ts';
import { unescaped } from './mounts.ts';

/** A directory by where it lies in its filesystem: the same whatever mount leads to it, and whatever it is called there. */
export interface Place {
  readonly device: string;
  /** From the top of the filesystem, which is the empty text. */
  readonly path: string;
}

/** What a mount shows at a path. */
export function placeOn({ device, root, mountPoint }: Mount, path: string): Place {
  return { device, path: withoutTop(root) + withoutTop(path).slice(withoutTop(mountPoint).length) };
}

/**
 * Where paths lead, if no symbolic link is on the way; undefined where this process sees no mount above one. Of two mounts on the same
 * point the later one hides the other.
 */
export function placeFinder(mounts: readonly Mount[]): (path: string) => Place | undefined {
  // Layers of overlays lie side by side: what is above them is looked up once.
  const known = new Map<string, Place | undefined>(mounts.map((mount) => [mount.mountPoint, placeOn(mount, mount.mountPoint)]));
  const above = (path: string): Place | undefined => {
    if (!known.has(path)) known.set(path, find(path));
    return known.get(path);
  };
  const find = (path: string): Place | undefined => {
    const slash = path.lastIndexOf('/');
    if (slash === -1 || path === '/') return undefined;
    const parent = above(slash === 0 ? '/' : path.slice(0, slash));
    return parent && { device: parent.device, path: parent.path + path.slice(slash) };
  };
  return (path) => known.get(path) ?? find(path);
}

/** The components of a place strictly below another; undefined where it is not. */
export function componentsBelow(outer: Place, { device, path }: Place): string[] | undefined {
  return device === outer.device && path !== outer.path && contains(outer.path, path) ? path.slice(outer.path.length + 1).split('/') : undefined;
}

function withoutTop(path: string): string {
  return path === '/' ? '' : path;
}

/**
 * The directories that an overlay is laid over, by the paths that whoever mounted it gave. Kernels show one list (`lowerdir=a:b`, colons
 * and backslashes in names behind a backslash) or, for mounts by fsconfig(2), one option each (`lowerdir+=a`).
 */
export function overlayLayers({ type, options }: Mount): string[] {
  if (type !== 'overlay') return [];
  return options.split(',').flatMap((option) => {
    if (option.startsWith('lowerdir=')) return listed(unescaped(option.slice('lowerdir='.length)));
    return option.startsWith('lowerdir+=') || option.startsWith('datadir+=') ? [unescaped(option.slice(option.indexOf('=') + 1))] : [];
  });
}

function listed(layers: string): string[] {
  return layers.includes('\\') ? (layers.match(/(?:\\.|[^:\\])+/gs) ?? []).map((layer) => layer.replaceAll(/\\(.)/gs, '$1')) : layers.split(':').filter((layer) => layer !== '');
}

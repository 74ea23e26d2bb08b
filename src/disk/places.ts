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

/** Where a path leads, if no symbolic link is on the way; undefined where this process sees no mount above it. */
export function placeOf(mounts: readonly Mount[], path: string): Place | undefined {
  let deepest: Mount | undefined;
  for (const mount of mounts) {
    const isAbove = contains(withoutTop(mount.mountPoint), path);
    // Of two on the same point the later one hides the other.
    if (isAbove && mount.mountPoint.length >= (deepest?.mountPoint.length ?? 0)) deepest = mount;
  }
  return deepest && placeOn(deepest, path);
}

/** The components of a place strictly below another; undefined where it is not. */
export function componentsBelow(outer: Place, { device, path }: Place): string[] | undefined {
  return device === outer.device && path !== outer.path && contains(outer.path, path) ? path.slice(outer.path.length + 1).split('/') : undefined;
}

function withoutTop(path: string): string {
  return path === '/' ? '' : path;
}

const layerOptions: ReadonlySet<string> = new Set(['lowerdir', 'lowerdir+', 'datadir+', 'upperdir', 'workdir']);

/**
 * The directories that an overlay is made of, by the paths that whoever mounted it gave. Kernels show one list (`lowerdir=a:b`, colons
 * and backslashes in names behind a backslash) or, for mounts by fsconfig(2), one option each (`lowerdir+=a`).
 */
export function overlayLayers({ type, options }: Mount): string[] {
  if (type !== 'overlay') return [];
  return options.split(',').flatMap((option) => {
    const [name = '', value = ''] = option.split(/=(.*)/s);
    const layers = name === 'lowerdir' ? (unescaped(value).match(/(?:\\.|[^:\\])+/gs) ?? []).map((layer) => layer.replaceAll(/\\(.)/gs, '$1')) : [unescaped(value)];
    return layerOptions.has(name) ? layers : [];
  });
}

import { readFileSync } from 'node:fs';

/** One line of /proc/self/mountinfo. */
export interface Mount {
  readonly id: bigint;
  readonly parentId: bigint;
  /** `major:minor` of the filesystem. */
  readonly device: string;
  /** The directory of the filesystem that is shown: `/` for a whole one, another for a bind mount or a subvolume. */
  readonly root: string;
  readonly mountPoint: string;
  readonly type: string;
  /** The filesystem's own options, as they stand there. */
  readonly options: string;
}

/** The mounts that this process sees. proc(5): id, parent, device, root, mount point, options, tags…, `-`, type, source, own options; blanks in octal. */
export function readMounts(): Mount[] {
  return parseMounts(readFileSync('/proc/self/mountinfo', 'utf8'));
}

export function parseMounts(mountinfo: string): Mount[] {
  return mountinfo
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [id = '', parentId = '', device = '', root = '', mountPoint = '', ...rest] = line.split(' ');
      const [type = '', , options = ''] = rest.slice(rest.indexOf('-') + 1);
      return { id: BigInt(id), parentId: BigInt(parentId), device, root: unescaped(root), mountPoint: unescaped(mountPoint), type, options };
    });
}

/** Blanks, newlines, backslashes and, in options, commas are octal. */
export function unescaped(path: string): string {
  return path.replaceAll(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

/**
 * The mount, of those that lead to a directory, that shows something else than its mount point says; undefined where none does.
 *
 * A container runtime follows a symbolic link in a hostPath before the container can see it, and then mounts the link's target
 * under the link's name: mountinfo shows the target as the mount's root. The two need to agree in their last component only,
 * because everything above it may be a mount of its own on the host (`/var` on a disk, a subvolume, a node inside a container).
 */
export function disguisedMount(mounts: readonly Mount[], mountId: bigint): Mount | undefined {
  const byId = new Map(mounts.map((mount) => [mount.id, mount]));
  const seen = new Set<bigint>();
  for (let mount = byId.get(mountId); mount !== undefined && !seen.has(mount.id); mount = byId.get(mount.parentId)) {
    seen.add(mount.id);
    if (mount.mountPoint !== '/' && mount.root !== '/' && lastComponent(mount.root) !== lastComponent(mount.mountPoint)) return mount;
  }
  return undefined;
}

function lastComponent(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

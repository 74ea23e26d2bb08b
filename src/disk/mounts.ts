import { readFileSync } from 'node:fs';

/** One line of /proc/self/mountinfo. */
export interface Mount {
  readonly id: bigint;
  readonly parentId: bigint;
  /** The directory of the filesystem that is shown: `/` for a whole one, another for a bind mount or a subvolume. */
  readonly root: string;
  readonly mountPoint: string;
}

/** The mounts that this process sees. proc(5): id, parent, device, root, mount point, …; blanks in octal. */
export function readMounts(): Mount[] {
  return parseMounts(readFileSync('/proc/self/mountinfo', 'utf8'));
}

export function parseMounts(mountinfo: string): Mount[] {
  return mountinfo
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [id = '', parentId = '', , root = '', mountPoint = ''] = line.split(' ');
      return { id: BigInt(id), parentId: BigInt(parentId), root: unescaped(root), mountPoint: unescaped(mountPoint) };
    });
}

function unescaped(path: string): string {
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

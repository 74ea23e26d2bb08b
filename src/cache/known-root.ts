import type { Dir } from '../disk/dir.ts';
import { shown } from '../disk/disk-error.ts';
import { readMounts } from '../disk/mounts.ts';
import type { RootIdentity } from '../disk/pinned-root.ts';
import { identityOf, isSameRoot } from '../disk/pinned-root.ts';
import { OperatorError } from '../errors.ts';

interface Known {
  readonly identity: RootIdentity;
  /** Of the mount it lies on. */
  readonly mountPoint: string;
}

/**
 * Which directory the last pass worked in. Another one in its place may not be what anybody meant: it is taken up by the pass after the
 * one that notices. What a mount laid bare by going, or hid by coming, is another disk, and is left alone for as long as that lasts.
 */
export class KnownRoot {
  #known: Known | undefined;
  #isEmpty = true;

  forget(): void {
    this.#known = undefined;
  }

  /** What was seen in it: a mount over an empty directory is the disk that was meant to come. */
  sawEntries(count: number): void {
    this.#isEmpty = count === 0;
  }

  /** @throws ERR_ROOT_REPLACED, and knows the new one from then on, if by a pass; ERR_ROOT_MOUNT_CHANGED, each time */
  check(root: Dir, { isPass }: { isPass: boolean }): void {
    const now = identityOf(root);
    const before = this.#known;
    if (before !== undefined && isSameRoot(before.identity, now)) return;
    const mountPoint = mountPointOf(now);
    if (before !== undefined) this.#refuseOtherDisk(before, mountPoint, root);
    if (before === undefined || isPass) this.#known = { identity: now, mountPoint };
    if (before === undefined) return;
    this.#isEmpty ||= isPass;
    throw new OperatorError('ERR_ROOT_REPLACED', `${shown(root.path)} is another directory than in the pass before`);
  }

  /** Both mount points lie above the root, so that the longer one is the deeper. */
  #refuseOtherDisk(before: Known, mountPoint: string, root: Dir): void {
    if (mountPoint.length < before.mountPoint.length) {
      throw new OperatorError('ERR_ROOT_MOUNT_CHANGED', `what was mounted at ${shown(before.mountPoint)} is gone, and ${shown(root.path)} is what lay below it`);
    }
    if (mountPoint.length > before.mountPoint.length && !this.#isEmpty) {
      throw new OperatorError('ERR_ROOT_MOUNT_CHANGED', `something was mounted at ${shown(mountPoint)}, over the entries of ${shown(root.path)}`);
    }
  }
}

function mountPointOf({ mountId }: RootIdentity): string {
  return readMounts().find(({ id }) => id === mountId)?.mountPoint ?? '/';
}

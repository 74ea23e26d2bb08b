import { constants } from 'node:fs';
import { diskError, errno } from '../../disk/disk-error.ts';
import { tryFlock } from '../../disk/libc.ts';
import type { Holder, TreeAt } from './holder.ts';

/**
 * Whoever holds a flock(2), shared or exclusive, on the directory or file of an entry itself uses it: `flock -s <entry> command` is a
 * pin that ends with its process. flock works across containers, where the lock's owner cannot be seen.
 *
 * The `<name>.meta.json.lock` of an entry is no such pin: the runtime holds it for the moment in which it writes the metadata, and
 * eviction takes it itself (busy: left alone, and counted as raced).
 */
export const flocks: Holder = { probe };

function probe({ parent, name }: TreeAt): string | undefined {
  const file = parent.openFileOrErrno(name, constants.O_RDONLY | constants.O_NONBLOCK);
  // Gone; a link, a socket or a device without a driver, none of which can be opened to lock it; or a mount, which is not the entry.
  if (file === -errno.ENOENT || file === -errno.ELOOP || file === -errno.ENXIO || file === -errno.ENODEV || file === -errno.EXDEV) return undefined;
  if (typeof file === 'number') throw diskError(`ask whether ${parent.pathOf(name)} is locked`, file);
  // Ours lasts until the end of this scope: who tries for the lock in these microseconds finds it taken.
  using opened = file;
  const locked = tryFlock(opened.fd);
  if (locked >= 0) return undefined;
  if (locked === -errno.EAGAIN || locked === -errno.EINTR) return 'a process that holds a lock on it';
  throw diskError(`ask whether ${parent.pathOf(name)} is locked`, locked);
}

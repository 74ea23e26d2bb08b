import { lstatSync } from 'node:fs';
import { errnoOf } from '../errors.ts';

/**
 * A text that changes when the directory does: every write of the runtime is a rename in the root, so a root whose stamps stand still
 * has not changed. Where the root cannot be seen it is the reason (`ENOENT`, `EACCES`): coming, going and failing are changes, too.
 * Follows symbolic links on the way: a hint when to look, and nothing that may be acted on.
 */
export function rootMark(root: string): string {
  try {
    const { dev, ino, mtimeNs, ctimeNs } = lstatSync(root, { bigint: true });
    return `${dev}:${ino}:${mtimeNs}:${ctimeNs}`;
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === undefined) throw error;
    return errno;
  }
}

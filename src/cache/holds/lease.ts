import type { Dir } from '../../disk/dir.ts';
import type { TreeUse } from '../../disk/measure-tree.ts';
import { measureTree } from '../../disk/measure-tree.ts';
import type { Slices } from '../../disk/slices.ts';
import type { Holder, TreeAt } from './holder.ts';

/**
 * Whoever has a file of an entry open or mapped uses it, in whatever container: the kernel refuses a lease on such a file. What is only
 * read with O_PATH, or is the working directory of a process, is not seen; a mount inside the entry is, where this process sees it.
 * A process that opens a file in the microseconds in which it is asked about waits for the answer.
 */
export const leases: Holder = { probe };

async function probe({ parent, name }: TreeAt, slices: Slices): Promise<string | undefined> {
  const measure = await measureTree(parent, name, { slices, askUse: true });
  if (measure === undefined) return undefined;
  const { use, unasked } = measure;
  if (use === undefined && unasked !== undefined) throw unasked;
  return use && detailOf(parent, use);
}

/** `a process that has llama/weights open` */
export function detailOf(parent: Dir, { kind, path }: TreeUse): string {
  const below = path.startsWith(`${parent.path}/`) ? path.slice(parent.path.length + 1) : path;
  return kind === 'Open' ? `a process that has ${below} open` : `what is mounted at ${below}`;
}

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
  if (use === undefined) return undefined;
  const path = use.path.startsWith(`${parent.path}/`) ? use.path.slice(parent.path.length + 1) : use.path;
  return use.kind === 'Open' ? `a process that has ${path} open` : `what is mounted at ${path}`;
}

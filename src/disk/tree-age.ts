import { OperatorError } from '../errors.ts';
import { batchesOf } from './dir-entries.ts';
import type { Dir } from './dir.ts';
import type { Name } from './libc.ts';
import { NameList } from './name-list.ts';
import type { Slices } from './slices.ts';
import { msOf, statAt } from './stat.ts';

/** Deeper trees are not looked through: they count as changed now. */
const maxDepth = 256;

/**
 * When anything of a tree last changed: the newest ctime inside, which nobody can set back.
 * @param enoughMs ends the walk at the first change after it, for who only asks whether the tree is older
 * @returns ms since the epoch; Infinity where it cannot be known (unreadable, mounted over, too deep)
 */
export async function newestChangeMs(parent: Dir, name: Name, { enoughMs, slices }: { enoughMs: number; slices: Slices }): Promise<number> {
  try {
    return await newest(parent, name, { enoughMs, slices, depth: 0 });
  } catch (error) {
    if (error instanceof OperatorError) return Number.POSITIVE_INFINITY;
    throw error;
  }
}

interface Walk {
  readonly enoughMs: number;
  readonly slices: Slices;
  readonly depth: number;
}

async function newest(parent: Dir, name: Name, walk: Walk): Promise<number> {
  const stat = statAt(parent.fd, name);
  if (typeof stat === 'number') return 0;
  let changedMs = msOf(stat.changedNs);
  if (stat.kind !== 'Directory' || changedMs > walk.enoughMs) return changedMs;
  if (walk.depth >= maxDepth) return Number.POSITIVE_INFINITY;
  using dir = parent.openDir(name);
  const names = new NameList();
  for (const batch of batchesOf(dir)) for (const entry of batch) names.push(entry.bytes);
  for (const each of names) {
    if (walk.slices.over) await walk.slices.yield();
    changedMs = Math.max(changedMs, await newest(dir, each, { ...walk, depth: walk.depth + 1 }));
    if (changedMs > walk.enoughMs) break;
  }
  return changedMs;
}

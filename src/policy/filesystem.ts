import type { FreeAmount, Limits, UnreachableLimit } from './limits.ts';

/** A filesystem as statfs(2) tells it. */
export interface FilesystemFigures {
  readonly capacityBytes: number;
  /** What could still be written. */
  readonly availableBytes: number;
  /** Absent where the filesystem does not count them, as btrfs: unknown, not none. */
  readonly inodes?: number;
  readonly inodesFree?: number;
}

export interface Filesystem extends FilesystemFigures {
  /** What could be written if nothing lay there. Absent: all of the capacity. */
  readonly mostFreeBytes?: number;
  /** The same of inodes. Absent where the filesystem makes them as they are needed, or it is not known whether it does. */
  readonly mostFreeInodes?: number;
}

/** What is reported of it. */
export function figuresOf(filesystem: Filesystem): FilesystemFigures {
  const { mostFreeBytes: _, mostFreeInodes: __, ...figures } = filesystem;
  return figures;
}

/** What a cache wants to be left on its filesystem, without headroom; 0 where it asks for nothing. */
export function wantedFree({ minFree, minFreeInodes }: Limits, { capacityBytes, inodes }: Filesystem): { readonly bytes: number; readonly inodes: number } {
  return { bytes: amountOf(minFree, capacityBytes), inodes: inodes === undefined ? 0 : amountOf(minFreeInodes, inodes) };
}

function amountOf(amount: FreeAmount | null, of: number): number {
  if (amount === null) return 0;
  return 'percent' in amount ? Math.ceil((of * amount.percent) / 100) : amount.count;
}

export function limitsFreeSpace({ minFree, minFreeInodes }: Limits): boolean {
  return minFree !== null || minFreeInodes !== null;
}

/** What of it is less than one cache wants. */
export function shortLimits(limits: Limits, filesystem: Filesystem): UnreachableLimit[] {
  const wanted = wantedFree(limits, filesystem);
  const { availableBytes, inodesFree = Infinity, capacityBytes, mostFreeBytes = capacityBytes, mostFreeInodes = Infinity } = filesystem;
  return [
    ...shortOf('MinFree', { wanted: wanted.bytes, free: availableBytes, mostFree: mostFreeBytes }),
    ...shortOf('MinFreeInodes', { wanted: wanted.inodes, free: inodesFree, mostFree: mostFreeInodes }),
  ];
}

/** All of a filesystem is never free: the cache itself lies there. */
function shortOf(limit: 'MinFree' | 'MinFreeInodes', { wanted, free, mostFree }: { wanted: number; free: number; mostFree: number }): UnreachableLimit[] {
  if (free >= wanted) return [];
  return [wanted < mostFree ? { limit, allowed: wanted, remaining: free } : { limit, allowed: wanted, remaining: mostFree, because: 'BeyondCapacity' }];
}

/** Whether more could be free if something went. Where a filesystem is too small for what is wanted, all would go in vain. */
export function isWithinCapacity({ because }: UnreachableLimit): boolean {
  return because !== 'BeyondCapacity';
}

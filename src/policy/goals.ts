import type { Limits } from './limits.ts';
import { withHeadroom } from './limits.ts';
import type { CacheStats } from './snapshot.ts';

/** Down to which each limit is enforced: below it by the headroom once it is exceeded, so that the cache then rests for a while. */
export interface Goals {
  readonly entries: number;
  readonly bytes: number;
  readonly idleMs: number;
}

/** @param heldBytes of entries that are in use or kept */
export function goalsOf({ entryCount, totalBytes }: CacheStats, heldBytes: number, limits: Limits): Goals {
  return {
    entries: goal(limits.maxEntries, entryCount, limits),
    bytes: bytesGoal(totalBytes, heldBytes, limits),
    idleMs: goal(limits.maxIdleMs, Infinity, limits),
  };
}

function goal(limit: number | null, actual: number, limits: Limits): number {
  return limit === null || actual <= limit ? Infinity : withHeadroom(limit, limits);
}

/**
 * The rule of minFree, for maxBytes: where what is in use or kept exceeds the limit by itself, no eviction can meet the limit, and
 * nothing is evicted for it. Headroom that cannot be met is not asked for. Entries that are merely `Recent` do not count: that
 * protection ends by itself, and then everything less recently used is evicted before them anyway.
 */
function bytesGoal(totalBytes: number, heldBytes: number, limits: Limits): number {
  const { maxBytes } = limits;
  if (maxBytes === null || heldBytes > maxBytes) return Infinity;
  const below = goal(maxBytes, totalBytes, limits);
  return heldBytes > below ? maxBytes : below;
}

import type { Filesystem } from './filesystem.ts';
import { wantedFree } from './filesystem.ts';
import type { Limits } from './limits.ts';
import type { CacheStats } from './snapshot.ts';

/** Beyond this a percentage says nothing more: shown as `>999%`. */
const largestPercent = 999;

/**
 * How full a cache is against its tightest limit of entries, bytes or free space: 1 is exactly at the limit.
 * Infinity where the limit is zero and something is there. Undefined where none of these is limited: idle time fills nothing.
 */
export function usageOf(stats: CacheStats, limits: Limits, filesystem: Filesystem): number | undefined {
  const ratios: number[] = [];
  if (limits.maxEntries !== null) ratios.push(ratio(stats.entryCount, limits.maxEntries));
  if (limits.maxBytes !== null) ratios.push(ratio(stats.totalBytes, limits.maxBytes));
  const { bytes, inodes } = fillOf(limits, filesystem);
  for (const fill of [bytes, inodes]) if (fill !== undefined) ratios.push(fill);
  return ratios.length === 0 ? undefined : Math.max(...ratios);
}

/** How full a filesystem is against what has to stay free; undefined where nothing has to, or it is not counted. */
export function fillOf(limits: Limits, filesystem: Filesystem): { readonly bytes: number | undefined; readonly inodes: number | undefined } {
  const { capacityBytes, availableBytes, inodes, inodesFree } = filesystem;
  const wanted = wantedFree(limits, filesystem);
  return {
    bytes: limits.minFree === null ? undefined : ratio(capacityBytes - availableBytes, capacityBytes - wanted.bytes),
    inodes: limits.minFreeInodes === null || inodes === undefined || inodesFree === undefined ? undefined : ratio(inodes - inodesFree, inodes - wanted.inodes),
  };
}

function ratio(actual: number, allowed: number): number {
  if (allowed > 0) return actual / allowed;
  return actual > 0 ? Infinity : 0;
}

/** `86%`; anything over the limit is at least 101%, anything below it at most 99%, so that the figure never hides which it is. */
export function formatUsage(usage: number | undefined): string {
  if (usage === undefined) return '-';
  const rounded = Math.round(usage * 100);
  const percent = usage > 1 ? Math.max(rounded, 101) : usage < 1 ? Math.min(rounded, 99) : 100;
  return percent > largestPercent ? `>${largestPercent}%` : `${percent}%`;
}

/** Back from the text of a report. Undefined for `-` and for what is no percentage. */
export function parseUsage(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (text.startsWith('>')) return Infinity;
  const percent = /^(\d{1,4})%$/.exec(text)?.[1];
  return percent === undefined ? undefined : Number(percent) / 100;
}

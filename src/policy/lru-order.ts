import type { Entry } from './snapshot.ts';

/** When an entry counts as last used: a clock ahead of ours is read as used now. */
export function lastUsedAtMs(entry: Entry, nowMs: number): number {
  return entry.clockAhead ? nowMs : entry.lastAccessedAtMs;
}

/** How long an entry has not been used, in ms; never negative. */
export function idleMsOf(entry: Entry, nowMs: number): number {
  return Math.max(0, nowMs - lastUsedAtMs(entry, nowMs));
}

/** Least recently used first. Total, so that the same entries in any order give the same plan: last use, then cached, then key. */
export function inLruOrder(entries: readonly Entry[], nowMs: number): Entry[] {
  return entries.toSorted((a, b) => lastUsedAtMs(a, nowMs) - lastUsedAtMs(b, nowMs) || a.cachedAtMs - b.cachedAtMs || byKey(a, b));
}

/** By UTF-16 code units: the same on every machine, whatever its locale. */
function byKey(a: Entry, b: Entry): number {
  if (a.key === b.key) return 0;
  return a.key < b.key ? -1 : 1;
}

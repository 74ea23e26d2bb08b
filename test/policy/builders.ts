import { EntryTable } from '../../src/policy/entry-table.ts';
import type { Holds } from '../../src/policy/holds.ts';
import type { Pin } from '../../src/policy/keep.ts';
import type { Limits } from '../../src/policy/limits.ts';
import type { CacheLook } from '../../src/policy/node-report.ts';
import type { PlanInput } from '../../src/policy/plan.ts';
import type { Entry, EntryName, Snapshot } from '../../src/policy/snapshot.ts';
import { noLimits } from '../../src/policy/limits.ts';

export const now = Date.parse('2026-06-01T12:00:00Z');
export const second = 1_000;
export const minute = 60 * second;
export const hour = 60 * minute;
export const day = 24 * hour;

/** An entry named by its key, 100 bytes, last used and cached a day ago. */
export function entry(key: string, but: Partial<Entry> & { idleMs?: number } = {}): Entry {
  const { idleMs = day, ...rest } = but;
  return {
    name: key as EntryName,
    key,
    description: `image ${key}`,
    sizeBytes: 100,
    cachedAtMs: now - idleMs,
    lastAccessedAtMs: now - idleMs,
    clockAhead: false,
    stamp: { inode: 1n, changedNs: 1n, size: 1 },
    ...rest,
  };
}

/** Entries each last used an hour before the next one; the last one an hour ago. */
export function leastRecentlyUsedFirst(...keys: string[]): Entry[] {
  return keys.map((key, i) => entry(key, { idleMs: (keys.length - i) * hour }));
}

export function snapshotOf(entries: readonly Entry[]): Snapshot {
  return { takenAtMs: now, entries: EntryTable.of(entries.map((each) => ({ ...each, lastAccessedAtMs: each.clockAhead ? now + hour : each.lastAccessedAtMs })), now), damaged: [], leftovers: [], unrecognised: [], filesRead: 0 };
}

export { noLimits };

export function heldBy(box: string, ...keys: string[]): Holds {
  const hold = { source: 'Box', detail: `box ${box}` } as const;
  return { entries: new Map(keys.map((key) => [key as EntryName, hold])), byDescription: new Map(), everything: undefined, sources: ['Box'] };
}

export function planInput(entries: readonly Entry[], but: Partial<Limits> & { minIdleMs?: number; keep?: readonly Pin[]; holds?: Holds; nowMs?: number } = {}): PlanInput {
  const { minIdleMs = minute, keep = [], holds = heldBy('none'), nowMs = now, ...limits } = but;
  return { snapshot: snapshotOf(entries), limits: { ...noLimits, ...limits }, protect: { minIdleMs, keep }, holds, nowMs };
}

const Gi = 2 ** 30;
const none = { entries: 0, bytes: 0 };

/** Four entries of 1Gi each, nothing over a limit. */
export function aLook(but: Partial<CacheLook> = {}): CacheLook {
  return {
    stats: { entryCount: 4, totalBytes: 4 * Gi }, held: { inUse: none, kept: none, recent: none }, inUseBy: new Map(), wouldEvict: none, failed: 0, unreachable: [], expiredPins: 0, allHeldBy: undefined,
    damaged: 0, leftovers: 0, unrecognised: 0, clockAhead: 0, holdSources: ['Box'], filesystem: { capacityBytes: 100 * Gi, availableBytes: 60 * Gi },
    ...but,
  };
}

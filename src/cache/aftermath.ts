import type { Plan } from '../policy/plan.ts';
import type { EntryName, Snapshot } from '../policy/snapshot.ts';
import type { EvictionResult } from './evict.ts';
import type { EvictedEntry } from './report.ts';

/** Of the planned evictions those that happened. */
export function evictedOf(plan: Plan, { gone }: EvictionResult): EvictedEntry[] {
  const names = new Set<EntryName>(gone.map(({ name }) => name));
  if (names.size === 0) return [];
  return [...plan.evict].flatMap(({ entry: { name, key, description, sizeBytes }, reason, detail }) =>
    (names.has(name) ? [{ key, description, sizeBytes, reason, detail }] : []));
}

/** What still stands of what was scanned. */
export function without(snapshot: Snapshot, { gone }: EvictionResult, leftoversGone: ReadonlySet<string>): Snapshot {
  const names = new Set<EntryName>(gone.map(({ name }) => name));
  return {
    ...snapshot,
    entries: snapshot.entries.without(names),
    leftovers: snapshot.leftovers.filter(({ name }) => !leftoversGone.has(name)),
  };
}

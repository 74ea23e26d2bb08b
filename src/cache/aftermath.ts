import { Slices } from '../disk/slices.ts';
import type { Plan } from '../policy/plan.ts';
import type { EntryName, Snapshot } from '../policy/snapshot.ts';
import type { EvictionResult, Victim } from './evict.ts';
import type { EvictedEntry } from './report.ts';

/** The first of those that a plan wants gone and that may be tried now. */
export async function plannedVictims(plan: Plan, { most, isDue }: { most: number; isDue: (name: EntryName) => boolean }): Promise<Victim[]> {
  const slices = new Slices();
  const victims: Victim[] = [];
  for (const verdict of plan.evict) {
    if (slices.over) await slices.yield();
    if (victims.length === most) break;
    const { entry } = verdict;
    if (isDue(entry.name)) victims.push({ name: entry.name, entry, verdict });
  }
  return victims;
}

/** Of these the ones that went. */
export function evictedOf({ gone }: EvictionResult): EvictedEntry[] {
  return gone.flatMap(({ entry, verdict }) => {
    if (entry === undefined || verdict === undefined) return [];
    const { key, description, sizeBytes } = entry;
    return [{ key, description, sizeBytes, reason: verdict.reason, detail: verdict.detail }];
  });
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

import { Slices } from '../disk/slices.ts';
import type { Plan } from '../policy/plan.ts';
import type { EntryName, Snapshot } from '../policy/snapshot.ts';
import type { EvictionResult, Victim } from './evict.ts';
import type { EvictedEntry } from './report.ts';

/** Those that a plan wants gone. */
export async function plannedVictims(plan: Plan): Promise<Victim[]> {
  const slices = new Slices();
  const victims: Victim[] = [];
  for (const verdict of plan.evict) {
    if (slices.over) await slices.yield();
    const { entry } = verdict;
    victims.push({ name: entry.name, entry, verdict });
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

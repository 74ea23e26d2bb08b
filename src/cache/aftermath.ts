import { inSlices, Slices } from '../disk/slices.ts';
import type { Plan } from '../policy/plan.ts';
import { RemainingBytes } from '../policy/linked-files.ts';
import type { EntryName, Snapshot } from '../policy/snapshot.ts';
import { statsOf } from '../policy/snapshot.ts';
import type { EvictionResult, Victim } from './evict.ts';
import type { Outlook, PassOutcome } from './outlook.ts';
import type { EvictedEntry } from './report.ts';
import type { Site } from './site.ts';

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
export async function evictedOf({ gone }: Pick<EvictionResult, 'gone'>, snapshot: Snapshot, slices: Slices): Promise<EvictedEntry[]> {
  const remaining = snapshot.linked === undefined ? undefined : new RemainingBytes(snapshot.entries, statsOf(snapshot).totalBytes, snapshot.linked);
  const evicted: EvictedEntry[] = [];
  for (const { entry, verdict } of gone) {
    if (slices.over) await slices.yield();
    if (entry === undefined || verdict === undefined) continue;
    const { name, key, description, sizeBytes } = entry;
    const freedBytes = remaining === undefined ? sizeBytes : remaining.remove(snapshot.entries.rowOf(name));
    evicted.push({ name, key, description, sizeBytes, freedBytes, reason: verdict.reason, detail: verdict.detail });
  }
  return evicted;
}

/** What still stands of what was scanned. */
export async function without(snapshot: Snapshot, { gone, leftoversGone, slices }: Pick<EvictionResult, 'gone'> & { leftoversGone: ReadonlySet<string>; slices: Slices }): Promise<Snapshot> {
  const names = new Set<EntryName>(gone.map(({ name }) => name));
  return {
    ...snapshot,
    entries: await inSlices(snapshot.entries.without(names), slices),
    leftovers: snapshot.leftovers.filter(({ name }) => !leftoversGone.has(name)),
  };
}

interface Enforced extends Pick<PassOutcome, 'evicted' | 'revived' | 'failed' | 'stopped' | 'unfinished' | 'purgeDueAtMs'> {
  readonly outlook: Outlook;
  readonly result: EvictionResult;
  /** Leftovers, by name. */
  readonly removed: readonly string[];
}

/** What a pass that enforced came to. */
export async function outcomeOf({ longestLockMs, errors }: Site, { outlook, result, removed, revived, ...rest }: Enforced, slices: Slices): Promise<PassOutcome> {
  const orphans = result.gone.filter(({ entry }) => entry === undefined).map(({ name }) => name);
  return {
    before: outlook.snapshot,
    after: await without(outlook.snapshot, { ...result, leftoversGone: new Set([...removed, ...orphans]), slices }),
    plan: outlook.plan,
    ...rest,
    revived: revived + result.revived,
    raced: result.raced,
    longestLockMs,
    holdSources: outlook.holds.sources,
    leftoversRemoved: removed.length + orphans.length,
    errors: [...outlook.errors, ...errors],
  };
}

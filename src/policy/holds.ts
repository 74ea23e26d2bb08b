import type { EntryName } from './snapshot.ts';

/**
 * Where the knowledge comes from that an entry is in use.
 * Box: a box of the runtime has it as its lower. Mount: something is mounted from it, over it or in it.
 * Flock: a process holds a flock(2) on it. Lease: a process has a file of it open or mapped.
 */
export type HoldSource = 'Box' | 'Mount' | 'Flock' | 'Lease';

/** A reason why an entry must not go. */
export interface Hold {
  readonly source: HoldSource;
  /** For people: `box box-1`. */
  readonly detail: string;
  /** Whether it is in use could not be found out, so it counts as in use; an error says why. Nobody was seen using it. */
  readonly unknown?: true;
}

/**
 * Everything that is in use in one cache, read at one moment.
 * `everything` is set where it cannot be known what is in use: then nothing at all may go.
 */
export interface Holds {
  readonly entries: ReadonlyMap<EntryName, Hold>;
  /** Where only the image of what is in use is known: every entry of that description. */
  readonly byDescription: ReadonlyMap<string, Hold>;
  readonly everything: Hold | undefined;
  /** The sources that were asked and answered. */
  readonly sources: readonly HoldSource[];
}

export const noHolds: Holds = { entries: new Map(), byDescription: new Map(), everything: undefined, sources: [] };

/** What a hold is looked up by. A description that is not known may be any of those that are held. */
export interface Holdable {
  readonly name: EntryName;
  readonly description: string | undefined;
}

export function holdOf({ entries, byDescription, everything }: Holds, { name, description }: Holdable): Hold | undefined {
  if (everything !== undefined) return everything;
  // Asking an empty map still costs a look at the name, which a plan of a million entries feels.
  const byName = entries.size === 0 ? undefined : entries.get(name);
  if (byName !== undefined || byDescription.size === 0) return byName;
  return description === undefined ? byDescription.values().next().value : byDescription.get(description);
}

/** All that several readings know. The first that names an entry stays the reason. */
export function mergeHolds(all: readonly Holds[]): Holds {
  const latestFirst = all.toReversed();
  return {
    entries: new Map(latestFirst.flatMap(({ entries }) => [...entries])),
    byDescription: new Map(latestFirst.flatMap(({ byDescription }) => [...byDescription])),
    everything: all.find(({ everything }) => everything !== undefined)?.everything,
    sources: all.flatMap(({ sources }) => sources),
  };
}

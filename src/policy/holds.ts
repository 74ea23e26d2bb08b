import type { EntryName } from './snapshot.ts';

/** Where the knowledge comes from that an entry is in use. */
export type HoldSource = 'Box';

/** A reason why an entry must not go. */
export interface Hold {
  readonly source: HoldSource;
  /** For people: `box box-1`. */
  readonly detail: string;
}

/**
 * Everything that is in use in one cache, read at one moment.
 * `everything` is set where it cannot be known what is in use: then nothing at all may go.
 */
export interface Holds {
  readonly entries: ReadonlyMap<EntryName, Hold>;
  readonly everything: Hold | undefined;
  /** The sources that were asked and answered. */
  readonly sources: readonly HoldSource[];
}

export const noHolds: Holds = { entries: new Map(), everything: undefined, sources: [] };

export function holdOf(holds: Holds, name: EntryName): Hold | undefined {
  // Asking an empty map still costs a look at the name, which a plan of a million entries feels.
  return holds.everything ?? (holds.entries.size === 0 ? undefined : holds.entries.get(name));
}

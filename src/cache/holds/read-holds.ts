import type { HoldSource, Holds } from '../../policy/holds.ts';
import { noHolds } from '../../policy/holds.ts';
import type { Format } from '../formats/format.ts';
import type { PassError } from '../report.ts';
import { readBoxes } from './boxes.ts';

export interface HoldsPlace {
  /** The home of the runtime that uses the cache. */
  readonly home: string;
  readonly allowedRoots: readonly string[];
}

export interface HoldsReading {
  readonly holds: Holds;
  /** Set where what is in use could not be read, and everything is held for that. */
  readonly error: PassError | undefined;
}

/** Asks one source. Never throws: what cannot be read holds everything. */
export type HoldReader = (place: HoldsPlace, format: Format) => HoldsReading;

/** One file each. */
const readers: Readonly<Record<HoldSource, HoldReader>> = { Box: readBoxes };

/** Everything that is in use in a cache, at this moment, by all that can tell. */
export function readHolds(place: HoldsPlace, format: Format): HoldsReading {
  const readings = format.holdSources.map((source) => readers[source](place, format));
  return readings.reduce(
    (all, { holds, error }) => ({
      holds: {
        entries: new Map([...all.holds.entries, ...holds.entries]),
        everything: all.holds.everything ?? holds.everything,
        sources: [...all.holds.sources, ...holds.sources],
      },
      error: all.error ?? error,
    }),
    { holds: noHolds, error: undefined },
  );
}

import type { Slices } from '../../disk/slices.ts';
import { OperatorError } from '../../errors.ts';
import type { Hold, HoldSource } from '../../policy/holds.ts';
import { mergeHolds, noHolds } from '../../policy/holds.ts';
import type { Format } from '../formats/format.ts';
import type { PassError } from '../report.ts';
import { boxes } from './boxes.ts';
import { flocks } from './flocks.ts';
import { leases } from './lease.ts';
import { mounts } from './mounts.ts';
import type { Holder, HoldsPlace, HoldsReading, TreeAt } from './holder.ts';

const holders: Readonly<Record<HoldSource, Holder>> = { Box: boxes, Mount: mounts, Flock: flocks, Lease: leases };

/** What asking one tree came to. */
export interface Probed {
  readonly hold: Hold | undefined;
  /** Set where it could not be asked, and is held for that. */
  readonly error: PassError | undefined;
}

/** All that can tell what is in use in one cache. Nothing is remembered: a box may have started a moment ago. */
export interface Holders {
  readonly read: () => HoldsReading;
  /** What only the tree itself can tell; see Holder. Never throws. */
  readonly probe: (tree: TreeAt, slices: Slices) => Promise<Probed>;
}

export function holdersOf(place: HoldsPlace, format: Format): Holders {
  return { read: () => readAll(place, format), probe: (tree, slices) => probeAll(format, tree, slices) };
}

/** For who insists. */
export const nobody: Holders = { read: () => ({ holds: noHolds, error: undefined }), probe: async () => ({ hold: undefined, error: undefined }) };

function readAll(place: HoldsPlace, format: Format): HoldsReading {
  const readings = format.holdSources.map((source) => holders[source].read?.(place, format) ?? { holds: { ...noHolds, sources: [source] }, error: undefined });
  return { holds: mergeHolds(readings.map(({ holds }) => holds)), error: readings.find(({ error }) => error !== undefined)?.error };
}

async function probeAll(format: Format, tree: TreeAt, slices: Slices): Promise<Probed> {
  for (const source of format.holdSources) {
    try {
      const detail = await holders[source].probe?.(tree, slices);
      if (detail !== undefined) return { hold: { source, detail }, error: undefined };
    } catch (error) {
      if (!(error instanceof OperatorError)) throw error;
      return { hold: { source, detail: error.message, unknown: true }, error: { code: error.code, message: error.message } };
    }
  }
  return { hold: undefined, error: undefined };
}

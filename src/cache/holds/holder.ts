import type { Dir } from '../../disk/dir.ts';
import type { Slices } from '../../disk/slices.ts';
import type { Holds, HoldSource } from '../../policy/holds.ts';
import { noHolds } from '../../policy/holds.ts';
import type { Format } from '../formats/format.ts';
import type { PassError } from '../report.ts';

export interface HoldsPlace {
  readonly root: Dir;
  /** The home of the runtime that uses the cache; null where none does. */
  readonly home: string | null;
  readonly allowedRoots: readonly string[];
}

export interface HoldsReading {
  readonly holds: Holds;
  /** Set where what is in use could not be read, and everything is held for that. */
  readonly error: PassError | undefined;
}

/** One tree, wherever it lies by now: in the root, or in the trash. */
export interface TreeAt {
  readonly parent: Dir;
  readonly name: string;
}

/** One way to learn what is in use. One file each, registered in holders.ts; a format names those that can tell for it. */
export interface Holder {
  /** All that it knows, at once. What cannot be read holds everything. */
  readonly read?: (place: HoldsPlace, format: Format) => HoldsReading;
  /**
   * Asks the tree itself. That costs a look at it, so only what is about to go is asked. Never waits for who uses it.
   * @returns who uses it, for people
   * @throws OperatorError where that cannot be asked: then it counts as in use
   */
  readonly probe?: (tree: TreeAt, slices: Slices) => string | undefined | Promise<string | undefined>;
}

/** A source that is there, and answers nothing that can be understood. */
export function unreadable(source: HoldSource, message: string): HoldsReading {
  return { holds: { ...noHolds, everything: { source, detail: message, unknown: true } }, error: { code: 'ERR_HOLDS_UNREADABLE', message } };
}

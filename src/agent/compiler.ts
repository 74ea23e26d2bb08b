import { setFlagsFromString } from 'node:v8';
import { lstatSync } from 'node:fs';
import { errnoOf } from '../errors.ts';

/** From here on a scan takes long enough for its loops to be worth compiling: 100,000 entries in 5 s without, in 1 s with it. */
const manyEntries = 20_000;

/**
 * The agent's pod starts node without the optimising compiler, which costs 8 MiB and makes nothing faster there that anybody waits
 * for; where a cache is large it is switched on. Does nothing in a process that has it anyway.
 */
export function compileFor(entries: number): void {
  if (entries >= manyEntries) setFlagsFromString('--turbofan');
}

/** How many directories are in a root, as far as its link count tells without a look; a hint. */
export function directoriesIn(root: string): number {
  try {
    return lstatSync(root).nlink;
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return 0;
  }
}

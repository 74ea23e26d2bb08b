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

/** How many entries are in a root, as far as its own stat tells without a look; a hint. */
export function entriesHinted(root: string): number {
  try {
    return hintIn(lstatSync(root));
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return 0;
  }
}

/**
 * By the links to a directory: each directory inside has one. ext4 says 1 from 65,000 on, and btrfs always: then by its size, of which
 * the three names of an entry take some 300 bytes.
 */
export function hintIn({ nlink, size }: { readonly nlink: number; readonly size: number }): number {
  return nlink > 1 ? nlink - 2 : Math.floor(size / 300);
}

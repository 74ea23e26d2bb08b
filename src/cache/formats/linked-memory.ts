import type { Measure } from '../../disk/measure-tree.ts';
import type { LinkedFiles, LinkedFilesByEntry } from '../../policy/linked-files.ts';
import type { EntryName } from '../../policy/snapshot.ts';

/** Of all entries of a cache together: 24 bytes each. The files of an entry that would be more are not listed. */
const mostFiles = 50_000;

/** Which files of the entries of a directory have hard links elsewhere, as of the last time each entry was measured. */
export class LinkedMemory {
  readonly #byEntry = new Map<EntryName, LinkedFiles | undefined>();
  readonly #most: number;
  #files = 0;

  constructor(most = mostFiles) {
    this.#most = most;
  }

  /** @param device of the directory: files of another one have inode numbers of their own */
  set(name: EntryName, { top, hasSharedFiles, linked }: Pick<Measure, 'top' | 'hasSharedFiles' | 'linked'>, device: bigint): void {
    this.#delete(name);
    if (!hasSharedFiles) return;
    const isListed = linked !== undefined && top.device === device && this.#files + linked.inodes.length <= this.#most;
    this.#byEntry.set(name, isListed ? linked : undefined);
    if (isListed) this.#files += linked.inodes.length;
  }

  /** Forgets all other entries. @returns what is known of these; no later change of the memory changes it */
  only(names: ReadonlySet<string>): LinkedFilesByEntry | undefined {
    for (const name of this.#byEntry.keys()) if (!names.has(name)) this.#delete(name);
    return this.#byEntry.size === 0 ? undefined : new Map(this.#byEntry);
  }

  #delete(name: EntryName): void {
    this.#files -= this.#byEntry.get(name)?.inodes.length ?? 0;
    this.#byEntry.delete(name);
  }
}

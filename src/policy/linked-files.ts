import type { EntryTable } from './entry-table.ts';
import type { EntryName } from './snapshot.ts';
import type { Steps } from './steps.ts';
import { stepMask } from './steps.ts';

/** The files of one entry that have hard links outside of it, one place in each column for a file. */
export interface LinkedFiles {
  readonly inodes: BigUint64Array;
  /** How many of the file's links lie in the entry. */
  readonly linksHere: Uint32Array;
  /** How many links the file has in all. */
  readonly links: Uint32Array;
  readonly allocatedBytes: Float64Array;
}

/** Undefined for an entry whose linked files are too many to list. */
export type LinkedFilesByEntry = ReadonlyMap<EntryName, LinkedFiles | undefined>;

/** A file of which at least one entry has a link. */
interface SharedFile {
  readonly allocatedBytes: number;
  /** Links in entries that are left. */
  linksInCache: number;
  /** These, and all links outside of the cache. */
  links: number;
}

interface LinkedRow {
  /** What the entry has beside its linked files. */
  readonly ownBytes: number;
  readonly linked: LinkedFiles;
}

/** Of its size. An entry that gives back less is evicted in vain where bytes are short. */
const leastFreedPart = 0.03;

/**
 * The bytes of a cache while its entries go one after another. The size of an entry is its share: a file with several links counts by how
 * many of them lie in the entry. So an entry whose links are not the last takes less with it than its size, and the shares of the entries
 * that are left grow.
 */
export class RemainingBytes {
  readonly #sizeBytes: Float64Array;
  readonly #rows = new Map<number, LinkedRow>();
  readonly #files = new Map<bigint, SharedFile>();
  #totalBytes: number;
  #freedBytes = 0;

  /** @param linked an entry whose files are not listed in it counts by its size */
  constructor(entries: EntryTable, totalBytes: number, linked: LinkedFilesByEntry = new Map()) {
    this.#sizeBytes = entries.sizeBytes;
    this.#totalBytes = totalBytes;
    for (const [name, files] of linked) {
      const row = files === undefined ? -1 : entries.rowOf(name);
      if (files !== undefined && row !== -1) this.#add(row, files);
    }
  }

  /** The sum of the sizes of the entries that are left, as a scan would measure them once the others are deleted. */
  get totalBytes(): number {
    return this.#files.size === 0 ? this.#totalBytes : Math.max(0, Math.round(this.#totalBytes));
  }

  /** What the filesystem gets back from the entries that went. Less than their sizes where links outside of the cache keep files. */
  get freedBytes(): number {
    return this.#files.size === 0 ? this.#freedBytes : Math.round(this.#freedBytes);
  }

  /** False where next to nothing of the entry can come free, whatever else is evicted: its files have links outside of the cache. */
  mayFree(row: number): boolean {
    const entry = this.#rows.get(row);
    if (entry === undefined) return true;
    const { ownBytes, linked: { inodes, linksHere, links, allocatedBytes } } = entry;
    const sharedBytes = inodes.reduce((sum, inode, i) => sum + (isAllInCache(this.#files.get(inode)!) ? (allocatedBytes[i]! * linksHere[i]!) / links[i]! : 0), 0);
    return ownBytes + sharedBytes >= leastFreedPart * this.#sizeBytes[row]!;
  }

  /** Takes an entry out. @returns what the filesystem gets back from it, after those that went before */
  remove(row: number): number {
    const entry = this.#rows.get(row);
    const freedBefore = this.freedBytes;
    this.#totalBytes -= entry?.ownBytes ?? this.#sizeBytes[row]!;
    this.#freedBytes += entry?.ownBytes ?? this.#sizeBytes[row]!;
    if (entry !== undefined) this.#unlink(entry.linked);
    return this.freedBytes - freedBefore;
  }

  /** The sum of the sizes of these entries, once all others are deleted. To be asked before any is taken out. */
  *bytesOfAlone(isLeft: (row: number) => boolean): Steps<number> {
    let bytes = 0;
    const linksLeft = new Map<bigint, number>();
    for (let row = 0; row < this.#sizeBytes.length; row += 1) {
      if ((row & stepMask) === stepMask) yield;
      if (!isLeft(row)) continue;
      const entry = this.#rows.get(row);
      bytes += entry?.ownBytes ?? this.#sizeBytes[row]!;
      for (const [i, inode] of entry?.linked.inodes.entries() ?? []) linksLeft.set(inode, (linksLeft.get(inode) ?? 0) + entry!.linked.linksHere[i]!);
    }
    for (const [inode, left] of linksLeft) {
      const { allocatedBytes, links, linksInCache } = this.#files.get(inode)!;
      bytes += (allocatedBytes * left) / (links - linksInCache + left);
    }
    return linksLeft.size === 0 ? bytes : Math.round(bytes);
  }

  #add(row: number, linked: LinkedFiles): void {
    let sharedBytes = 0;
    for (let i = 0; i < linked.inodes.length; i += 1) {
      const [here, links, allocatedBytes] = [linked.linksHere[i]!, linked.links[i]!, linked.allocatedBytes[i]!];
      sharedBytes += (allocatedBytes * here) / links;
      const file = this.#files.get(linked.inodes[i]!) ?? { allocatedBytes, linksInCache: 0, links: 0 };
      file.linksInCache += here;
      // Entries are measured one after another: a link may have come or gone between two of them.
      file.links = Math.max(file.links, links, file.linksInCache);
      this.#files.set(linked.inodes[i]!, file);
    }
    this.#rows.set(row, { ownBytes: Math.max(0, this.#sizeBytes[row]! - sharedBytes), linked });
  }

  #unlink({ inodes, linksHere }: LinkedFiles): void {
    for (let i = 0; i < inodes.length; i += 1) {
      const file = this.#files.get(inodes[i]!)!;
      const before = shareOf(file);
      file.linksInCache -= linksHere[i]!;
      file.links -= linksHere[i]!;
      this.#totalBytes -= before - shareOf(file);
      if (file.links === 0) this.#freedBytes += file.allocatedBytes;
    }
  }
}

function isAllInCache({ linksInCache, links }: SharedFile): boolean {
  return linksInCache === links;
}

function shareOf({ allocatedBytes, linksInCache, links }: SharedFile): number {
  return linksInCache === 0 ? 0 : (allocatedBytes * linksInCache) / links;
}

import { isUtf8 } from 'node:buffer';
import { batchesWhilePresent } from '../disk/dir-entries.ts';
import type { Dir } from '../disk/dir.ts';
import type { Name } from '../disk/libc.ts';
import { measureTree } from '../disk/measure-tree.ts';
import { Slices } from '../disk/slices.ts';
import { OperatorError } from '../errors.ts';
import type { EntryName, Snapshot } from '../policy/snapshot.ts';
import type { Format } from './formats/format.ts';
import { ownFolder } from './own-search.ts';
import { isEvictionLink } from './trash.ts';

/** What takes space in a cache's directory and is no entry, in bytes on the disk as `du` counts them. */
export interface OtherBytes {
  readonly damaged: number;
  /** Without what waits to be deleted. */
  readonly leftovers: number;
  readonly unrecognised: number;
  /** Our folder, with what waits to be deleted, and the directory itself. */
  readonly own: number;
  /** So many names could not be measured, and count nothing. */
  readonly unmeasured: number;
}

export function sumOf({ damaged, leftovers, unrecognised, own }: OtherBytes): number {
  return damaged + leftovers + unrecognised + own;
}

/**
 * Measures all that a scan found to be no entry. Metadata files and locks of a store's entries are left out: the runtime counts them with
 * no entry either. Reads only.
 */
export async function measureOthers(root: Dir, format: Format, snapshot: Snapshot, signal: AbortSignal): Promise<OtherBytes> {
  const others = new Others(root, format, new Slices(signal));
  await (format.kind === 'Plain' ? others.measureAllBut(snapshot) : others.measureListed(snapshot));
  return others.bytes;
}

type Kind = Exclude<keyof OtherBytes, 'unmeasured'>;

class Others {
  readonly bytes: { -readonly [K in keyof OtherBytes]: number };
  readonly #root: Dir;
  readonly #format: Format;
  readonly #slices: Slices;

  constructor(root: Dir, format: Format, slices: Slices) {
    this.#root = root;
    this.#format = format;
    this.#slices = slices;
    this.bytes = { damaged: 0, leftovers: 0, unrecognised: 0, own: root.stat().allocatedBytes, unmeasured: 0 };
  }

  /** Where every name is an entry or is not: also those that a scan leaves out, which begin with a dot. */
  async measureAllBut({ entries, damaged }: Snapshot): Promise<void> {
    const isDamaged = new Set(damaged.map(({ name }) => name));
    for (const batch of batchesWhilePresent(this.#root)) {
      // The bytes of a batch are gone with the next.
      for (const bytes of batch.map((each) => Buffer.from(each.bytes))) {
        const name = bytes.toString();
        if (isUtf8(bytes) && entries.rowOf(name) !== -1) continue;
        const entry = this.#entryOf(name);
        const isOwn = name.startsWith(ownFolder) || (entry !== undefined && isEvictionLink(this.#root, entry));
        await this.#add(isOwn ? 'own' : isDamaged.has(name) ? 'damaged' : 'unrecognised', bytes);
      }
    }
  }

  /** Where entries have metadata beside them, which most others do not. */
  async measureListed({ damaged, leftovers, unrecognised }: Snapshot): Promise<void> {
    for (const { name } of damaged) for (const each of this.#withMetadata(name)) await this.#add('damaged', each);
    // What waits to be deleted lies in our folder.
    for (const { name, kind } of leftovers) if (kind !== 'Trash') for (const each of this.#withMetadata(name)) await this.#add('leftovers', each);
    for (const name of unrecognised) await this.#add('unrecognised', name);
    await this.#add('own', ownFolder);
  }

  #entryOf(name: string): EntryName | undefined {
    const role = this.#format.roleOf(name);
    return role.role === 'Entry' ? role.name : undefined;
  }

  #withMetadata(name: string): readonly string[] {
    const entry = this.#entryOf(name);
    return entry === undefined || this.#format.kind === 'Plain' ? [name] : [name, this.#format.metadataName(entry)];
  }

  async #add(kind: Kind, name: Name): Promise<void> {
    try {
      const measure = await measureTree(this.#root, name, { slices: this.#slices, askUse: false });
      this.bytes[kind] += measure?.allocatedBytes ?? 0;
    } catch (error) {
      if (!(error instanceof OperatorError)) throw error;
      this.bytes.unmeasured += 1;
    }
  }
}

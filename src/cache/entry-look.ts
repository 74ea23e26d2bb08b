import type { Dir } from '../disk/dir.ts';
import type { Slices } from '../disk/slices.ts';
import type { EntryRow } from '../policy/entry-table.ts';
import type { EntryName } from '../policy/snapshot.ts';
import type { Format } from './formats/format.ts';
import { readMetadata } from './metadata-file.ts';

/** What one entry turned out to be at this moment. Unknown: there is something, and it does not say of itself what it is. */
export type EntryLook =
  /** `isLinked`: some of its files have hard links elsewhere. Of a store's entry that is not asked: its size is what its metadata says. */
  | { readonly outcome: 'Read'; readonly row: EntryRow; readonly isLinked: boolean }
  | { readonly outcome: 'Unknown' }
  | { readonly outcome: 'Damaged'; readonly message: string };

/** Where an entry's directory or file lies: under its name in the root, or in an item of the trash, where its metadata has another name. */
interface Place {
  readonly parent: Dir;
  readonly name: string;
  readonly metadata?: string;
}

export async function lookAtEntry(format: Format, place: Place, name: EntryName, slices: Slices): Promise<EntryLook> {
  if (format.kind === 'Plain') {
    const row = await format.look(place, name, slices);
    return row === undefined ? { outcome: 'Damaged', message: `${place.parent.pathOf(place.name)} is no entry, or holds the home of a runtime or data that is not uploaded yet` } : { outcome: 'Read', row, isLinked: row.isLinked };
  }
  const file = readMetadata(place.parent, format, name, place.metadata);
  if (file.outcome === 'Damaged') return file;
  return file.outcome === 'Read' ? { outcome: 'Read', row: { name, stamp: file.stamp, ...file.metadata }, isLinked: false } : { outcome: 'Unknown' };
}

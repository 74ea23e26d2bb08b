import { batchesOf } from '../../disk/dir-entries.ts';
import type { Dir } from '../../disk/dir.ts';
import { diskError, errno, shown } from '../../disk/disk-error.ts';
import { openRoot } from '../../disk/pinned-root.ts';
import { readSmallFile } from '../../disk/small-file.ts';
import { messageOf, OperatorError } from '../../errors.ts';
import type { Hold } from '../../policy/holds.ts';
import { noHolds } from '../../policy/holds.ts';
import type { EntryName } from '../../policy/snapshot.ts';
import type { Format } from '../formats/format.ts';
import type { Holder, HoldsPlace, HoldsReading } from './holder.ts';
import { unreadable } from './holder.ts';

/** `<home>/boxes/<id>/.rootfs-cache-key`: the key of the entry that a box has as its lower, written once its root is prepared. */
const markerName = '.rootfs-cache-key';
const maxMarkerBytes = 4096;

/** What one box says is in use. Unknown: it runs or starts, and does not say on what. */
type Marker = { readonly key: string } | 'Nothing' | 'Unknown';

/**
 * The entries that boxes use. It is unknown what is in use, and so everything is held, where `boxes/` is missing beside a store,
 * a marker cannot be read or is no key, and where a box has begun to fill its directory and left no marker yet.
 */
export const boxes: Holder = { read };

function read({ home, allowedRoots }: HoldsPlace, format: Format): HoldsReading {
  const entries = new Map<EntryName, Hold>();
  let everything: Hold | undefined;
  try {
    using homeDir = openRoot(home, { allowedRoots });
    using boxes = homeDir.openDirIfPresent('boxes', { crossMounts: true });
    if (boxes === undefined) throw cannotTell(`${shown(`${home}/boxes`)} does not exist, so it is unknown which boxes run`);
    for (const id of boxIds(boxes)) {
      const box = id.toString();
      const marker = markerOf(boxes, id);
      if (marker === 'Unknown') everything ??= { source: 'Box', detail: `box ${shown(box)}, which does not say yet which entry it uses` };
      const name = typeof marker === 'string' ? undefined : format.nameOf(marker.key);
      if (name !== undefined && !entries.has(name)) entries.set(name, { source: 'Box', detail: `box ${shown(box)}` });
    }
    return { holds: { ...noHolds, entries, everything, sources: ['Box'] }, error: undefined };
  } catch (error) {
    if (!(error instanceof OperatorError)) throw error;
    return unreadable('Box', messageOf(error));
  }
}

/** As bytes: a box whose name is no UTF-8 uses its entry all the same. */
function boxIds(boxes: Dir): Buffer[] {
  const ids: Buffer[] = [];
  for (const batch of batchesOf(boxes)) for (const { bytes } of batch) ids.push(Buffer.from(bytes));
  return ids;
}

function markerOf(boxes: Dir, id: Buffer): Marker {
  const box = id.toString();
  const kind = boxes.statOf(id)?.kind;
  // Gone since it was listed; or no directory, and so no box. A link may lead to one, and is not followed: unreadable.
  if (kind !== 'Directory' && kind !== 'Link') return 'Nothing';
  const dir = boxes.openDirOrErrno(id, { crossMounts: true });
  if (dir === -errno.ENOENT) return 'Nothing';
  if (typeof dir === 'number') throw diskError(`look into the box ${boxes.pathOf(id)}`, dir, 'ERR_HOLDS_UNREADABLE');
  using opened = dir;
  const file = readSmallFile(opened, markerName, maxMarkerBytes);
  if (file.outcome === 'Absent') return opened.stat().mountId !== boxes.stat().mountId || isFilled(opened) ? 'Unknown' : 'Nothing';
  if (file.outcome !== 'Read') throw cannotTell(`the marker of box ${shown(box)} cannot be read: ${file.message}`);
  // Upper case is accepted and lower-cased, as by the runtime.
  const key = file.bytes.toString().trim().toLowerCase();
  if (!/^[0-9a-f]{64}$/.test(key)) throw cannotTell(`the marker of box ${shown(box)} is no key: ${opened.pathOf(markerName)}`);
  return { key };
}

function isFilled(dir: Dir): boolean {
  for (const batch of batchesOf(dir)) if (batch.length > 0) return true;
  return false;
}

function cannotTell(message: string): OperatorError {
  return new OperatorError('ERR_HOLDS_UNREADABLE', message);
}

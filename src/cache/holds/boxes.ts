import { batchesOf, batchesWhilePresent } from '../../disk/dir-entries.ts';
import type { Dir } from '../../disk/dir.ts';
import { diskError, errno, shown } from '../../disk/disk-error.ts';
import { openRoot } from '../../disk/pinned-root.ts';
import { readSmallFile } from '../../disk/small-file.ts';
import { messageOf, OperatorError } from '../../errors.ts';
import type { Hold, Holds } from '../../policy/holds.ts';
import type { EntryName } from '../../policy/snapshot.ts';
import type { Format } from '../formats/format.ts';
import { fallbackKey, readBoxImages } from './box-images.ts';
import type { Holder, HoldsPlace, HoldsReading } from './holder.ts';
import { unreadable } from './holder.ts';

/** `<home>/boxes/<id>/.rootfs-cache-key`: the key of the entry that a box has as its lower, written once its root is prepared. */
const markerName = '.rootfs-cache-key';
const maxMarkerBytes = 4096;

/** What one box says is in use. Why not: it runs, starts or was kept, and does not say on what. */
type Marker = 'Nothing' | { readonly key: string } | { readonly whyNot: string };

/** A box of which only its image can be known. */
interface Unmarked {
  readonly id: Buffer;
  readonly box: string;
  readonly whyNot: string;
}

/**
 * The entries that boxes use, by their markers. A box that is mounted or filled and has left no marker, or on a full disk an empty one,
 * holds all entries of its image; where that is unknown, everything.
 *
 * Everything is held, too, where `boxes/` is missing beside a store, and where a marker cannot be read or is no key.
 */
export const boxes: Holder = {
  read(place, format): HoldsReading {
    try {
      return { holds: readBoxes(place, format), error: undefined };
    } catch (error) {
      if (!(error instanceof OperatorError)) throw error;
      return unreadable('Box', messageOf(error));
    }
  },
};

function readBoxes({ home, allowedRoots }: HoldsPlace, format: Format): Holds {
  if (home === null) throw cannotTell('the policy names no home, so it is unknown which boxes run');
  using homeDir = openRoot(home, { allowedRoots });
  using dir = homeDir.openDirIfPresent('boxes', { crossMounts: true });
  if (dir === undefined) throw cannotTell(`${shown(`${home}/boxes`)} does not exist, so it is unknown which boxes run`);
  const holds = new HoldsByBox(format);
  const unmarked: Unmarked[] = [];
  for (const id of boxIds(dir)) {
    const box = id.toString();
    const marker = markerOf(dir, id);
    if (marker === 'Nothing') continue;
    if ('whyNot' in marker) unmarked.push({ id, box, whyNot: marker.whyNot });
    else holds.addKey(marker.key, box);
  }
  const [first] = unmarked;
  const images = first === undefined ? new Map<string, string>() : imagesFor(first, homeDir);
  for (const { id, box, whyNot } of unmarked) {
    const image = images.get(box);
    if (image !== undefined) holds.addImage(image, box, whyNot);
    else holdUnlessGone(holds, dir, id);
  }
  return holds.result();
}

/** A box without a known image holds everything, so it is read again: it may have been removed since it was listed, or marked by now. */
function holdUnlessGone(holds: HoldsByBox, boxes: Dir, id: Buffer): void {
  const marker = markerOf(boxes, id);
  if (marker === 'Nothing') return;
  if ('whyNot' in marker) holds.addUnknown(id.toString(), marker.whyNot);
  else holds.addKey(marker.key, id.toString());
}

/** Of several boxes that hold the same, the first is named. */
class HoldsByBox {
  readonly #format: Format;
  readonly #entries = new Map<EntryName, Hold>();
  readonly #byDescription = new Map<string, Hold>();
  #everything: Hold | undefined;

  constructor(format: Format) {
    this.#format = format;
  }

  addKey(key: string, box: string, detail = `box ${shown(box)}`): void {
    const name = this.#format.nameOf(key);
    if (name !== undefined && !this.#entries.has(name)) this.#entries.set(name, { source: 'Box', detail });
  }

  addImage(image: string, box: string, whyNot: string): void {
    const detail = `box ${shown(box)}, which ${whyNot}`;
    // The runtime describes an entry by the image it was built from, as the box calls it.
    if (!this.#byDescription.has(image)) this.#byDescription.set(image, { source: 'Box', detail });
    this.addKey(fallbackKey(image), box, detail);
  }

  addUnknown(box: string, whyNot: string): void {
    this.#everything ??= { source: 'Box', detail: `box ${shown(box)}, which ${whyNot}, and its image is not known` };
  }

  result(): Holds {
    return { entries: this.#entries, byDescription: this.#byDescription, everything: this.#everything, sources: ['Box'] };
  }
}

function imagesFor({ box, whyNot }: Unmarked, home: Dir): ReadonlyMap<string, string> {
  try {
    return readBoxImages(home);
  } catch (error) {
    throw error instanceof OperatorError ? cannotTell(`box ${shown(box)} ${whyNot}, and its image is not known: ${error.message}`) : error;
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
  if (dir === -errno.ENOENT || dir === -errno.ENOTDIR || dir === -errno.ESTALE) return 'Nothing';
  if (typeof dir === 'number') throw diskError(`look into the box ${boxes.pathOf(id)}`, dir, 'ERR_HOLDS_UNREADABLE');
  using opened = dir;
  const file = readSmallFile(opened, markerName, maxMarkerBytes);
  if (file.outcome === 'Absent') return opened.stat().mountId !== boxes.stat().mountId || isFilled(opened) ? { whyNot: 'left no marker' } : 'Nothing';
  if (file.outcome !== 'Read') throw cannotTell(`the marker of box ${shown(box)} cannot be read: ${file.message}`);
  // Upper case is accepted and lower-cased, as by the runtime.
  const key = file.bytes.toString().trim().toLowerCase();
  if (key === '') return { whyNot: 'left an empty marker' };
  if (!/^[0-9a-f]{64}$/.test(key)) throw cannotTell(`the marker of box ${shown(box)} is no key: ${opened.pathOf(markerName)}`);
  return { key };
}

function isFilled(dir: Dir): boolean {
  for (const batch of batchesWhilePresent(dir)) if (batch.length > 0) return true;
  return false;
}

function cannotTell(message: string): OperatorError {
  return new OperatorError('ERR_HOLDS_UNREADABLE', message);
}

import { messageOf, OperatorError } from '../../errors.ts';
import { asDiskError, shown } from '../../disk/disk-error.ts';
import type { Dir } from '../../disk/dir.ts';
import type { Mount } from '../../disk/mounts.ts';
import { readMounts } from '../../disk/mounts.ts';
import type { Place } from '../../disk/places.ts';
import { componentsBelow, overlayLayers, placeFinder, placeOn } from '../../disk/places.ts';
import type { Hold, Holds } from '../../policy/holds.ts';
import { noHolds } from '../../policy/holds.ts';
import type { EntryName } from '../../policy/snapshot.ts';
import type { Format } from '../formats/format.ts';
import { entryHidden } from '../hidden.ts';
import { trashFolder } from '../own-folder.ts';
import { findOwn } from '../own-search.ts';
import { itemAside, itemIdOf } from '../trash.ts';
import type { Holder, HoldsPlace, HoldsReading } from './holder.ts';
import { unreadable } from './holder.ts';

/**
 * The entries that something is mounted from, or in: bind mounts of an entry or of a part of it, layers of overlays, and whatever has its
 * mount point inside. Compared by device and the place on it, because the same directory has other paths elsewhere.
 *
 * Only adds to what is known: a container sees few mounts of its node, so that none are seen says nothing.
 */
export const mounts: Holder = {
  read(place, format): HoldsReading {
    try {
      return { holds: holdsAt(place, format, mountsSeen()), error: undefined };
    } catch (error) {
      if (!(error instanceof OperatorError)) throw error;
      return unreadable('Mount', messageOf(error));
    }
  },
};

function mountsSeen(): readonly Mount[] {
  try {
    return readMounts();
  } catch (thrown) {
    throw asDiskError('read the mounts of this process', thrown, 'ERR_HOLDS_UNREADABLE');
  }
}

function holdsAt({ root, allowedRoots }: HoldsPlace, format: Format, seen: readonly Mount[]): Holds {
  const byId = new Map(seen.map((mount) => [mount.id, mount]));
  const rootMount = byId.get(root.stat().mountId);
  // Mounted outside of what this process sees: then none of the others can be compared with it.
  if (rootMount === undefined) return noHolds;
  const rootPlace = placeOn(rootMount, root.path);
  using own = findOwn({ root, allowedRoots, format: format.name });
  using trash = own?.openDirIfPresent(trashFolder);
  const trashPlace = trash && placeOn(rootMount, trash.path);
  const placeOf = placeFinder(seen);
  const entries = new Map<EntryName, Hold>();
  for (const mount of seen) {
    const layers = overlayLayers(mount).map(placeOf);
    for (const place of [...placesUsed(mount, byId.get(mount.parentId)), ...layers]) {
      for (const name of place === undefined ? [] : entriesAt(componentsBelow(rootPlace, place), trashPlace && componentsBelow(trashPlace, place), { format, trash })) {
        if (!entries.has(name)) entries.set(name, { source: 'Mount', detail: `the mount at ${shown(mount.mountPoint)}` });
      }
    }
  }
  return { ...noHolds, entries, sources: ['Mount'] };
}

/** What it shows, and where it hangs. */
function placesUsed(mount: Mount, parent: Mount | undefined): (Place | undefined)[] {
  return [placeOn(mount, mount.mountPoint), parent && placeOn(parent, mount.mountPoint)];
}

/** The entry that it lies in; also one that is hidden in another, or has only the name of one that is. */
function entriesAt(components: readonly string[] | undefined, inTrash: readonly string[] | undefined, { format, trash }: { format: Format; trash: Dir | undefined }): EntryName[] {
  const hidden = (components ?? []).slice(0, 2).map((component) => entryHidden(component, format));
  return [entryAt(components, format, trash), itemAt(inTrash, format), ...hidden].filter((name) => name !== undefined);
}

/** Under its name, or beside it on its way out. */
function entryAt(components: readonly string[] | undefined, format: Format, trash: Dir | undefined): EntryName | undefined {
  const name = components?.[0] ?? '';
  const role = format.roleOf(name);
  return role.role === 'Entry' ? role.name : itemAside(name, format, trash)?.name;
}

/** In the trash: a mount follows the directory. */
function itemAt(components: readonly string[] | undefined, format: Format): EntryName | undefined {
  return itemIdOf(components?.[0] ?? '', format)?.name;
}

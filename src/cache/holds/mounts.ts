import { messageOf, OperatorError } from '../../errors.ts';
import { asDiskError, shown } from '../../disk/disk-error.ts';
import type { Mount } from '../../disk/mounts.ts';
import { readMounts } from '../../disk/mounts.ts';
import type { Place } from '../../disk/places.ts';
import { componentsBelow, overlayLayers, placeFinder, placeOn } from '../../disk/places.ts';
import type { Hold, Holds } from '../../policy/holds.ts';
import { noHolds } from '../../policy/holds.ts';
import type { EntryName } from '../../policy/snapshot.ts';
import type { Format } from '../formats/format.ts';
import { entryHidden } from '../hidden.ts';
import { itemAside, itemIdOf, trashPath } from '../trash.ts';
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

function holdsAt({ root }: HoldsPlace, format: Format, seen: readonly Mount[]): Holds {
  const byId = new Map(seen.map((mount) => [mount.id, mount]));
  const rootMount = byId.get(root.stat().mountId);
  // Mounted outside of what this process sees: then none of the others can be compared with it.
  if (rootMount === undefined) return noHolds;
  const rootPlace = placeOn(rootMount, root.path);
  const placeOf = placeFinder(seen);
  const entries = new Map<EntryName, Hold>();
  for (const mount of seen) {
    const layers = overlayLayers(mount).map(placeOf);
    for (const place of [...placesUsed(mount, byId.get(mount.parentId)), ...layers]) {
      for (const name of place === undefined ? [] : entriesAt(componentsBelow(rootPlace, place), format)) {
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
function entriesAt(components: readonly string[] | undefined, format: Format): EntryName[] {
  const hidden = (components ?? []).slice(0, 2).map((component) => entryHidden(component, format));
  return [entryAt(components, format), ...hidden].filter((name) => name !== undefined);
}

/** In the root, or on its way out: a mount follows the directory. */
function entryAt(components: readonly string[] | undefined, format: Format): EntryName | undefined {
  if (components === undefined) return undefined;
  const item = components.slice(0, trashPath.length).every((component, i) => component === trashPath[i]) ? components[trashPath.length] : undefined;
  if (item !== undefined) return itemIdOf(item, format)?.name;
  const aside = itemAside(components[0] ?? '', format);
  if (aside !== undefined) return aside.name;
  const role = format.roleOf(components[0] ?? '');
  return role.role === 'Entry' ? role.name : undefined;
}

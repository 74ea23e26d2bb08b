import { tryLock } from '../disk/lock.ts';
import { moveTree } from '../disk/move-tree.ts';
import { Slices } from '../disk/slices.ts';
import { msOf } from '../disk/stat.ts';
import { newestChangeMs } from '../disk/tree-age.ts';
import type { Holds } from '../policy/holds.ts';
import { holdOf } from '../policy/holds.ts';
import type { EntryName, Leftover, LeftoverKind, Snapshot } from '../policy/snapshot.ts';
import type { Victim } from './evict.ts';
import type { Format } from './formats/format.ts';
import { descriptionIn } from './metadata-file.ts';
import type { Site } from './site.ts';
import { note } from './site.ts';
import { newGarbageName } from './trash.ts';

export interface LeftoverSweep {
  readonly snapshot: Snapshot;
  readonly holds: Holds;
  readonly leftoverAgeMs: number;
}

/** Directories without metadata leave like entries: a put may adopt one at any moment. */
export function abandonedDirectories({ format }: Site, { snapshot, holds }: LeftoverSweep): Victim[] {
  return removable(snapshot, 'Orphan').flatMap((leftover) => {
    const name = entryOf(format, leftover);
    return name === undefined || holdOf(holds, { name, description: undefined }) !== undefined ? [] : [{ name, entry: undefined }];
  });
}

/**
 * Moves what old puts left behind into the trash, where it is deleted like everything else: staging directories, temp files, and
 * metadata without a directory. Each is looked at again right before. A crash leaves it in the one place or the other.
 * @returns the names that went
 */
export async function removeLeftovers(site: Site, sweep: LeftoverSweep): Promise<string[]> {
  const slices = new Slices(site.signal);
  const acts: readonly [LeftoverKind, (leftover: Leftover) => Promise<boolean>][] = [
    ['Staging', (leftover) => moveUnfinished(site, leftover, sweep, slices)],
    ['Temp', (leftover) => moveUnfinished(site, leftover, sweep, slices)],
    ['Ghost', async (leftover) => moveGhost(site, leftover, sweep)],
  ];
  const removed: string[] = [];
  for (const [kind, act] of acts) {
    for (const leftover of removable(sweep.snapshot, kind)) {
      if (slices.over) await slices.yield();
      try {
        if (await act(leftover)) removed.push(leftover.name);
      } catch (error) {
        note(site.errors, error, leftover.name);
      }
    }
  }
  return removed;
}

function removable({ leftovers }: Snapshot, kind: LeftoverKind): Leftover[] {
  return leftovers.filter((leftover) => leftover.kind === kind && leftover.removable);
}

function entryOf(format: Format, { name }: Leftover): EntryName | undefined {
  const role = format.roleOf(name);
  return role.role === 'Entry' ? role.name : undefined;
}

async function moveUnfinished({ root, trash, clock }: Site, { name }: Leftover, { leftoverAgeMs }: LeftoverSweep, slices: Slices): Promise<boolean> {
  const enoughMs = clock.now() - leftoverAgeMs;
  const changedMs = await newestChangeMs(root, name, { enoughMs, slices });
  return changedMs <= enoughMs && moveTree(root, name, trash, newGarbageName()) === 'Moved';
}

/** Under the lock no metadata is written: a put that publishes its directory at this moment writes its own afterwards. */
function moveGhost({ root, trash, format }: Site, leftover: Leftover, { holds }: LeftoverSweep): boolean {
  if (format.kind === 'Plain') return false;
  const name = entryOf(format, leftover);
  if (name === undefined || holdOf(holds, { name, description: descriptionIn(root, format, name) }) !== undefined) return false;
  using lock = tryLock(root, format.lockName(name));
  if (lock === undefined || root.statOf(name) !== undefined) return false;
  const metadata = root.statOf(format.metadataName(name));
  if (metadata === undefined || msOf(metadata.changedNs) !== leftover.changedAtMs) return false;
  return root.rename(format.metadataName(name), trash, newGarbageName()) === 'Moved';
}

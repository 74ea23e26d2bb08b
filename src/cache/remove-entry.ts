import { OperatorError } from '../errors.ts';
import { shown } from '../disk/disk-error.ts';
import { Slices } from '../disk/slices.ts';
import { EntryTable } from '../policy/entry-table.ts';
import { holdOf } from '../policy/holds.ts';
import type { Pin } from '../policy/keep.ts';
import { pinOf, pinsInForce, pinText } from '../policy/keep.ts';
import type { EntryName } from '../policy/snapshot.ts';
import { Backoff } from './backoff.ts';
import type { Victim } from './evict.ts';
import { evict } from './evict.ts';
import { nobody } from './holds/holders.ts';
import { lookAtEntry } from './entry-look.ts';
import { descriptionIn, tryEntryLock } from './metadata-file.ts';
import { deleteGarbage, doomItems } from './purge.ts';
import { recover } from './recover.ts';
import type { Site } from './site.ts';

export interface RemoveOptions {
  /** As its user calls it, for messages. */
  readonly key: string;
  readonly restMs: number;
  readonly pins: readonly Pin[];
  /** Also where it is pinned or in use. Then it does not rest either: the rest is there for who uses it. */
  readonly force: boolean;
}

/**
 * Evicts one entry because somebody asks for it, in the same steps as a pass. To be called under the pass lock. @returns once it is gone
 * @throws ERR_ENTRY_PINNED; ERR_ENTRY_IN_USE where it is held, or was used meanwhile; ERR_ENTRY_DAMAGED where its metadata is
 */
export async function removeEntry({ holders, ...rest }: Site, name: EntryName, { key, restMs, pins, force }: RemoveOptions): Promise<true> {
  const site = { ...rest, holders: force ? nobody : holders };
  // Also where it is forced: others in the trash come back, and are not removed by the way.
  await recover(site, holders.read().holds);
  const description = descriptionIn(site.root, site.format, name);
  const pin = force ? undefined : pinOf({ key, description: description ?? key }, pinsInForce(pins, site.clock.now()));
  if (pin !== undefined) throw new OperatorError('ERR_ENTRY_PINNED', `${shown(key)} is ${pinText(pin)}`);
  const byReading = holdOf(site.holders.read().holds, { name, description });
  const hold = byReading ?? (await site.holders.probe({ parent: site.root, name }, new Slices())).hold;
  if (hold !== undefined) throw new OperatorError('ERR_ENTRY_IN_USE', `${shown(key)} is in use: ${hold.detail}`);
  const victim = await victimOf(site, name);
  if (victim === undefined) return removeGhost(site, name, key);
  const { gone, items } = await evict(site, [victim]);
  throwFirst(site);
  if (gone.length === 0) throw new OperatorError('ERR_ENTRY_IN_USE', `${shown(key)} was used while it was being removed`);
  const own = new Set(items);
  const doomed = await doomItems(site, { restMs: force ? 0 : restMs, own, isShort: false, only: name });
  await deleteGarbage(site, doomed, { restMs, own, isShort: false, backoff: new Backoff() });
  throwFirst(site);
  return true;
}

/** Metadata without a directory. Nobody can use it, so it rests nowhere. */
function removeGhost({ root, format }: Site, name: EntryName, key: string): true {
  using lock = tryEntryLock(root, format, name);
  if (lock === undefined || root.statOf(name) !== undefined) throw new OperatorError('ERR_ENTRY_IN_USE', `${shown(key)} was used while it was being removed`);
  if (format.kind === 'Store') root.unlink(format.metadataName(name));
  return true;
}

function throwFirst({ errors: [first] }: Site): void {
  if (first !== undefined) throw new OperatorError(first.code, first.message);
}

async function victimOf({ root, format, clock }: Site, name: EntryName): Promise<Victim | undefined> {
  const kind = root.statOf(name)?.kind;
  if (kind === undefined) return undefined;
  if (!format.isTree(kind)) throw new OperatorError('ERR_ENTRY_DAMAGED', `${root.pathOf(name)} is no directory`);
  const look = await lookAtEntry(format, { parent: root, name }, name, new Slices());
  if (look.outcome === 'Damaged') throw new OperatorError('ERR_ENTRY_DAMAGED', look.message);
  return { name, entry: look.outcome === 'Read' ? EntryTable.of([look.row], clock.now()).at(0) : undefined };
}

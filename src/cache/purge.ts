import type { DeleteOptions, Deletion } from '../disk/delete-tree.ts';
import { deleteTree } from '../disk/delete-tree.ts';
import type { Dir } from '../disk/dir.ts';
import { Slices } from '../disk/slices.ts';
import { msOf } from '../disk/stat.ts';
import { OperatorError } from '../errors.ts';
import type { EntryName } from '../policy/snapshot.ts';
import type { Backoff } from './backoff.ts';
import { lookAtEntry } from './entry-look.ts';
import { tellRevived } from './journal.ts';
import { drop, fateOf, look, moveTreeIn, refuseStranger, revive } from './recover.ts';
import type { PurgeReport } from './report.ts';
import type { Site } from './site.ts';
import { holdOnTree, note, readHolds } from './site.ts';
import type { ItemId } from './trash.ts';
import { garbageIn, itemMetadata, itemsIn, itemTree } from './trash.ts';

export const defaultRestMs = 60_000;

/** How long what is in the trash rests there. */
export interface Rest {
  readonly restMs: number;
  /** The items that `restMs` was meant for, by name. All others rest for the default time at least: who evicted them may have promised it. */
  readonly own: ReadonlySet<string>;
  /** The disk has no room for anything to rest. */
  readonly isShort: boolean;
}

interface Garbage {
  readonly sizeBytes: number;
  /** Some of its files have hard links elsewhere: only their last ones give anything back. */
  readonly isLinked: boolean;
}

/** What was decided of evicted entries. */
export interface Doomed {
  /** Whose deletion has begun, by their name in the trash. */
  readonly garbage: ReadonlyMap<string, Garbage>;
  /** Wanted after all, and back. */
  readonly revived: readonly EntryName[];
  /** There may be more: it stopped when it had as many as it may keep in mind. */
  readonly unfinished: boolean;
}

/**
 * Decides, under the pass lock, which items of the trash have rested long enough and are still wanted by nobody, by the name they
 * had: what came into use meanwhile goes back; where something newer has the name, the old one stays until that is unused too.
 * @param only looks at the items of one entry
 * @param most so many are decided at most
 */
export async function doomItems(site: Site, { only, most = Infinity, ...rest }: Rest & { only?: EntryName; most?: number }): Promise<Doomed> {
  const holds = readHolds(site);
  const slices = new Slices();
  const garbage = new Map<string, Garbage>();
  const revived: EntryName[] = [];
  const nowMs = site.clock.now();
  let unfinished = false;
  for await (const item of itemsIn(site.trash, site.format, slices)) {
    if (slices.over) await slices.yield();
    unfinished = garbage.size + revived.length >= most;
    if (unfinished) break;
    if (only !== undefined && item.name !== only) continue;
    try {
      const seen = look(site, item, holds);
      const hasRested = restsUntilMs(site, item, { ...rest, nowMs }) <= nowMs;
      const found = { ...seen, hold: seen.hold ?? (seen.hasTree && hasRested ? await holdOnTree(site, item, slices) : undefined) };
      const fate = fateOf(found);
      if (fate === 'Restore') revived.push(...((await revive(site, item, found)) ? [item.name] : []));
      else if (fate === 'MoveTree') moveTreeIn(site, item);
      else if (fate === 'Drop' || (found.hold === undefined && hasRested)) await doom(site, item, garbage, slices);
    } catch (error) {
      note(site.errors, error, item.name);
    }
  }
  tellRevived(site, revived);
  return { garbage, revived, unfinished };
}

/** Bytes of the items that nobody holds, and that a purge would therefore delete if they had rested. */
export async function restingBytes(site: Site): Promise<number> {
  const { holds } = site.holders.read();
  const slices = new Slices(site.signal);
  let bytes = 0;
  for await (const item of itemsIn(site.trash, site.format, slices)) {
    const found = look(site, item, holds);
    if (found.hold !== undefined || fateOf(found) !== 'Rest') continue;
    using dir = site.trash.openDirIfPresent(item.id);
    // Being deleted by another process since it was listed.
    if (dir === undefined) continue;
    const entry = await lookAtEntry(site.format, { parent: dir, name: itemTree, metadata: itemMetadata }, item.name, slices);
    if (entry.outcome === 'Read') bytes += entry.row.sizeBytes;
    if (slices.over) await slices.yield();
  }
  return bytes;
}

/** When there is something to purge, or null where the trash is empty. @param retryMs when to ask again for what is due and had to stay */
export async function purgeDueAtMs(site: Site, { retryMs, backoff, ...rest }: Rest & { retryMs: number; backoff: Backoff }): Promise<number | null> {
  const nowMs = site.clock.now();
  const slices = new Slices();
  let firstMs = Infinity;
  for await (const name of garbageIn(site.trash, site.format, slices)) firstMs = Math.min(firstMs, Math.max(nowMs, backoff.nextTryAtMs(name)));
  for await (const item of itemsIn(site.trash, site.format, slices)) {
    if (slices.over) await slices.yield();
    const ms = restsUntilMs(site, item, { ...rest, nowMs });
    firstMs = Math.min(firstMs, ms <= nowMs ? nowMs + retryMs : ms);
  }
  return firstMs === Infinity ? null : firstMs;
}

/** How soon to ask again whether a name that is held is free: a purge that finds nothing to do must not follow upon itself. */
const retryMs = 10_000;

/** Counted from the moment the directory came in. A clock that was set back would let it rest for years: then it starts anew. */
function restsUntilMs({ trash }: Site, { id }: ItemId, { restMs, own, isShort, nowMs }: Rest & { nowMs: number }): number {
  const stat = trash.statOf(id);
  if (stat === undefined || isShort) return nowMs;
  const itsRestMs = own.has(id) ? restMs : Math.max(restMs, defaultRestMs);
  const cameInMs = msOf(stat.modifiedNs);
  if (cameInMs <= nowMs) return cameInMs + itsRestMs;
  trash.touch(id, nowMs);
  return nowMs + itsRestMs;
}

async function doom(site: Site, item: ItemId, begun: Map<string, Garbage>, slices: Slices): Promise<void> {
  using dir = site.trash.openDir(item.id);
  const look = await lookAtEntry(site.format, { parent: dir, name: itemTree, metadata: itemMetadata }, item.name, slices);
  refuseStranger(site, item);
  const garbage = drop(site, item);
  if (look.outcome === 'Read') begun.set(garbage, { sizeBytes: look.row.sizeBytes, isLinked: look.isLinked });
}

interface Deleted {
  readonly purgedEntries: number;
  readonly purgedBytes: number;
  /** Names that are gone or that the backoff remembers. Where there are none, the same names would be due again. */
  readonly settled: number;
}

/**
 * Deletes all garbage of the trash, off every lock: nobody else wants any of it, and two that delete the same come to the same end.
 * A crash leaves garbage.
 * @throws the signal's reason once it is aborted
 */
export async function deleteGarbage(site: Site, doomed: Doomed, { backoff, ...rest }: Rest & { backoff: Backoff }): Promise<PurgeReport> {
  const { errors } = site;
  const deleted = { purgedEntries: 0, purgedBytes: 0 };
  for (let isAll = false; !isAll && errors.length < mostErrors; ) {
    const due = await dueGarbage(site, backoff);
    const { purgedEntries, purgedBytes, settled } = await deleteEach(site, due, { doomed, backoff });
    deleted.purgedEntries += purgedEntries;
    deleted.purgedBytes += purgedBytes;
    isAll = due.length < mostNamesInTurn || settled === 0;
  }
  return { ...deleted, revived: doomed.revived.length, revivedNames: doomed.revived, nextDueAtMs: await purgeDueAtMs(site, { ...rest, retryMs, backoff }), errors };
}

/** A stopped prune may have left 1,000,000 names of 255 bytes, which are more than an agent has memory for. */
const mostNamesInTurn = 10_000;
/** Where each deletion fails the purge ends, and the next one goes on behind those that failed. */
const mostErrors = 1_000;

async function dueGarbage({ trash, format, clock, signal }: Site, backoff: Backoff): Promise<string[]> {
  const due: string[] = [];
  for await (const name of garbageIn(trash, format, new Slices(signal))) {
    if (backoff.nextTryAtMs(name) <= clock.now()) due.push(name);
    if (due.length === mostNamesInTurn) break;
  }
  return due;
}

async function deleteEach({ trash, clock, signal, errors, onProgress }: Site, names: readonly string[], { doomed, backoff }: { doomed: Doomed; backoff: Backoff }): Promise<Deleted> {
  const slices = new Slices(signal);
  let purgedEntries = 0;
  let purgedBytes = 0;
  let settled = 0;
  for (const [done, name] of names.entries()) {
    if (errors.length >= mostErrors) break;
    if (slices.over) await slices.yield();
    onProgress({ step: 'Purge', done, total: names.length });
    const { sizeBytes, isLinked = false } = doomed.garbage.get(name) ?? {};
    const { removed, firstError, freedBytes } = await deleteItem(trash, name, { slices, totalBytes: sizeBytes, countsFreed: isLinked });
    if (removed > 0 || firstError !== undefined) settled += 1;
    if (firstError !== undefined) {
      backoff.failed(name, note(errors, firstError), clock.now());
      continue;
    }
    backoff.succeeded(name);
    if (sizeBytes === undefined) continue;
    purgedEntries += 1;
    purgedBytes += freedBytes ?? sizeBytes;
  }
  return { purgedEntries, purgedBytes, settled };
}

/** What the disk refuses while an item is deleted is an error of this item, wherever it was thrown. */
async function deleteItem(trash: Dir, name: string, options: DeleteOptions): Promise<Deletion> {
  try {
    return await deleteTree(trash, name, options);
  } catch (error) {
    if (!(error instanceof OperatorError)) throw error;
    return { removed: 0, failed: 1, firstError: error, freedBytes: undefined };
  }
}

/**
 * Deletes what has rested long enough, in turns: what is kept in mind of each is more than an agent has for 100,000.
 * @param doom decides, under the pass lock; off it as soon as that is done, so that passes may run meanwhile
 */
export async function purgeInTurns(site: Site, doom: () => Promise<Doomed>, rest: Rest & { backoff: Backoff }): Promise<PurgeReport> {
  const deleted: Deleted[] = [];
  const revivedNames: EntryName[] = [];
  let doomed = await doom();
  while (doomed.unfinished) {
    deleted.push(await deleteEach(site, [...doomed.garbage.keys()], { doomed, backoff: rest.backoff }));
    revivedNames.push(...doomed.revived);
    doomed = await doomMore(site, doom);
  }
  const last = await deleteGarbage(site, doomed, rest);
  revivedNames.push(...doomed.revived);
  const sum = (of: (each: Omit<Deleted, 'settled'>) => number) => deleted.reduce((total, each) => total + of(each), of(last));
  return { ...last, purgedEntries: sum((each) => each.purgedEntries), purgedBytes: sum((each) => each.purgedBytes), revived: revivedNames.length, revivedNames };
}

/** Where another process has taken the lock between two turns, what was done is told all the same, and the next purge goes on. */
async function doomMore({ errors }: Site, doom: () => Promise<Doomed>): Promise<Doomed> {
  try {
    return await doom();
  } catch (error) {
    note(errors, error);
    return { garbage: new Map(), revived: [], unfinished: false };
  }
}

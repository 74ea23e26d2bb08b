import { Slices } from '../disk/slices.ts';
import type { CompiledCache } from '../policy/compiled.ts';
import type { EntryName } from '../policy/snapshot.ts';
import { Backlog } from './backlog.ts';
import { openCacheRoot } from './cache-root.ts';
import type { EntryLook } from './entry-look.ts';
import { lookAtEntry } from './entry-look.ts';
import { openFormat } from './formats/registry.ts';
import { entryHidden, hiddenIn } from './hidden.ts';
import { holdersOf } from './holds/holders.ts';
import type { OwnDirs } from './own-folder.ts';
import { findTrash } from './own-folder.ts';
import { fateOf, look } from './recover.ts';
import type { Ground, Site } from './site.ts';
import { atTree, systemClock } from './site.ts';
import { hasReserve } from './reserve.ts';
import type { ItemId } from './trash.ts';
import { itemMetadata, itemsIn } from './trash.ts';

/** An entry on its way out. */
export interface LeavingEntry {
  readonly key: string;
  readonly description: string;
  /** Null where it is not known. */
  readonly sizeBytes: number | null;
}

/** What is on its way out of a cache: evicted and not deleted yet, or half way out because a run was killed. No scan counts it among the entries. */
export interface Leaving {
  readonly entries: number;
  /** Of those whose size is known. */
  readonly bytes: number;
  /** The first thousand. */
  readonly examples: readonly LeavingEntry[];
}

const mostExamples = 1_000;

export interface LeavingOptions {
  readonly allowedRoots: readonly string[];
  readonly signal?: AbortSignal | undefined;
}

/** Reads only. @throws ERR_PATH_NOT_ALLOWED, ERR_ROOT_*, ERR_DISK_IO */
export async function leavingFrom({ root: path, home, format: formatName }: CompiledCache, { allowedRoots, signal }: LeavingOptions): Promise<Leaving> {
  const format = openFormat(formatName);
  using root = openCacheRoot(path, format, { allowedRoots });
  const place = { root, allowedRoots, format: formatName };
  using ours = findTrash(place, { unnamed: true });
  const holders = holdersOf({ root, home, allowedRoots }, format);
  return await leavingIn({ root, place, format, holders, signal, clock: systemClock, settleMs: 0, onProgress: () => {}, backlog: new Backlog(), errors: [], longestLockMs: 0 }, ours);
}

/** @param ours undefined where there is none yet */
async function leavingIn(ground: Ground, ours: OwnDirs | undefined): Promise<Leaving> {
  const examples: LeavingEntry[] = [];
  let entries = 0;
  let bytes = 0;
  for await (const { name, entry } of leavingEntries(ground, ours)) {
    const row = entry?.outcome === 'Read' ? entry.row : undefined;
    entries += 1;
    bytes += row?.sizeBytes ?? 0;
    if (examples.length < mostExamples) examples.push({ key: row?.key ?? name, description: row?.description ?? '', sizeBytes: row?.sizeBytes ?? null });
  }
  return { entries, bytes, examples };
}

interface Found {
  readonly name: EntryName;
  readonly entry: EntryLook | undefined;
}

async function* leavingEntries(ground: Ground, ours: OwnDirs | undefined): AsyncGenerator<Found, void, undefined> {
  const { root, format, holders, signal } = ground;
  const slices = new Slices(signal);
  // While the reserve is there nothing is hidden, and the store need not be listed for it.
  const hidden = ours === undefined || !hasReserve(ours.own) ? hiddenIn(root, undefined) : [];
  for (const { hiddenName } of hidden) {
    const name = entryHidden(hiddenName, format);
    if (name !== undefined) yield { name, entry: format.kind === 'Plain' ? await lookAtEntry(format, { parent: root, name: hiddenName }, name, slices) : undefined };
  }
  if (ours === undefined) return;
  const { own, trash } = ours;
  const site = { ...ground, own, trash };
  const { holds } = holders.read();
  for await (const item of itemsIn(trash, format, slices)) {
    const found = look(site, item, holds);
    const fate = fateOf(found);
    // Still under its own name, and no metadata is missing: a scan counts it.
    if (fate === 'Drop' || (format.kind === 'Plain' && found.inRoot === 'Tree' && !found.hasTree)) continue;
    yield { name: item.name, entry: await entryOf(site, item, slices) };
    if (slices.over) await slices.yield();
  }
}

/** @returns undefined where another process deletes it since it was listed */
async function entryOf(site: Site, item: ItemId, slices: Slices): Promise<EntryLook | undefined> {
  const { format, trash } = site;
  using dir = trash.openDirIfPresent(item.id);
  if (dir === undefined) return undefined;
  if (format.kind === 'Store') return await lookAtEntry(format, { parent: dir, name: item.name, metadata: itemMetadata }, item.name, slices);
  try {
    return await atTree(site, item, (tree) => lookAtEntry(format, tree, item.name, slices));
  } catch (error) {
    if (trash.statOf(item.id) === undefined) return undefined;
    throw error;
  }
}

import { resolve } from 'node:path';
import { formatDuration } from '../api/duration.ts';
import { formatBytes } from '../api/quantity.ts';
import { FilesystemCache } from '../cache/filesystem-cache.ts';
import { Cache } from '../cache/pass.ts';
import { OperatorError } from '../errors.ts';
import { idleMsOf, inLruOrder } from '../policy/lru-order.ts';
import type { EntryTable } from '../policy/entry-table.ts';
import type { Entry, Snapshot } from '../policy/snapshot.ts';
import type { EntryOptions } from './entry-target.ts';
import { entryTarget } from './entry-target.ts';
import type { ExitCode } from './exit.ts';
import { exitCodes, InputError } from './exit.ts';
import type { Io, OutputFormat } from './io.ts';
import { outJson } from './io.ts';
import { showMeasuring } from './measuring.ts';
import { ProgressLine } from './progress.ts';
import { count, entryTable, printable } from './table.ts';

/** Lists the entries, least recently used first, with whole keys: they are what the other commands take. */
export async function listEntries(options: EntryOptions & { output: OutputFormat }, io: Io): Promise<ExitCode> {
  const target = await entryTarget(options);
  using progress = new ProgressLine(io);
  using cache = new Cache(target, { allowedRoots: options.allowedRoot, onMeasured: showMeasuring(progress, target.name) });
  const snapshot = await cache.scan();
  progress.clear();
  if (options.output === 'json') outJson(io, { entries: listJson(snapshot) });
  else io.out(listText(snapshot));
  const { damaged } = snapshot;
  if (damaged.length > 0) io.err(`note: ${count(damaged.length, 'damaged name is', 'damaged names are')} not listed; cachepolicy explain tells them\n`);
  return exitCodes.done;
}

/** Prints the path of an entry, which counts as a use. @throws ERR_ENTRY_MISSING */
export async function getEntry(key: string, options: EntryOptions, io: Io): Promise<ExitCode> {
  const { root, cache } = await openStore('get', options);
  const path = await cache.get(key);
  if (path === undefined) throw new OperatorError('ERR_ENTRY_MISSING', `${root} has no entry ${key}`);
  io.out(`${path}\n`);
  return exitCodes.done;
}

/** Stores a copy of a directory, and prints its path. */
export async function putEntry(key: string, dir: string, options: EntryOptions & { description: string }, io: Io): Promise<ExitCode> {
  const { cache } = await openStore('put', options);
  io.out(`${await cache.put(key, resolve(dir), options.description)}\n`);
  return exitCodes.done;
}

/** Removes an entry for good, where there is one. @throws ERR_ENTRY_IN_USE, ERR_ENTRY_PINNED unless forced */
export async function invalidateEntry(key: string, options: EntryOptions & { force?: boolean; settle: number }, io: Io): Promise<ExitCode> {
  // Whoever asks for one entry to go wants it gone, not resting.
  using cache = new Cache(await entryTarget(options), { allowedRoots: options.allowedRoot, settleMs: options.settle, restMs: 0 });
  using progress = new ProgressLine(io);
  if (options.settle > 0) progress.show(`waiting ${formatDuration(2 * options.settle)} for a sign that ${key} is wanted`);
  const removed = await cache.remove(key, { force: options.force ?? false });
  if (!removed) io.err(`note: there is no entry ${printable(key)}, so nothing was removed; cachepolicy entry list shows what there is\n`);
  return exitCodes.done;
}

/** The entries of a directory cache are whatever its users put there, and its users read them by their paths. */
async function openStore(command: string, options: EntryOptions): Promise<{ root: string; cache: FilesystemCache }> {
  const { format, root, home, name } = await entryTarget(options);
  if (format === 'directory') throw new InputError([`entry ${command}: ${name} is a plain directory; read and write ${root} itself`]);
  return { root, cache: new FilesystemCache({ format, root, home }, { allowedRoots: options.allowedRoot }) };
}

function listJson({ entries, takenAtMs }: Snapshot) {
  return leastRecentlyUsedFirst(entries, takenAtMs).map(({ key, description, sizeBytes, cachedAtMs, lastAccessedAtMs, clockAhead }) => ({
    key, description, sizeBytes, cachedAt: new Date(cachedAtMs).toISOString(), lastAccessed: new Date(lastAccessedAtMs).toISOString(), clockAhead,
  }));
}

function listText({ entries, takenAtMs }: Snapshot): string {
  const rows = leastRecentlyUsedFirst(entries, takenAtMs).map((entry) => [
    entry.key, entry.description, formatBytes(entry.sizeBytes), `${formatDuration(takenAtMs - entry.cachedAtMs)} ago`,
    entry.clockAhead ? 'ahead' : `${formatDuration(idleMsOf(entry, takenAtMs))} ago`,
  ]);
  return entryTable(['KEY', 'DESCRIPTION', 'SIZE', 'CACHED', 'USED'], rows);
}

function leastRecentlyUsedFirst(entries: EntryTable, takenAtMs: number): Entry[] {
  return Array.from(inLruOrder(entries, takenAtMs), (row) => entries.at(row));
}

import { readFileSync } from 'node:fs';
import { uptime } from 'node:os';
import type { Dir } from '../disk/dir.ts';
import type { Slices } from '../disk/slices.ts';
import { OperatorError } from '../errors.ts';
import type { Hold, Holds } from '../policy/holds.ts';
import type { EntryName } from '../policy/snapshot.ts';
import type { Format } from './formats/format.ts';
import type { Holders } from './holds/holders.ts';
import type { Backlog } from './backlog.ts';
import { tryEntryLock } from './metadata-file.ts';
import type { OwnPlace } from './own-search.ts';
import type { PassError, PassProgress } from './report.ts';
import type { ItemId } from './trash.ts';
import { asideName, asideOf, holdsTree, itemTree } from './trash.ts';

/** Time, as an engine needs it; tests step it. */
export interface Clock {
  /** The wall clock, ms since the epoch: what is compared with times on disk. */
  now(): number;
  /** A clock that never jumps, ms; only differences mean anything. */
  monotonicMs(): number;
  /** Since the boot of the machine, ms, with the time in which it was suspended. */
  uptimeMs(): number;
  /** Differs from one boot to the next. */
  bootId(): string;
  /** Waits, or ends early once the signal is aborted. Never rejects. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonicMs: () => performance.now(),
  uptimeMs: () => uptime() * 1000,
  bootId: () => readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim(),
  sleep: (ms, signal) =>
    new Promise((resolve) => {
      if (signal?.aborted) return resolve();
      const wake = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', wake);
        resolve();
      };
      const timer = setTimeout(wake, ms);
      signal?.addEventListener('abort', wake);
    }),
};

/** What every step of a pass over one cache works with, while the pass lock is held. */
export interface Site {
  readonly root: Dir;
  /** The cache, as far as it decides where our folder is. */
  readonly place: OwnPlace;
  readonly own: Dir;
  readonly trash: Dir;
  readonly format: Format;
  readonly clock: Clock;
  readonly settleMs: number;
  readonly holders: Holders;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: (progress: PassProgress) => void;
  readonly backlog: Backlog;
  /** What failed while all else went on. */
  readonly errors: PassError[];
  /** The longest that one entry was locked so far. */
  longestLockMs: number;
}

/** The same where there is no trash yet, because a full disk has no space for one. */
export type Ground = Omit<Site, 'own' | 'trash'>;

/** Under it no metadata is written. @returns undefined where another process has it */
export function lockEntry(site: Ground, name: EntryName): Disposable | undefined {
  const lock = tryEntryLock(site.root, site.format, name);
  if (lock === undefined) return undefined;
  const sinceMs = site.clock.monotonicMs();
  return {
    [Symbol.dispose]() {
      lock[Symbol.dispose]();
      site.longestLockMs = Math.max(site.longestLockMs, site.clock.monotonicMs() - sinceMs);
    },
  };
}

/** Calls `act` with the place of an item's tree: in the trash, aside in its own directory, or under its own name. */
export async function atTree<T>({ root, trash, format }: Site, item: ItemId, act: (tree: { parent: Dir; name: string }) => Promise<T>): Promise<T> {
  using dir = trash.openDir(item.id);
  if (holdsTree(trash, item)) return await act({ parent: dir, name: itemTree });
  return await act({ parent: root, name: asideOf({ root, trash, format }, item) === 'Tree' ? asideName(item) : item.name });
}

/** What is in use now. A source that cannot be read holds everything, and is reported once. */
export function readHolds({ holders, errors }: Site): Holds {
  const { holds, error } = holders.read();
  if (error !== undefined && !errors.some(({ message }) => message === error.message)) errors.push(error);
  return holds;
}

/** Who uses the tree of an item, wherever it lies now: what only the tree itself can tell. */
export async function holdOnTree(site: Site, item: ItemId, slices: Slices): Promise<Hold | undefined> {
  const { holders, errors } = site;
  const { name } = item;
  const { hold, error } = await atTree(site, item, (tree) => holders.probe(tree, slices));
  if (error !== undefined) errors.push({ ...error, entry: name });
  return hold;
}

/** An error of one entry is noted; everything else (a bug, a disk that stopped, a filesystem that cannot do it) ends the pass. */
export function note(errors: PassError[], error: unknown, entry?: EntryName | string): PassError {
  if (!(error instanceof OperatorError) || error.code === 'ERR_ROOT_UNSUPPORTED') throw error;
  const noted = { code: error.code, message: error.message, ...(entry !== undefined && { entry }) };
  errors.push(noted);
  return noted;
}

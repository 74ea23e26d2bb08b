import type { Dir, Fault } from '../disk/dir.ts';
import { openRoot } from '../disk/pinned-root.ts';
import { readSmallFile, writeFileAtomically } from '../disk/small-file.ts';
import { OperatorError } from '../errors.ts';
import type { CompiledCache } from '../policy/compiled.ts';
import type { Totals } from '../policy/node-report.ts';
import { openOwn } from './own-folder.ts';
import { findOwn } from './own-search.ts';

/** What of a cache outlives the agent: which policy was enforced last, and what has been evicted for it. */
export interface CacheMemory {
  readonly policy: { readonly uid: string; readonly generation: number };
  readonly totals: Totals;
}

export interface MemoryPlace extends Pick<CompiledCache, 'root' | 'format'> {
  readonly allowedRoots: readonly string[];
  /** For tests; see CacheOptions. */
  readonly fault?: Fault;
}

const fileName = 'state';
const formatVersion = 1;
const maxBytes = 4096;

/** Reads `state` in our folder. Undefined where there is none, or one that cannot be read; `hasMemory` tells these apart. @throws ERR_ROOT_* */
export function readMemory(place: MemoryPlace): CacheMemory | undefined {
  return withOwn(place, (own) => {
    const file = readSmallFile(own, fileName, maxBytes);
    return file.outcome === 'Read' ? parse(file.bytes.toString('utf8')) : undefined;
  });
}

/** Whether anything was ever remembered there, readable or not. @throws ERR_ROOT_* */
export function hasMemory(place: MemoryPlace): boolean {
  return withOwn(place, (own) => own.statOf(fileName)) !== undefined;
}

/** Opens our folder of a cache for who only reads. @returns undefined where there is none @throws ERR_ROOT_* */
export function withOwn<T>({ root, allowedRoots, format }: MemoryPlace, read: (own: Dir) => T): T | undefined {
  using dir = openRoot(root, { allowedRoots });
  using own = findOwn({ root: dir, allowedRoots, format });
  return own && read(own);
}

/** @throws ERR_ROOT_*, ERR_DISK_IO, ERR_DISK_FULL; then what was there before stands */
export function writeMemory({ root, allowedRoots, format, fault }: MemoryPlace, memory: CacheMemory): void {
  using dir = openRoot(root, { allowedRoots, fault });
  using own = openOwn({ root: dir, allowedRoots, format });
  const tempName = 'state.new';
  // Left by a crash.
  own.unlink(tempName);
  writeFileAtomically(own, { name: fileName, tempName, content: `${JSON.stringify({ formatVersion, ...memory })}\n`, mode: 0o600 });
}

function parse(text: string): CacheMemory | undefined {
  try {
    const { formatVersion: version, policy, totals } = JSON.parse(text) as CacheMemory & { formatVersion: number };
    const counts = [totals.evictedEntries, totals.evictedBytes, totals.revived, totals.raced, policy.generation];
    const known = version === formatVersion && typeof policy.uid === 'string' && counts.every((n) => Number.isSafeInteger(n) && n >= 0);
    return known ? { policy, totals } : undefined;
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof TypeError) return undefined;
    throw new OperatorError('ERR_BUG', 'the state of a cache cannot be parsed', { cause: error });
  }
}

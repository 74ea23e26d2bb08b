import type { CacheStats } from '../policy/snapshot.ts';

/** One cached directory tree, as the trait knows it. Times are ms since the epoch; the disk keeps whole seconds. */
export interface CacheEntry {
  readonly key: string;
  readonly description: string;
  readonly sizeBytes: number;
  readonly cachedAtMs: number;
  readonly lastAccessedAtMs: number;
}

/**
 * Directory-shaped values under opaque keys, after the `CacheBackend` trait of the Rust crate a3s-box-core 3.3.0.
 *
 * Calls with different keys may run at once; of two puts of the same key the last one wins.
 * A key is one path component; anything else is refused with ERR_ENTRY_NAME.
 */
export interface CacheBackend {
  /** The path of the entry, or undefined on a miss. A hit counts as a use. */
  get(key: string): Promise<string | undefined>;
  /** Copies the tree below `sourceDir` in and returns its path. An entry of that key is replaced; one in use is refused with ERR_ENTRY_IN_USE. */
  put(key: string, sourceDir: string, description: string): Promise<string>;
  /** Removes the entry; one that is absent is no error, one in use is refused with ERR_ENTRY_IN_USE. */
  invalidate(key: string): Promise<void>;
  /** Evicts the least recently accessed entries until both limits hold, never one in use. Returns how many went. */
  prune(maxEntries: number, maxBytes: number): Promise<number>;
  list(): Promise<CacheEntry[]>;
  stats(): Promise<CacheStats>;
}

/** The rule of the runtime for a key, and so of every backend: one path component. */
export function isKey(key: string): boolean {
  return key !== '' && key !== '.' && key !== '..' && !/[\0/\\]/.test(key);
}

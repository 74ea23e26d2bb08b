import { mkdirSync, mkdtempSync, realpathSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { copyTree, openSource } from '../disk/copy-tree.ts';
import { deleteTree } from '../disk/delete-tree.ts';
import type { Dir } from '../disk/dir.ts';
import { openRoot } from '../disk/pinned-root.ts';
import { OperatorError } from '../errors.ts';
import type { CacheStats } from '../policy/snapshot.ts';
import type { CacheBackend, CacheEntry } from './backend.ts';
import { isKey } from './backend.ts';

interface Held {
  entry: CacheEntry;
  /** The name of its tree in the directory. */
  readonly tree: string;
}

/**
 * The trait without a format: what is cached is known in memory alone, and the trees lie in a temporary directory of its own, which
 * goes with the cache. For tests, and for caches that should not outlive their process.
 */
export class MemoryCache implements CacheBackend, AsyncDisposable {
  readonly #now: () => number;
  readonly #entries = new Map<string, Held>();
  readonly #own = mkdtempSync(join(realpathSync(tmpdir()), 'memory-cache-'));
  readonly #path = join(this.#own, 'trees');
  readonly #dir: Dir;
  #made = 0;

  constructor({ now = Date.now }: { now?: () => number } = {}) {
    this.#now = now;
    mkdirSync(this.#path);
    this.#dir = openRoot(this.#path, { allowedRoots: [this.#own] });
  }

  async get(key: string): Promise<string | undefined> {
    refuseNoKey(key);
    const held = this.#entries.get(key);
    if (held === undefined) return undefined;
    held.entry = { ...held.entry, lastAccessedAtMs: this.#now() };
    return join(this.#path, held.tree);
  }

  async put(key: string, sourceDir: string, description: string): Promise<string> {
    refuseNoKey(key);
    const tree = `tree-${(this.#made += 1)}`;
    using source = openSource(sourceDir);
    const sizeBytes = await copyTree(source, this.#dir, tree).catch(async (error: unknown) => {
      await deleteTree(this.#dir, tree);
      throw error;
    });
    const nowMs = this.#now();
    const before = this.#entries.get(key);
    this.#entries.set(key, { tree, entry: { key, description, sizeBytes, cachedAtMs: nowMs, lastAccessedAtMs: nowMs } });
    if (before !== undefined) await deleteTree(this.#dir, before.tree);
    return join(this.#path, tree);
  }

  async invalidate(key: string): Promise<void> {
    refuseNoKey(key);
    const held = this.#entries.get(key);
    this.#entries.delete(key);
    if (held !== undefined) await deleteTree(this.#dir, held.tree);
  }

  async prune(maxEntries: number, maxBytes: number): Promise<number> {
    const oldestFirst = (await this.list()).sort((a, b) => a.lastAccessedAtMs - b.lastAccessedAtMs || a.cachedAtMs - b.cachedAtMs || (a.key < b.key ? -1 : 1));
    let { entryCount, totalBytes } = await this.stats();
    let evicted = 0;
    for (const { key, sizeBytes } of oldestFirst) {
      if (entryCount <= maxEntries && totalBytes <= maxBytes) break;
      await this.invalidate(key);
      entryCount -= 1;
      totalBytes -= sizeBytes;
      evicted += 1;
    }
    return evicted;
  }

  async list(): Promise<CacheEntry[]> {
    return this.#entries.values().map(({ entry }) => entry).toArray();
  }

  async stats(): Promise<CacheStats> {
    const entries = await this.list();
    return { entryCount: entries.length, totalBytes: entries.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const key of this.#entries.keys()) await this.invalidate(key);
    this.#dir[Symbol.dispose]();
    rmdirSync(this.#path);
    rmdirSync(this.#own);
  }
}

function refuseNoKey(key: string): void {
  if (!isKey(key)) throw new OperatorError('ERR_ENTRY_NAME', `${JSON.stringify(key)} is no key`);
}

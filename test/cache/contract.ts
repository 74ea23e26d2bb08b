import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { CacheBackend } from '../../src/cache/backend.ts';
import { listing, scratchDir } from '../disk/scratch.ts';

/** A backend under test, and the time it lives in. */
export interface Subject {
  readonly backend: CacheBackend;
  /** Lets time pass: stores may know whole seconds only. */
  readonly advance: (ms: number) => void;
  readonly nowMs: () => number;
}

export interface Deviations {
  /** Why descriptions come back empty. */
  readonly noDescriptions?: string;
}

/** A tree of `bytes` bytes in two files and a link. */
export function tree(bytes: number, mark = 'x'): string {
  const dir = scratchDir();
  mkdirSync(join(dir, 'sub'));
  writeFileSync(join(dir, 'file'), mark.repeat(bytes - 4));
  symlinkSync('file', join(dir, 'sub', 'link'));
  return dir;
}

/** What every CacheBackend does. A deviation needs a reason. */
export function cacheContract(name: string, make: () => Subject, deviations: Deviations = {}): void {
  describe(`${name} keeps the contract of CacheBackend`, () => {
    test('what is not there is a miss', async () => {
      expect(await make().backend.get('key')).toBeUndefined();
    });

    test('what was put is there, whole, under the path that put returned', async () => {
      const { backend } = make();
      const source = tree(100);
      const path = await backend.put('key', source, 'an image');
      expect(await backend.get('key')).toBe(path);
      expect(listing(path)).toEqual(listing(source));
    });

    test('put copies: the source may change afterwards', async () => {
      const { backend } = make();
      const source = tree(100);
      const before = listing(source);
      const path = await backend.put('key', source, '');
      writeFileSync(join(source, 'file'), 'other');
      expect(listing(path)).toEqual(before);
    });

    test('put replaces the whole tree, its size and its times', async () => {
      const { backend, advance, nowMs } = make();
      await backend.put('key', tree(100, 'a'), 'old');
      advance(5_000);
      const source = tree(200, 'b');
      writeFileSync(join(source, 'new'), '');
      const path = await backend.put('key', source, 'new');
      expect(listing(path)).toEqual(listing(source));
      expect(await backend.list()).toMatchObject([{ key: 'key', sizeBytes: 200, cachedAtMs: nowMs() }]);
    });

    test.skipIf(deviations.noDescriptions)('the description is kept, and replaced', async () => {
      const { backend } = make();
      await backend.put('key', tree(100), 'docker.io/library/a "b"\n\u{1f600}');
      expect(await backend.list()).toMatchObject([{ description: 'docker.io/library/a "b"\n\u{1f600}' }]);
      await backend.put('key', tree(100), 'other');
      expect(await backend.list()).toMatchObject([{ description: 'other' }]);
    });

    test('puts of different keys at once all land', async () => {
      const { backend } = make();
      const keys = Array.from({ length: 8 }, (_, i) => `key-${i}`);
      await Promise.all(keys.map((key, i) => backend.put(key, tree(100 + i), '')));
      expect((await backend.list()).map(({ key, sizeBytes }) => [key, sizeBytes]).toSorted()).toEqual(keys.map((key, i) => [key, 100 + i]));
    });

    test('of puts of one key at once one wins, whole', async () => {
      const { backend } = make();
      const sources = Array.from({ length: 6 }, (_, i) => tree(100 + i, `${i}`));
      await Promise.all(sources.map((source) => backend.put('key', source, '')));
      const path = (await backend.get('key')) ?? '';
      const [entry] = await backend.list();
      expect(sources.map(listing)).toContainEqual(listing(path));
      expect(entry?.sizeBytes).toBe(100 + sources.findIndex((source) => `${listing(source)}` === `${listing(path)}`));
    });

    test('a source that cannot be read leaves what was there', async () => {
      const { backend } = make();
      await backend.put('key', tree(100), '');
      await expect(backend.put('key', '/nowhere/at/all', '')).rejects.toMatchObject({ code: 'ERR_INPUT_UNREADABLE' });
      expect(await backend.stats()).toEqual({ entryCount: 1, totalBytes: 100 });
      expect(await backend.get('key')).toBeDefined();
    });

    test('a hit counts as a use, a listing does not', async () => {
      const { backend, advance, nowMs } = make();
      await backend.put('key', tree(100), '');
      const cachedAtMs = nowMs();
      advance(7_000);
      expect(await backend.list()).toMatchObject([{ cachedAtMs, lastAccessedAtMs: cachedAtMs }]);
      await backend.get('key');
      expect(await backend.list()).toMatchObject([{ cachedAtMs, lastAccessedAtMs: cachedAtMs + 7_000 }]);
    });

    test('invalidate removes one entry, and is content with none', async () => {
      const { backend } = make();
      await backend.put('key', tree(100), '');
      await backend.put('other', tree(100), '');
      await backend.invalidate('key');
      await backend.invalidate('key');
      expect(await backend.get('key')).toBeUndefined();
      expect(await backend.stats()).toEqual({ entryCount: 1, totalBytes: 100 });
    });

    test('what was invalidated can be put again', async () => {
      const { backend } = make();
      await backend.put('key', tree(100), '');
      await backend.invalidate('key');
      await backend.put('key', tree(300), '');
      expect(await backend.stats()).toEqual({ entryCount: 1, totalBytes: 300 });
    });

    /** a, b, c, d of 100 bytes each, put in this order; then a was used again. */
    async function four(): Promise<CacheBackend> {
      const { backend, advance } = make();
      for (const key of ['a', 'b', 'c', 'd']) {
        await backend.put(key, tree(100), '');
        advance(2_000);
      }
      await backend.get('a');
      advance(2_000);
      return backend;
    }

    async function keysIn(backend: CacheBackend): Promise<string[]> {
      return (await backend.list()).map(({ key }) => key).toSorted();
    }

    test.each([
      ['by number', 2, 10_000, ['a', 'd']],
      ['by bytes', 10, 300, ['a', 'c', 'd']],
      ['by whichever is tighter', 3, 150, ['a']],
      ['to nothing by number', 0, 10_000, []],
      ['to nothing by bytes', 10, 0, []],
      ['not at all within the limits', 4, 400, ['a', 'b', 'c', 'd']],
    ])('prune evicts the least recently used %s', async (_, maxEntries, maxBytes, left) => {
      const backend = await four();
      expect(await backend.prune(maxEntries, maxBytes)).toBe(4 - left.length);
      expect(await keysIn(backend)).toEqual(left);
      expect(await backend.prune(maxEntries, maxBytes)).toBe(0);
      for (const key of left) expect(await backend.get(key)).toBeDefined();
    });

    test('the stats are the sums of the list', async () => {
      const backend = await four();
      expect(await backend.stats()).toEqual({ entryCount: 4, totalBytes: 400 });
      expect(await make().backend.stats()).toEqual({ entryCount: 0, totalBytes: 0 });
    });

    test.each(['__proto__', 'constructor', '-rf', 'with blank', 'new\nline', 'клю\u0301ч', '"quoted"', 'a'.repeat(200)])('%j is a key', async (key) => {
      const { backend } = make();
      await backend.put(key, tree(100), '');
      expect(await backend.get(key)).toBeDefined();
      expect(await backend.list()).toMatchObject([{ key, sizeBytes: 100 }]);
      expect(await backend.prune(0, 0)).toBe(1);
      expect(await backend.get(key)).toBeUndefined();
    });

    test.each(['', '.', '..', 'a/b', '../escape', '/absolute', 'back\\slash', 'nul\0'])('%j is no key', async (key) => {
      const { backend } = make();
      const refusal = { code: 'ERR_ENTRY_NAME' };
      await expect(backend.get(key)).rejects.toMatchObject(refusal);
      await expect(backend.put(key, tree(100), '')).rejects.toMatchObject(refusal);
      await expect(backend.invalidate(key)).rejects.toMatchObject(refusal);
      expect(await backend.list()).toEqual([]);
    });
  });
}

import { existsSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { FilesystemCache } from '../../src/cache/filesystem-cache.ts';
import { MemoryCache } from '../../src/cache/memory-cache.ts';
import type { StoreFormatName } from '../../src/policy/compiled.ts';
import { scratchDir } from '../disk/scratch.ts';
import type { Subject } from './contract.ts';
import { cacheContract, tree } from './contract.ts';
import { SteppedClock } from './stepped-clock.ts';

function onDisk(format: StoreFormatName, store: string): Subject {
  const home = join(scratchDir(), 'home');
  const root = join(home, 'cache', store);
  mkdirSync(root, { recursive: true });
  mkdirSync(join(home, 'boxes'));
  const clock = new SteppedClock();
  const backend = new FilesystemCache({ format, root, home }, { allowedRoots: [dirname(home)], clock, settleMs: 10, restMs: 0 });
  return { backend, advance: (ms) => clock.advance(ms), nowMs: () => clock.now() };
}

function inMemory(): Subject {
  const clock = new SteppedClock();
  const backend = new MemoryCache({ now: () => clock.now() });
  onTestFinished(async () => await backend[Symbol.asyncDispose]());
  return { backend, advance: (ms) => clock.advance(ms), nowMs: () => clock.now() };
}

cacheContract('the rootfs store on disk', () => onDisk('a3s-rootfs', 'rootfs'));
cacheContract('the layer store on disk', () => onDisk('a3s-layers', 'layers'), { noDescriptions: 'the metadata of a layer has no field for one' });
cacheContract('memory', inMemory);

test('memory gives its trees back with the cache', async () => {
  const backend = new MemoryCache();
  const path = await backend.put('key', tree(100), '');
  await backend[Symbol.asyncDispose]();
  expect(existsSync(dirname(dirname(path)))).toBe(false);
});

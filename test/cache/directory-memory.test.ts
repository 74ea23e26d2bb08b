import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { scratchDir } from '../disk/scratch.ts';

/** In a process of its own: what does not fit ends it. */
const saveAndLoad = `
  import { DirectoryMemory } from './src/cache/formats/directory-memory.ts';
  import { openRoot } from './src/disk/pinned-root.ts';
  const [dir, count] = process.argv.slice(1);
  const memory = new DirectoryMemory();
  const row = { modifiedUs: 1763900000123456, changedUs: 1763900000123456, allocatedBytes: 1e9, newestUs: 1763900000123456, writtenUs: 1763900000123456, names: 12, measuredAtMs: 1, usedAtMs: 2, bornAtMs: 3, flags: 0 };
  for (let i = 0; i < count; i += 1) memory.set('models--an-organisation--the-name-of-a-model-' + i, { ...row, inode: 1e9 + i });
  using own = openRoot(dir + '/own', { allowedRoots: [dir] });
  memory.save(own);
  const loaded = new DirectoryMemory();
  loaded.load(own);
  console.log(loaded.size, loaded.get('models--an-organisation--the-name-of-a-model-' + (count - 1)).inode);
`;

test('what is remembered of 100,000 entries is saved and loaded in the heap that an agent has', () => {
  const dir = scratchDir();
  mkdirSync(join(dir, 'own'));
  const heap = ['--max-semi-space-size=1', '--max-old-space-size=48'];
  expect(execFileSync(process.execPath, [...heap, '--input-type=module-typescript', '-e', saveAndLoad, dir, '100000'], { encoding: 'utf8', stdio: 'pipe' })).toBe('100000 1000099999\n');
}, 60_000);

import { lstatSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { entriesHinted, hintIn } from '../../src/agent/compiler.ts';
import { scratchDir } from '../disk/scratch.ts';

test('a root that is not there hints at nothing', () => {
  const root = scratchDir();
  expect([entriesHinted(root), entriesHinted(join(root, 'absent'))]).toEqual([hintIn(lstatSync(root)), 0]);
});

test.each([
  ['ext4 with 66,000 directories and nothing beside them', { nlink: 1, size: 7_016_448 }, 23_388],
  ['an empty directory of a filesystem that counts no links', { nlink: 1, size: 0 }, 0],
  ['tmpfs with 100,000 entries', { nlink: 100_002, size: 6_000_000 }, 100_000],
])('%s', (_, stat, entries) => {
  expect(hintIn(stat)).toBe(entries);
});

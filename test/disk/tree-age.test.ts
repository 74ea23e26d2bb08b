import { chmodSync, mkdirSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { Slices } from '../../src/disk/slices.ts';
import { newestChangeMs } from '../../src/disk/tree-age.ts';
import { asRoot, mount, pin, scratchDir } from './scratch.ts';

function treeOf(...files: readonly string[]): string {
  const path = scratchDir();
  for (const file of files) {
    mkdirSync(join(path, 'tree', file, '..'), { recursive: true });
    writeFileSync(join(path, 'tree', file), '');
  }
  return path;
}

async function newest(path: string, enoughMs = Number.POSITIVE_INFINITY): Promise<number> {
  return await newestChangeMs(pin(path), 'tree', { enoughMs, slices: new Slices() });
}

test('a change deep inside is the change of the tree, whatever its mtime says', async () => {
  const path = treeOf('a/b/file');
  // The kernel's change times are some milliseconds behind the clock.
  await new Promise((resolve) => setTimeout(resolve, 200));
  const before = Date.now() - 100;
  chmodSync(join(path, 'tree/a/b/file'), 0o600);
  utimesSync(join(path, 'tree/a/b/file'), 1, 1);
  expect(await newest(path)).toBeGreaterThanOrEqual(before);
});

test('an absent tree never changed', async () => {
  expect(await newestChangeMs(pin(scratchDir()), 'tree', { enoughMs: 0, slices: new Slices() })).toBe(0);
});

test('the first change that is too new ends the walk', async () => {
  expect(await newest(treeOf('a/b/file'), 0)).toBeLessThanOrEqual(Date.now());
});

describe.runIf(asRoot)('as root', () => {
  test('what is mounted inside makes the age unknown, which is never old', async () => {
    const path = treeOf('a/file');
    mkdirSync(join(path, 'tree/mnt'));
    mount('-t', 'tmpfs', 'tmpfs', join(path, 'tree/mnt'));
    expect(await newest(path)).toBe(Number.POSITIVE_INFINITY);
  });
});

import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { rootMark } from '../../src/agent/root-mark.ts';

let dir: string;
let root: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'cachepolicy-mark-'));
  root = join(dir, 'home', 'rootfs');
  mkdirSync(root, { recursive: true });
});
afterEach(() => rmSync(dir, { recursive: true }));

it('stands still while nothing happens in the root', () => {
  mkdirSync(join(root, 'entry'));
  const before = rootMark(root);
  writeFileSync(join(root, 'entry', 'file'), 'inside an entry');
  expect(rootMark(root)).toBe(before);
});

it('changes with every rename in the root, also where the time of the root is put back', () => {
  writeFileSync(join(root, 'metadata'), 'old');
  utimesSync(root, 1000, 1000);
  const before = rootMark(root);
  writeFileSync(join(dir, 'new'), 'new');
  renameSync(join(dir, 'new'), join(root, 'metadata'));
  utimesSync(root, 1000, 1000);
  expect(rootMark(root)).not.toBe(before);
});

it('changes where another directory takes the place', () => {
  const before = rootMark(root);
  renameSync(root, join(dir, 'old'));
  expect(rootMark(root)).toBe('ENOENT');
  mkdirSync(root);
  expect(rootMark(root)).not.toBe(before);
});

it('names what keeps the root from being seen, and never throws for it', () => {
  renameSync(join(dir, 'home'), join(dir, 'moved'));
  expect(rootMark(root)).toBe('ENOENT');
  writeFileSync(join(dir, 'home'), '');
  expect(rootMark(root)).toBe('ENOTDIR');
  rmSync(join(dir, 'home'));
  symlinkSync('home', join(dir, 'home'));
  expect(rootMark(root)).toBe('ELOOP');
  expect(rootMark(join(dir, 'x'.repeat(300)))).toBe('ENAMETOOLONG');
});

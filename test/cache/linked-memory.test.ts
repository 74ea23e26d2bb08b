import { expect, test } from 'vitest';
import { LinkedMemory } from '../../src/cache/formats/linked-memory.ts';
import type { EntryName } from '../../src/policy/snapshot.ts';

const name = (text: string) => text as EntryName;

function measured(inodes: readonly number[], { device = 1n, hasSharedFiles = inodes.length > 0 } = {}) {
  const ones = Uint32Array.from(inodes, () => 1);
  const linked = { inodes: BigUint64Array.from(inodes, BigInt), linksHere: ones, links: ones, allocatedBytes: Float64Array.from(inodes, () => 1) };
  return { top: { device } as never, hasSharedFiles, linked };
}

test('lists the files of entries until there are as many as it may remember, and names the other entries without theirs', () => {
  const memory = new LinkedMemory(3);
  memory.set(name('a'), measured([1, 2]), 1n);
  memory.set(name('b'), measured([3, 4]), 1n);
  memory.set(name('c'), measured([5]), 1n);
  memory.set(name('d'), measured([]), 1n);
  const known = memory.only(new Set(['a', 'b', 'c', 'd']))!;
  expect([...known].map(([entry, linked]) => [entry, linked?.inodes.length])).toEqual([['a', 2], ['b', undefined], ['c', 1]]);
});

test('has room again for what entries that are gone had, and nothing of what was given out changes', () => {
  const memory = new LinkedMemory(2);
  memory.set(name('a'), measured([1, 2]), 1n);
  const before = memory.only(new Set(['a']))!;
  expect(memory.only(new Set())).toBeUndefined();
  memory.set(name('b'), measured([3, 4]), 1n);
  memory.set(name('b'), measured([3]), 1n);
  memory.set(name('c'), measured([3]), 1n);
  expect([...memory.only(new Set(['b', 'c']))!].map(([entry, linked]) => [entry, linked?.inodes.length])).toEqual([['b', 1], ['c', 1]]);
  expect([...before.keys()]).toEqual(['a']);
});

test('lists no file of another device: its inode number means another file there', () => {
  const memory = new LinkedMemory();
  memory.set(name('a'), measured([1], { device: 2n }), 1n);
  expect([...memory.only(new Set(['a']))!]).toEqual([['a', undefined]]);
});

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { NameList } from '../../src/disk/name-list.ts';

test('a list of names has what was put into it, in that order, whatever becomes of where it was read from', () => {
  fc.assert(fc.property(fc.array(fc.uint8Array({ min: 1, minLength: 1, maxLength: 255 }), { maxLength: 50 }), (names) => {
    const list = new NameList();
    for (const name of names) {
      const read = Buffer.from(name);
      list.push(read);
      read.fill(0);
    }
    expect(list.length).toBe(names.length);
    expect(Array.from(list, (name) => Buffer.from(name))).toEqual(names.map((name) => Buffer.from(name)));
  }));
});

test('takes 300,000 names without objects of their own', () => {
  const list = new NameList();
  for (let i = 0; i < 300_000; i += 1) list.push(Buffer.from(`${i}`));
  let last = '';
  for (const name of list) last = name.toString();
  expect([list.length, last]).toEqual([300_000, '299999']);
});

import { expect, it } from 'vitest';
import { SettledMark } from '../../src/agent/settled-mark.ts';

it('a file that is being written is taken up once it has come to rest, and once', () => {
  const looks = (first: string, ...marks: string[]) => {
    const settled = new SettledMark(first);
    return marks.filter((mark) => settled.isNew(mark));
  };
  expect(looks('a', 'a', 'a')).toEqual([]);
  expect(looks('a', 'b', 'c', 'd')).toEqual([]);
  expect(looks('a', 'b', 'b', 'b', 'b')).toEqual(['b']);
  expect(looks('a', 'b', 'a', 'a')).toEqual([]);
  expect(looks('a', 'b', 'c', 'c', 'd', 'a', 'a')).toEqual(['c', 'a']);
});

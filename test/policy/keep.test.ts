import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { globMatcher } from '../../src/policy/keep.ts';

describe('a glob', () => {
  it.each([
    ['docker.io/library/nginx:*', 'docker.io/library/nginx:1.27', true],
    ['docker.io/library/nginx:*', 'docker.io/library/nginx:', true],
    ['docker.io/library/nginx:*', 'xdocker.io/library/nginx:1', false],
    ['docker.io/library/nginx', 'docker.io/library/nginx:1', false],
    ['*nginx', 'docker.io/nginx', true],
    ['*nginx', 'docker.io/nginx:1', false],
    ['*', '', true],
    ['?', '', false],
    ['?', '𝒳', true],
    ['a?c', 'abc', true],
    ['a?c', 'ac', false],
    ['a.c', 'abc', false],
    ['a[b]c', 'abc', false],
    ['a\\*', 'a\\b', true],
    ['a*b*c', 'a-b-b-c', true],
    ['a*b*c', 'a-c-b', false],
    ['*a*', 'line\na\nline', true],
    ['', '', true],
  ])('%j takes %j: %s', (pattern, text, taken) => {
    expect(globMatcher(pattern)(text)).toBe(taken);
  });

  it('takes what a plain definition of it takes', () => {
    const plainly = ([first, ...pattern]: string, text: string): boolean => {
      if (first === undefined) return text === '';
      if (first === '*') return plainly(pattern.join(''), text) || (text !== '' && plainly([first, ...pattern].join(''), text.slice(1)));
      return text !== '' && (first === '?' || first === text[0]) && plainly(pattern.join(''), text.slice(1));
    };
    const letters = (alphabet: string[]) => fc.array(fc.constantFrom(...alphabet), { maxLength: 8 }).map((each) => each.join(''));
    fc.assert(fc.property(letters(['a', 'b', '*', '?']), letters(['a', 'b']), (pattern, text) => {
      expect(globMatcher(pattern)(text)).toBe(plainly(pattern, text));
    }), { numRuns: 2_000 });
  });

  // A backtracking regex of this pattern would not end before the test does, nor in a million years.
  it('comes to an end on what makes backtracking explode', () => {
    expect(globMatcher(`${'*a'.repeat(250)}*b`)('a'.repeat(10_000))).toBe(false);
  });
});

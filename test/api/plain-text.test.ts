import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { settleConditions } from '../../src/api/conditions.ts';
import { plainText } from '../../src/api/plain-text.ts';

/** What no message may carry: line breaks, control characters, direction overrides and isolates, zero-width and other invisible characters, half a pair. */
const forbidden = /\p{Cc}|\p{Cf}|\p{Zl}|\p{Zp}|\p{Cs}|\p{Default_Ignorable_Code_Point}/u;

describe('plain text', () => {
  it.each([
    ['a line break', 'one\ntwo', 'one two'],
    ['a break of another kind', 'one\u2028two\u0085three\vfour', 'one two three four'],
    ['an escape sequence', 'a\u001b[31mred', 'a [31mred'],
    ['a NUL', 'a\0b', 'a b'],
    ['a direction override', 'a\u202egpj.exe', 'a\ufffdgpj.exe'],
    ['an isolate', 'a\u2066b\u2069', 'a\ufffdb\ufffd'],
    ['zero width', 'pay\u200bpal\u2060\ufe0f', 'pay\ufffdpal\ufffd\ufffd'],
    ['half a pair', 'a\ud83d', 'a\ufffd'],
    ['a tag of no width', 'a\u{e0041}', 'a\ufffd'],
    ['words of any language', 'größe 大小 حجم 😀', 'größe 大小 حجم 😀'],
  ])('has %s made visible or one space', (_, text, plain) => {
    expect(plainText(text, 100)).toBe(plain);
  });

  it('is one visible line within its bound, whatever it came from, and is not changed by a second time', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 80 }), fc.integer({ min: 2, max: 40 }), (text, bound) => {
      const plain = plainText(text, bound);
      expect(plain.length).toBeLessThanOrEqual(bound);
      expect(plain).not.toMatch(forbidden);
      expect(plain.isWellFormed()).toBe(true);
      expect(plainText(plain, bound)).toBe(plain);
    }), { numRuns: 2_000 });
  });

  it('is what every condition has for a message', () => {
    const [condition] = settleConditions([{ type: 'Ready', status: 'False', reason: 'NodesFailing', message: `1 node: a/x\n${'\u202e'.repeat(3)}${'y'.repeat(5_000)}` }], [], 1, '2026-01-01T00:00:00Z');
    expect(condition?.message).toMatch(/^1 node: a\/x \ufffd{3}y+…$/);
    expect(condition?.message).toHaveLength(1024);
  });
});

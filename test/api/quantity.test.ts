import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatBytes, parseQuantity } from '../../src/api/quantity.ts';

describe('a quantity', () => {
  it.each<[string | number, number]>([
    ['0', 0], [0, 0], [4096, 4096], ['4096', 4096], ['+5', 5], ['1k', 1000], ['1M', 1e6], ['2G', 2e9], ['1T', 1e12], ['1P', 1e15],
    ['1Ki', 1024], ['10Gi', 10_737_418_240], ['1.5Gi', 1_610_612_736], ['0.5Ki', 512], ['.5Ki', 512], ['1.Ki', 1024],
    ['1e3', 1000], ['1E3', 1000], ['1.5e3', 1500], ['12e-1', 2], ['0.001Ki', 2], ['1m', 1], ['1500m', 2], ['1n', 1], ['0.1', 1],
    ['9007199254740991', Number.MAX_SAFE_INTEGER], ['7Pi', 7 * 2 ** 50],
  ])('reads %s as %d bytes, rounded up', (text, bytes) => {
    expect(parseQuantity(text)).toBe(bytes);
  });

  it.each(['', ' ', '10Gx', '-1', '-1Gi', '1.5.2', 'Gi', '1 Gi', '1gi', '1Kii', '0x10', '1e', '1e1000', 'NaN', 'Infinity', '8Pi', '1E', '1Ei', '9007199254740992', '1'.repeat(65), '1\n'])(
    'does not read %j', (text) => {
      expect(parseQuantity(text)).toBeUndefined();
    });

  it('does not read numbers that are no whole count of bytes within 2^53', () => {
    for (const number of [-1, NaN, Infinity, 2 ** 53]) expect(parseQuantity(number)).toBeUndefined();
  });

  it('is exact up to 2^53 for every unit', () => {
    fc.assert(fc.property(fc.nat(1023), fc.constantFrom('', 'Ki', 'Mi', 'Gi', 'Ti'), (number, unit) => {
      expect(parseQuantity(`${number}${unit}`)).toBe(number * 1024 ** ['', 'Ki', 'Mi', 'Gi', 'Ti'].indexOf(unit));
    }));
  });
});

describe('bytes for people', () => {
  it.each([
    [0, '0'], [812, '812'], [1023, '1023'], [1024, '1Ki'], [1536, '1.5Ki'], [99_123_456_789, '92.3Gi'], [400 * 2 ** 30, '400Gi'],
    [1024 * 1024 - 1, '1Mi'], [1023.9 * 1024, '1023.9Ki'], [2 ** 53, '8Pi'],
  ])('writes %d as %s', (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });
});

import { describe, expect, it } from 'vitest';
import { formatDuration, formatExactDuration, parseDuration } from '../../src/api/duration.ts';

describe('a duration', () => {
  it.each([['0s', 0], ['60s', 60_000], ['5m', 300_000], ['168h', 604_800_000], ['7d', 604_800_000], ['1h30m', 5_400_000], ['1d2h3m4s', 93_784_000], ['30m1h', 5_400_000], ['1h1h', 7_200_000]])(
    'reads %s', (text, ms) => {
      expect(parseDuration(text)).toBe(ms);
    });

  it.each(['', '60', 's', '-1s', '1.5h', '1w', '1ms', '1H', '1h ', '12345678s', '1s1s1s1s1s', '1s\n'])('does not read %j', (text) => {
    expect(parseDuration(text)).toBeUndefined();
  });

  it('stays a safe number however long it is', () => {
    expect(Number.isSafeInteger(parseDuration('9999999d9999999d9999999d9999999d'))).toBe(true);
  });
});

describe('a duration for people', () => {
  it.each([
    [-5, '0s'], [999, '0s'], [45_000, '45s'], [119_000, '119s'], [120_000, '2m'], [200_000, '3m20s'], [3_600_000, '60m'], [5 * 3_600_000 + 720_000, '5h12m'],
    [9 * 3_600_000 + 720_000, '9h'], [50 * 3_600_000, '2d2h'], [6 * 86_400_000, '6d'], [9.5 * 86_400_000, '9d'],
  ])('writes %d ms as %s, as kubectl writes an age', (ms, text) => {
    expect(formatDuration(ms)).toBe(text);
  });

  it.each([[0, '0s'], [60_000, '60s'], [7_200_000, '2h'], [604_800_000, '7d'], [388_805_000, '4d12h5s']])('writes a limit of %d ms as %s, exactly', (ms, text) => {
    expect(formatExactDuration(ms)).toBe(text);
  });
});

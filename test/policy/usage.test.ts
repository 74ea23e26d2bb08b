import { describe, expect, it } from 'vitest';
import { formatUsage, parseUsage, usageOf } from '../../src/policy/usage.ts';
import type { Filesystem } from '../../src/policy/filesystem.ts';
import type { Limits } from '../../src/policy/limits.ts';
import { noLimits } from './builders.ts';

const halfFull = { capacityBytes: 1000, availableBytes: 500, inodes: 100, inodesFree: 25 };
const usage = (stats: [entries: number, bytes: number], limits: Partial<Limits>, filesystem: Filesystem = halfFull) =>
  usageOf({ entryCount: stats[0], totalBytes: stats[1] }, { ...noLimits, ...limits }, filesystem);

describe('the usage of a cache', () => {
  it('is that of its tightest limit', () => {
    expect(usage([4, 100], { maxEntries: 8, maxBytes: 1000 })).toBe(0.5);
    expect(usage([4, 900], { maxEntries: 8, maxBytes: 1000 })).toBe(0.9);
  });

  it('is 1 exactly at the limit', () => {
    expect(usage([8, 0], { maxEntries: 8 })).toBe(1);
  });

  it('is unknown where neither entries nor bytes are limited', () => {
    expect(usage([4, 100], {})).toBeUndefined();
    expect(usage([4, 100], { maxIdleMs: 1 })).toBeUndefined();
  });

  it('is how full the filesystem is against what has to stay free, in bytes and in inodes', () => {
    expect(usage([4, 100], { minFree: { percent: 20 } })).toBe(500 / 800);
    expect(usage([4, 100], { minFree: { count: 500 } })).toBe(1);
    expect(usage([4, 100], { minFree: { count: 501 } })).toBeGreaterThan(1);
    expect(usage([4, 100], { minFreeInodes: { count: 0 } })).toBe(0.75);
    expect(usage([4, 100], { minFree: { percent: 0 }, minFreeInodes: { percent: 50 } })).toBe(1.5);
  });

  it('leaves inodes out where the filesystem does not count them', () => {
    expect(usage([4, 100], { minFreeInodes: { percent: 99 } }, { capacityBytes: 1000, availableBytes: 0 })).toBeUndefined();
  });

  it('has no bound against a limit of zero, and is 0 where nothing is there', () => {
    expect(usage([1, 0], { maxEntries: 0 })).toBe(Infinity);
    expect(usage([0, 0], { maxEntries: 0, maxBytes: 0 })).toBe(0);
  });
});

describe('usage in words', () => {
  it.each([
    [undefined, '-'],
    [0, '0%'],
    [0.004, '0%'],
    [0.856, '86%'],
    [0.9999, '99%'],
    [1, '100%'],
    [1.0001, '101%'],
    [2, '200%'],
    [9.99, '999%'],
    [9.996, '>999%'],
    [Infinity, '>999%'],
  ])('%s is %s', (value, text) => {
    expect(formatUsage(value)).toBe(text);
  });

  it.each([
    ['86%', 0.86],
    ['0%', 0],
    ['101%', 1.01],
    ['>999%', Infinity],
    ['-', undefined],
    ['', undefined],
    ['many', undefined],
    ['-1%', undefined],
    [undefined, undefined],
  ])('%s is read back as %s', (text, value) => {
    expect(parseUsage(text)).toBe(value);
  });

  it('keeps over and under the limit apart on the way there and back', () => {
    for (const value of [0, 0.5, 0.999, 1, 1.001, 1.5, 20]) {
      const back = parseUsage(formatUsage(value)) ?? NaN;
      expect([back > 1, back < 1]).toEqual([value > 1, value < 1]);
    }
  });
});

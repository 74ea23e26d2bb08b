import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TokenBucket } from '../../src/policy/token-bucket.ts';

const burst = 3;
const refillMs = 10_000;
const start = 1_000_000;
const aBucket = () => new TokenBucket(burst, refillMs, start);

/** Takes what may go at a moment, at most ten. */
function takeAll(bucket: TokenBucket, nowMs: number): number {
  let taken = 0;
  while (taken < 10 && bucket.waitMs(nowMs) === 0) {
    bucket.spend(nowMs);
    taken += 1;
  }
  return taken;
}

describe('a token bucket', () => {
  it('gives its burst at once, and no more', () => {
    expect(takeAll(aBucket(), start)).toBe(burst);
  });

  it('says how long the next one has to wait', () => {
    const bucket = aBucket();
    takeAll(bucket, start);
    expect(bucket.waitMs(start)).toBe(refillMs);
    expect(bucket.waitMs(start + 4_000)).toBe(6_000);
    expect(bucket.waitMs(start + refillMs)).toBe(0);
  });

  it('gives one more after each refill time', () => {
    const bucket = aBucket();
    takeAll(bucket, start);
    expect([1, 2, 3].map((n) => takeAll(bucket, start + n * refillMs))).toEqual([1, 1, 1]);
  });

  it('keeps the part of a refill time that has passed', () => {
    const bucket = aBucket();
    takeAll(bucket, start);
    expect(takeAll(bucket, start + 1.5 * refillMs)).toBe(1);
    expect(bucket.waitMs(start + 1.5 * refillMs)).toBe(0.5 * refillMs);
  });

  it('never holds more than its burst, however long nothing is taken', () => {
    const bucket = aBucket();
    takeAll(bucket, start);
    expect(takeAll(bucket, start + 100 * refillMs)).toBe(burst);
  });

  it('gains nothing while it is full: after a long rest the burst is not followed by one more', () => {
    const bucket = aBucket();
    expect(takeAll(bucket, start + refillMs - 1)).toBe(burst);
    expect(bucket.waitMs(start + refillMs - 1)).toBe(refillMs);
  });

  it('owes nothing for what is spent without asking', () => {
    const bucket = aBucket();
    for (let i = 0; i < 10; i += 1) bucket.spend(start);
    expect(bucket.waitMs(start)).toBe(refillMs);
  });

  it('gives in no stretch of time more than the burst and what was refilled in it', () => {
    fc.assert(fc.property(fc.array(fc.integer({ min: 0, max: 30_000 }), { maxLength: 60 }), (gaps) => {
      const bucket = aBucket();
      const times: number[] = [];
      let nowMs = start;
      for (const gap of gaps) {
        nowMs += gap;
        if (bucket.waitMs(nowMs) > 0) continue;
        bucket.spend(nowMs);
        times.push(nowMs);
      }
      for (let first = 0; first < times.length; first += 1) {
        for (let last = first; last < times.length; last += 1) {
          expect(last - first + 1).toBeLessThanOrEqual(burst + Math.floor((times[last]! - times[first]!) / refillMs));
        }
      }
    }));
  });
});

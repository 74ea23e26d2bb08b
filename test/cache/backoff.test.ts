import { expect, test } from 'vitest';
import { Backoff } from '../../src/cache/backoff.ts';

const error = { code: 'ERR_DISK_IO', message: 'it failed' } as const;
const minute = 60_000;

test('what fails is tried again after one minute, two, and so on up to an hour', () => {
  const backoff = new Backoff();
  let nowMs = 0;
  const waits = Array.from({ length: 9 }, () => {
    backoff.failed('a', error, nowMs);
    const waitMs = backoff.nextTryAtMs('a') - nowMs;
    nowMs += waitMs;
    return waitMs / minute;
  });
  expect(waits).toEqual([1, 2, 4, 8, 16, 32, 60, 60, 60]);
  expect(backoff.waiting('a', nowMs - 1)).toBe(error);
  expect(backoff.waiting('a', nowMs)).toBeUndefined();
});

test('what is gone is forgotten, what is tried every hour is not', () => {
  const backoff = new Backoff();
  backoff.failed('gone', error, 0);
  for (let hour = 0; hour < 10; hour += 1) backoff.failed('stays', error, hour * 60 * minute);
  expect([backoff.size, backoff.nextTryAtMs('gone')]).toEqual([1, 0]);
  backoff.succeeded('stays');
  expect(backoff.size).toBe(0);
});

import { expect, test } from 'vitest';
import { besideRuntime, fewKeys, wholeEngine } from './beside-runtime.ts';

test('no box of a runtime in other processes ever comes to harm; make soak does it ten thousand times', async () => {
  const seed = Date.now() % 2 ** 32;
  const result = await besideRuntime({ ...fewKeys, users: 3, seed, engine: wholeEngine, uses: 100, evictions: 30, timeoutMs: 150_000 });
  expect(result.wrongs, `SEED=${seed}`).toEqual([]);
  expect(result.evicted).toBeGreaterThanOrEqual(30);
  expect(result.uses.Whole).toBeGreaterThan(0);
}, 200_000);

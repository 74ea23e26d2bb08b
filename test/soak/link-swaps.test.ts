import { expect, test } from 'vitest';
import { swapLinks } from './link-swaps.ts';

test('a directory swapped for a link never leads outside, whoever walks, copies, deletes or evicts it; make soak does it ten thousand times', async () => {
  const { wrongs, metLink, metDirectory } = await swapLinks({ rounds: 60 });
  expect(wrongs).toEqual([]);
  // Both ways round were met, or this race was none.
  expect(metLink).toBeGreaterThan(0);
  expect(metDirectory).toBeGreaterThan(0);
}, 120_000);

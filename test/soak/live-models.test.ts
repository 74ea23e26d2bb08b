import { expect, test } from 'vitest';
import { evictBeside } from './live-models.ts';

test('models that are read are evicted whole or given back, and never go from under who reads them; make soak does it for ten minutes', async () => {
  const figures = await evictBeside({ seconds: 6, seed: 1, progress: () => {} });
  const value = (what: string) => figures.find((figure) => figure.what === what)?.value;
  expect([value('readers that told'), value('errors')]).toEqual([3, 0]);
  // How much is done in so short a time is the machine's business, and so is whether a read met the gap that is known; without leases it is one in fifty.
  expect(value('evicted')).toBeGreaterThan(0);
  expect(value('models that went while they were read')).toBeLessThanOrEqual(3);
}, 60_000);

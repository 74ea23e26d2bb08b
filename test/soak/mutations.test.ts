import { expect, test } from 'vitest';
import { asRoot } from '../disk/scratch.ts';
import { mutate } from './mutations.ts';

test.runIf(asRoot)('an agent beside hostile hands harms nothing outside of its caches and nothing in use, and does not end; make soak does it for twenty minutes', async () => {
  const seed = Date.now() % 2 ** 32;
  const { harm, ends, mutations } = await mutate({ seconds: 8, seed });
  expect({ harm, ends }, `SEED=${seed}`).toEqual({ harm: [], ends: [] });
  expect(mutations).toBeGreaterThan(0);
}, 120_000);

import { expect, test } from 'vitest';
import { killAgainAndAgain } from './killed.ts';

test('an engine that is killed at any moment leaves every entry whole, and the next start finishes what it began; make soak does it a thousand times', async () => {
  const seed = Date.now() % 2 ** 32;
  const { wrongs, rounds } = await killAgainAndAgain({ rounds: 6, seed });
  expect(wrongs, `SEED=${seed}`).toEqual([]);
  expect(rounds).toBe(6);
}, 120_000);

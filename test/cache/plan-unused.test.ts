import { expect, test } from 'vitest';
import type { Probed } from '../../src/cache/holds/holders.ts';
import { planUnused } from '../../src/cache/holds/plan-unused.ts';
import { Slices } from '../../src/disk/slices.ts';
import { planFreeSpace } from '../../src/policy/free-space.ts';
import type { Plan } from '../../src/policy/plan.ts';
import { leastRecentlyUsedFirst, planInput } from '../policy/builders.ts';

const names = Array.from({ length: 1_000 }, (_, n) => `e${n}`);

/** Plans for one entry less than there are, with some in use as only they themselves can tell. */
async function planned(isUsed: (name: string) => boolean) {
  const base = planInput(leastRecentlyUsedFirst(...names), { maxEntries: names.length - 1 });
  let rounds = 0;
  const input = {
    ...base,
    // Read once for each plan that is made.
    get nowMs() {
      rounds += 1;
      return base.nowMs;
    },
  };
  const asked: string[] = [];
  const probe = async (name: string): Promise<Probed> => {
    asked.push(name);
    return { hold: isUsed(name) ? { source: 'Flock', detail: 'used' } : undefined, error: undefined };
  };
  const [planned] = await planUnused([{ input, most: Infinity, probe }], new Slices());
  return { evicted: [...planned!.plan.evict].map(({ entry }) => entry.key), rounds, asked };
}

test('asks only what would go', async () => {
  expect(await planned(() => false)).toEqual({ evicted: ['e0'], rounds: 1, asked: ['e0'] });
});

test('gets past many in use in a few rounds, and asks nobody twice', async () => {
  const { evicted, rounds, asked } = await planned((name) => Number(name.slice(1)) < 600);
  expect(evicted).toEqual(['e600']);
  expect(rounds).toBeLessThan(15);
  expect(new Set(asked).size).toBe(asked.length);
});

test('asks the large ones behind the most that are evicted at once, and evicts nothing where their being in use puts maxBytes out of reach', async () => {
  const large = { ...leastRecentlyUsedFirst('large')[0]!, sizeBytes: 5_000 };
  const base = planInput([...leastRecentlyUsedFirst('a', 'b', 'c', 'd').map((each) => ({ ...each, lastAccessedAtMs: each.lastAccessedAtMs - 3_600_000 })), large], { maxBytes: 4_000 });
  const asked: string[] = [];
  const probe = async (name: string): Promise<Probed> => {
    asked.push(name);
    return { hold: name === 'large' ? { source: 'Lease', detail: 'open' } : undefined, error: undefined };
  };
  const [planned] = await planUnused([{ input: base, most: 2, probe }], new Slices());
  expect([planned!.plan.evict.length, asked.slice(0, 3)]).toEqual([0, ['a', 'b', 'large']]);
});

test('ends where all are in use', async () => {
  const { evicted, asked } = await planned(() => true);
  expect({ evicted, asked: asked.length }).toEqual({ evicted: [], asked: names.length });
});

test('plans caches of one filesystem around what is in use in any of them', async () => {
  const [one, other] = [['a', 'c'], ['b', 'd']].map((keys) => {
    const used = keys.map((key) => ({ ...leastRecentlyUsedFirst(key)[0]!, lastAccessedAtMs: leastRecentlyUsedFirst(key)[0]!.lastAccessedAtMs - 1_000_000 * ('abcd'.length - 'abcd'.indexOf(key)) }));
    return planInput(used, { minFree: { count: 1_100 } });
  });
  const asked: string[] = [];
  const probe = async (name: string): Promise<Probed> => {
    asked.push(name);
    return { hold: name === 'a' ? { source: 'Lease', detail: 'open' } : undefined, error: undefined };
  };
  const together = (plans: readonly Plan[]) => planFreeSpace({ capacityBytes: 10_000, availableBytes: 1_000 }, plans.map((plan) => ({ limits: one!.limits, plan, trashBytes: 0 }))).map(({ plan }) => plan);
  const planned = await planUnused([one!, other!].map((input) => ({ input, most: Infinity, probe })), new Slices(), together);
  expect(planned.map(({ plan }) => [...plan.evict].map(({ entry: { key }, reason }) => `${key} ${reason}`))).toEqual([[], ['b MinFree']]);
  expect(planned[0]!.plan.held.inUse.entries).toBe(1);
  // The one behind that which was in use, in its own cache, is asked as well.
  expect(asked).toEqual(['a', 'c', 'b']);
});

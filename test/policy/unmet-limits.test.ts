import { describe, expect, test } from 'vitest';
import type { UnreachableLimit } from '../../src/policy/limits.ts';
import { planEviction } from '../../src/policy/plan.ts';
import type { Entry } from '../../src/policy/snapshot.ts';
import { unmetAfter, unmetByPlan } from '../../src/policy/unmet-limits.ts';
import { hour, leastRecentlyUsedFirst, minute, now, planInput, snapshotOf, heldBy } from './builders.ts';

const entries = leastRecentlyUsedFirst('a', 'b', 'c', 'd');
const [a, b, c, d] = entries as [Entry, Entry, Entry, Entry];

/** A run by a plan, and what stands after it. */
function runWith(but: Parameters<typeof planInput>[1], after: readonly Entry[], outcome: { failed?: number; stopped?: boolean } = {}) {
  const input = planInput(entries, but);
  return unmetAfter({ plan: planEviction(input), limits: input.limits, after: snapshotOf(after), nowMs: now, failed: 0, stopped: false, ...outcome });
}

describe('the limits that a plan leaves unmet', () => {
  test('are those that what is protected exceeds', () => {
    expect(unmetByPlan(planEviction(planInput(entries, { maxEntries: 1, holds: heldBy('one', 'a', 'b') })))).toEqual([{ limit: 'MaxEntries', allowed: 1, remaining: 2, because: 'Protected' }]);
  });

  test('are not reclaimable where nothing is protected', () => {
    const short: UnreachableLimit = { limit: 'MinFree', allowed: 10, remaining: 5 };
    expect(unmetByPlan({ ...planEviction(planInput(entries)), unreachable: [short] })).toEqual([{ ...short, because: 'NotReclaimable' }]);
  });

  test('are none where everything over a limit can be evicted', () => {
    expect(unmetByPlan(planEviction(planInput(entries, { maxEntries: 0 })))).toEqual([]);
  });
});

describe('the limits that a run leaves unmet', () => {
  test('are none where the plan was carried out', () => {
    expect(runWith({ maxEntries: 2, maxBytes: 200, maxIdleMs: 2 * hour }, [c, d])).toEqual([]);
  });

  test.each([
    ['Failed', { failed: 1 }], ['Stopped', { stopped: true, failed: 1 }], ['Meanwhile', {}],
  ] as const)('are those that what should have gone exceeds, because of: %s', (because, outcome) => {
    expect(runWith({ maxEntries: 2, maxBytes: 250, maxIdleMs: 3.5 * hour }, [a, c, d], outcome)).toEqual([
      { limit: 'MaxEntries', allowed: 2, remaining: 3, because }, { limit: 'MaxBytes', allowed: 250, remaining: 300, because }, { limit: 'MaxIdle', allowed: 3.5 * hour, remaining: 4 * hour, because },
    ]);
  });

  test('are not those that were meant to be exceeded and are not: more went than was planned', () => {
    expect(runWith({ maxEntries: 1, holds: heldBy('one', 'a', 'b') }, [a])).toEqual([]);
  });

  test('keep the reason of the plan where as much is left as it foresaw', () => {
    expect(runWith({ maxEntries: 1, holds: heldBy('one', 'a', 'b') }, [a, b], { failed: 1 })).toEqual([{ limit: 'MaxEntries', allowed: 1, remaining: 2, because: 'Protected' }]);
  });

  test('keep the reason of the plan where nothing is evicted for a limit that what is held exceeds by itself', () => {
    expect(runWith({ maxBytes: 150, holds: heldBy('one', 'a', 'b') }, entries)).toEqual([{ limit: 'MaxBytes', allowed: 150, remaining: 200, because: 'HeldAlone' }]);
  });

  test('are not the idle time of an entry that was used meanwhile', () => {
    expect(runWith({ maxIdleMs: 3.5 * hour }, [{ ...a, lastAccessedAtMs: now - minute }, b, c, d])).toEqual([]);
  });
});

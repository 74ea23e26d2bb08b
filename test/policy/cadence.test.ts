import { describe, expect, it } from 'vitest';
import type { CadenceInput } from '../../src/policy/cadence.ts';
import { nextAct } from '../../src/policy/cadence.ts';
import { planEviction } from '../../src/policy/plan.ts';
import type { PlanInput } from '../../src/policy/plan.ts';
import { entry, heldBy, hour, minute, now, planInput, second } from './builders.ts';

const looked = (secondsAgo: number, tookMs = 10) => ({ endedAtMs: now - secondsAgo * second, tookMs });

/** An enforced cache without a schedule, looked at ten seconds ago, in which nothing has happened since. */
function act(but: Partial<CadenceInput> = {}): string {
  const decided = nextAct({ nowMs: now, enforced: true, dueAtMs: null, first: false, rootChanged: false, lastLook: looked(10), expiresAtMs: null, ...but });
  return decided.act === 'run' ? `run ${decided.trigger}` : decided.act;
}

describe('a cache without a schedule', () => {
  it('is left alone while nothing happens', () => {
    expect(act()).toBe('rest');
  });

  it('is enforced at once when the policy is new', () => {
    expect(act({ first: true, lastLook: { endedAtMs: 0, tookMs: 0 } })).toBe('run Start');
  });

  it('is enforced at once when the policy is new, however soon after the last look', () => {
    expect(act({ first: true, lastLook: looked(0, 60 * second) })).toBe('run Start');
  });

  it('is enforced when the directory changed', () => {
    expect(act({ rootChanged: true })).toBe('run Change');
  });

  it('is enforced when an entry has grown old enough, and not before', () => {
    expect(act({ expiresAtMs: now + 1 })).toBe('rest');
    expect(act({ expiresAtMs: now })).toBe('run Change');
  });

  it('is enforced every minute, because the signs of change may be missed', () => {
    expect(act({ lastLook: looked(59) })).toBe('rest');
    expect(act({ lastLook: looked(60) })).toBe('run Change');
  });

  it('is not looked at twice within a second', () => {
    expect(act({ rootChanged: true, lastLook: looked(0.9) })).toBe('rest');
    expect(act({ rootChanged: true, lastLook: looked(1) })).toBe('run Change');
  });

  it('rests ten times as long as a look took', () => {
    expect(act({ rootChanged: true, lastLook: looked(19, 2 * second) })).toBe('rest');
    expect(act({ rootChanged: true, lastLook: looked(20, 2 * second) })).toBe('run Change');
  });

  it('is looked at after the clock was set back: how long ago the last look was is not known any more', () => {
    expect(act({ lastLook: looked(-3600) })).toBe('run Change');
  });
});

describe('a cache with a schedule', () => {
  it('is enforced when it is due, however soon after a look', () => {
    expect(act({ dueAtMs: now, lastLook: looked(0.1) })).toBe('run Schedule');
    expect(act({ dueAtMs: now - hour })).toBe('run Schedule');
  });

  it('is only looked at between', () => {
    const dueAtMs = now + 1;
    expect(act({ dueAtMs })).toBe('rest');
    for (const call of [{ first: true }, { rootChanged: true }, { expiresAtMs: now }, { lastLook: looked(60) }]) expect(act({ dueAtMs, ...call })).toBe('look');
  });
});

describe('a cache whose limits may not be applied', () => {
  it('is looked at, with a schedule and without, and nothing more', () => {
    for (const dueAtMs of [null, now + 1, now, now - hour]) {
      expect(act({ enforced: false, dueAtMs })).toBe('rest');
      for (const call of [{ first: true }, { rootChanged: true }, { lastLook: looked(60) }]) expect(act({ enforced: false, dueAtMs, ...call })).toBe('look');
    }
  });
});

describe('the moment at which time alone changes a plan', () => {
  const expires = (input: PlanInput) => {
    const at = planEviction(input).expiresAtMs;
    return at === null ? null : at - now;
  };

  it('is never, where nothing is over a limit and idle time is not limited', () => {
    expect(expires(planInput([entry('a', { idleMs: second })], { maxEntries: 1 }))).toBeNull();
  });

  it('is when an entry that is over a limit is no longer protected', () => {
    const entries = [entry('a', { idleMs: 20 * second }), entry('b', { idleMs: 10 * second })];
    expect(expires(planInput(entries, { maxEntries: 0, minIdleMs: minute }))).toBe(40 * second);
  });

  it('is when an entry within the limits grows too old', () => {
    const entries = [entry('a', { idleMs: 50 * minute }), entry('b', { idleMs: 10 * minute })];
    expect(expires(planInput(entries, { maxIdleMs: hour }))).toBe(10 * minute + 1);
  });

  it('is not when something in use grows old', () => {
    expect(expires(planInput([entry('a', { idleMs: 2 * hour })], { maxEntries: 0, maxIdleMs: hour, holds: heldBy('box-1', 'a') }))).toBeNull();
  });

  it('is when both protection and idle time allow it', () => {
    expect(expires(planInput([entry('a', { idleMs: 30 * second })], { maxIdleMs: 10 * second, minIdleMs: minute }))).toBe(30 * second);
  });

  it.each([
    { maxEntries: 0 }, { maxBytes: 50 }, { maxEntries: 1, maxIdleMs: hour }, { maxIdleMs: 40 * second }, { maxIdleMs: 70 * second }, { maxIdleMs: 0 },
  ])('is exact: then something may go, and a millisecond earlier it may not (%o)', (limits) => {
    const input = planInput([entry('a', { idleMs: 30 * second }), entry('b', { idleMs: 10 * second })], { minIdleMs: minute, ...limits });
    const at = planEviction(input).expiresAtMs ?? NaN;
    const evicted = (nowMs: number) => [...planEviction({ ...input, nowMs }).evict].map((verdict) => verdict.entry.key);
    expect([evicted(now), evicted(at - 1), evicted(at)]).toEqual([[], [], ['a']]);
  });
});

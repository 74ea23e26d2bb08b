import { describe, expect, it } from 'vitest';
import type { Pin } from '../../src/policy/keep.ts';
import type { PlanInput } from '../../src/policy/plan.ts';
import { noHolds } from '../../src/policy/holds.ts';
import { planFreeSpace } from '../../src/policy/free-space.ts';
import { planEviction } from '../../src/policy/plan.ts';
import { day, entry, heldBy, hour, leastRecentlyUsedFirst, minute, now, planInput, second } from './builders.ts';

function aPin(but: Partial<Pin>): Pin {
  return { by: 'description', pattern: '*', untilMs: null, reason: '', ...but };
}

/** `old evict MaxEntries: 2nd of 2 by last use, 1 allowed`, least recently used first. */
function verdicts(input: PlanInput): string[] {
  return [...planEviction(input).verdicts].map(({ entry, verdict, reason, detail }) => `${entry.key} ${verdict} ${reason}: ${detail}`);
}

function evicted(input: PlanInput): string[] {
  return [...planEviction(input).evict].map((verdict) => verdict.entry.key);
}

describe('a plan', () => {
  it('keeps everything where there is no limit', () => {
    expect(verdicts(planInput(leastRecentlyUsedFirst('a', 'b')))).toEqual([
      'a keep WithinLimits: 2nd of 2 by last use',
      'b keep WithinLimits: 1st of 2 by last use',
    ]);
  });

  it('is empty for an empty cache, whatever the limits', () => {
    const plan = planEviction(planInput([], { maxEntries: 0, maxBytes: 0, maxIdleMs: 0 }));
    expect([[...plan.verdicts], [...plan.evict]]).toEqual([[], []]);
    expect(plan).toMatchObject({ unreachable: [], after: { entryCount: 0, totalBytes: 0 } });
  });

  it('evicts the least recently used beyond maxEntries', () => {
    expect(verdicts(planInput(leastRecentlyUsedFirst('a', 'b', 'c'), { maxEntries: 1 }))).toEqual([
      'a evict MaxEntries: 3rd of 3 by last use, 1 allowed',
      'b evict MaxEntries: 2nd of 3 by last use, 1 allowed',
      'c keep WithinLimits: 1st of 3 by last use',
    ]);
  });

  it('evicts until maxBytes holds, and no further', () => {
    expect(verdicts(planInput(leastRecentlyUsedFirst('a', 'b', 'c'), { maxBytes: 200 }))).toEqual([
      'a evict MaxBytes: 3rd of 3 by last use, 200 allowed',
      'b keep WithinLimits: 2nd of 3 by last use',
      'c keep WithinLimits: 1st of 3 by last use',
    ]);
  });

  it('evicts what was not used for longer than maxIdle', () => {
    const entries = [entry('older', { idleMs: 8 * day }), entry('exactly', { idleMs: 7 * day }), entry('newer', { idleMs: hour })];
    expect(verdicts(planInput(entries, { maxIdleMs: 7 * day }))).toEqual([
      'older evict MaxIdle: last used 8d ago, 7d allowed',
      'exactly keep WithinLimits: 2nd of 3 by last use',
      'newer keep WithinLimits: 1st of 3 by last use',
    ]);
  });

  it('counts what maxIdle evicts towards the other limits', () => {
    const entries = [entry('idle', { idleMs: 8 * day }), entry('a', { idleMs: 2 * hour }), entry('b', { idleMs: hour })];
    expect(evicted(planInput(entries, { maxIdleMs: 7 * day, maxEntries: 2 }))).toEqual(['idle']);
  });

  it('takes a limit of zero as zero', () => {
    expect(evicted(planInput(leastRecentlyUsedFirst('a', 'b'), { maxEntries: 0 }))).toEqual(['a', 'b']);
    expect(evicted(planInput(leastRecentlyUsedFirst('a', 'b'), { maxBytes: 0 }))).toEqual(['a', 'b']);
    expect(evicted(planInput(leastRecentlyUsedFirst('a', 'b'), { maxIdleMs: 0 }))).toEqual(['a', 'b']);
  });

  it('never evicts what is in use, and evicts others in its place', () => {
    const input = planInput(leastRecentlyUsedFirst('used', 'a', 'b'), { maxEntries: 2, holds: heldBy('box-1', 'used') });
    expect(verdicts(input)).toEqual([
      'used keep InUse: box box-1',
      'a evict MaxEntries: 2nd of 3 by last use, 2 allowed',
      'b keep WithinLimits: 1st of 3 by last use',
    ]);
    expect(planEviction(input).verdicts.at(0)).toMatchObject({ hold: { source: 'Box', detail: 'box box-1' } });
  });

  it('never evicts what was used within minIdle, even beyond every limit', () => {
    const entries = [entry('old', { idleMs: hour }), entry('fresh', { idleMs: 59 * second })];
    expect(verdicts(planInput(entries, { maxEntries: 0, maxBytes: 0, maxIdleMs: 0 }))).toEqual([
      'old evict MaxIdle: last used 60m ago, 0s allowed',
      'fresh keep Recent: last used 59s ago, protected for 60s',
    ]);
  });

  it('protects nothing by time where minIdle is zero', () => {
    expect(evicted(planInput([entry('now', { idleMs: 0 })], { maxEntries: 0, minIdleMs: 0 }))).toEqual(['now']);
  });

  it('names in use before recent, and recent before a limit', () => {
    const entries = [entry('both', { idleMs: second }), entry('recent', { idleMs: 0 })];
    const plan = planEviction(planInput(entries, { maxEntries: 0, holds: heldBy('b', 'both') }));
    expect([...plan.verdicts].map((verdict) => verdict.reason)).toEqual(['InUse', 'Recent']);
    expect(plan.held).toEqual({ inUse: { entries: 1, bytes: 100 }, kept: { entries: 0, bytes: 0 }, recent: { entries: 1, bytes: 100 } });
  });

  it('reads a last use in the future as now', () => {
    const ahead = entry('ahead', { clockAhead: true, lastAccessedAtMs: now - 9 * day });
    expect(verdicts(planInput([ahead, entry('b', { idleMs: hour })], { maxEntries: 1 }))).toEqual([
      'b evict MaxEntries: 2nd of 2 by last use, 1 allowed',
      'ahead keep Recent: last use lies in the future, read as now, protected for 60s',
    ]);
  });

  it('keeps everything where it is unknown what is in use', () => {
    const everything = { source: 'Box', detail: 'boxes/ cannot be read' } as const;
    const holds = { ...noHolds, everything };
    const plan = planEviction(planInput(leastRecentlyUsedFirst('a', 'b'), { maxEntries: 0, holds }));
    expect([...plan.verdicts].map(({ reason, detail }) => `${reason}: ${detail}`)).toEqual(['InUse: boxes/ cannot be read', 'InUse: boxes/ cannot be read']);
    expect(plan.unreachable).toEqual([{ limit: 'MaxEntries', allowed: 0, remaining: 2 }]);
  });

  it('orders by last use, then by when it was cached, then by key', () => {
    const entries = [
      entry('z', { idleMs: hour, cachedAtMs: now - 2 * day }),
      entry('b', { idleMs: hour, cachedAtMs: now - day }),
      entry('a', { idleMs: hour, cachedAtMs: now - day }),
      entry('old', { idleMs: 2 * hour, cachedAtMs: now }),
    ];
    expect([...planEviction(planInput(entries)).verdicts].map((verdict) => verdict.entry.key)).toEqual(['old', 'z', 'a', 'b']);
  });

  it('evicts nothing for maxBytes while what is in use or kept is larger by itself, and says so', () => {
    const entries = [entry('small', { idleMs: 3 * day }), entry('large', { sizeBytes: 700 }), entry('tiny', { sizeBytes: 1 })];
    const keep = [aPin({ by: 'key', pattern: 'large' })];
    for (const held of [{ holds: heldBy('box', 'large') }, { keep }, { holds: heldBy('box', 'large'), keep }]) {
      const plan = planEviction(planInput(entries, { maxBytes: 699, ...held }));
      expect([[...plan.evict].map(({ entry: { key } }) => key), plan.unreachable]).toEqual([[], [{ limit: 'MaxBytes', allowed: 699, remaining: 700, because: 'HeldAlone' }]]);
      expect(evicted(planInput(entries, { maxBytes: 700, ...held }))).toEqual(['small', 'tiny']);
    }
  });

  it('goes on with every other limit while maxBytes is out of reach', () => {
    const entries = [entry('idle', { idleMs: 9 * day }), entry('a', { idleMs: 3 * day }), entry('b', { idleMs: 2 * day }), entry('large', { sizeBytes: 700 })];
    const held = { maxBytes: 600, maxIdleMs: 7 * day, holds: heldBy('box', 'large') };
    expect(verdicts(planInput(entries, held)).slice(0, 2)).toEqual(['idle evict MaxIdle: last used 9d ago, 7d allowed', 'a keep WithinLimits: 3rd of 4 by last use']);
    expect(evicted(planInput(entries, { ...held, maxEntries: 2 }))).toEqual(['idle', 'a']);
    const input = planInput(entries, { ...held, minFree: { count: 200 } });
    const [share] = planFreeSpace({ capacityBytes: 1_000, availableBytes: 0 }, [{ limits: input.limits, plan: planEviction(input), trashBytes: 0 }]);
    expect([...share!.plan.evict].map(({ entry: { key }, reason }) => `${key} ${reason}`)).toEqual(['idle MaxIdle', 'a MinFree']);
  });

  it('goes on with maxBytes beside what is only recent: that ends by itself', () => {
    const entries = [entry('small', { idleMs: 3 * day }), entry('large', { sizeBytes: 700, idleMs: second })];
    const plan = planEviction(planInput(entries, { maxBytes: 600 }));
    expect([plan.evict.length, plan.unreachable]).toEqual([1, [{ limit: 'MaxBytes', allowed: 600, remaining: 700 }]]);
  });

  it('asks for no headroom below maxBytes that what is in use puts out of reach', () => {
    const entries = [entry('a', { idleMs: 3 * day }), entry('b', { idleMs: 2 * day }), entry('large', { sizeBytes: 700 })];
    expect(evicted(planInput(entries, { maxBytes: 800, headroomPercent: 20, holds: heldBy('box', 'large') }))).toEqual(['a']);
  });

  it('says which limits stay exceeded by what is protected, and by how much', () => {
    const entries = [entry('used', { sizeBytes: 700 }), entry('free', { sizeBytes: 100 })];
    const plan = planEviction(planInput(entries, { maxEntries: 0, maxBytes: 500, maxIdleMs: hour, holds: heldBy('b', 'used') }));
    expect(plan.unreachable).toEqual([
      { limit: 'MaxEntries', allowed: 0, remaining: 1 },
      { limit: 'MaxBytes', allowed: 500, remaining: 700, because: 'HeldAlone' },
    ]);
    expect(plan.after).toEqual({ entryCount: 1, totalBytes: 700 });
  });

  it('holds maxIdle to be out of reach only for what is not in use', () => {
    const plan = planEviction(planInput([entry('recent', { idleMs: 2 * hour })], { maxIdleMs: hour, minIdleMs: day }));
    expect(plan.unreachable).toEqual([{ limit: 'MaxIdle', allowed: hour, remaining: 2 * hour }]);
  });

  it('counts places as people do', () => {
    const keys = Array.from({ length: 23 }, (_, i) => `k${i}`);
    const details = [...planEviction(planInput(leastRecentlyUsedFirst(...keys))).verdicts].map((verdict) => verdict.detail.split(' ')[0]);
    expect(details.toReversed()).toEqual([
      '1st', '2nd', '3rd', '4th', '5th', '6th', '7th', '8th', '9th', '10th', '11th', '12th', '13th', '14th', '15th', '16th', '17th', '18th', '19th', '20th',
      '21st', '22nd', '23rd',
    ]);
  });

  it('goes below a limit by the headroom, once it is exceeded, and stays there', () => {
    const limits = { maxEntries: 3, headroomPercent: 40 };
    expect(verdicts(planInput(leastRecentlyUsedFirst('a', 'b', 'c', 'd'), limits)).slice(0, 3)).toEqual([
      'a evict MaxEntries: 4th of 4 by last use, 3 allowed, then down to 1',
      'b evict MaxEntries: 3rd of 4 by last use, 3 allowed, then down to 1',
      'c evict MaxEntries: 2nd of 4 by last use, 3 allowed, then down to 1',
    ]);
    for (const keys of [['d'], ['d', 'e'], ['d', 'e', 'f']]) expect(evicted(planInput(leastRecentlyUsedFirst(...keys), limits))).toEqual([]);
    expect(evicted(planInput(leastRecentlyUsedFirst('a', 'b', 'c'), { maxBytes: 299, headroomPercent: 50 }))).toEqual(['a', 'b']);
  });

  it('goes below maxIdle by the headroom once something that may go is idle for too long', () => {
    const entries = [entry('a', { idleMs: 11 * hour }), entry('b', { idleMs: 9 * hour }), entry('c', { idleMs: 8 * hour })];
    const limits = { maxIdleMs: 10 * hour, headroomPercent: 20 };
    expect(evicted(planInput(entries, limits))).toEqual(['a', 'b']);
    expect(evicted(planInput(entries.slice(1), limits))).toEqual([]);
    expect(evicted(planInput(entries, { ...limits, holds: heldBy('box', 'a') }))).toEqual([]);
  });

  it('says nothing of a limit whose headroom alone cannot be reached', () => {
    const plan = planEviction(planInput(leastRecentlyUsedFirst('a', 'b', 'c'), { maxEntries: 2, headroomPercent: 90, holds: heldBy('box', 'b', 'c') }));
    expect([plan.after.entryCount, plan.unreachable]).toEqual([2, []]);
  });

  it('evicts nothing that a pin keeps, by key or by description, and names the pin', () => {
    const keep = [aPin({ by: 'key', pattern: 'a' }), aPin({ pattern: 'image b*', untilMs: now + hour, reason: 'sale weekend' })];
    const input = planInput(leastRecentlyUsedFirst('a', 'b1', 'c'), { maxEntries: 0, maxIdleMs: 0, keep });
    expect(verdicts(input)).toEqual([
      'a keep Kept: pinned by key "a"',
      'b1 keep Kept: pinned by description "image b*" until 2026-06-01T13:00:00Z: sale weekend',
      'c evict MaxIdle: last used 60m ago, 0s allowed',
    ]);
    expect(planEviction(input)).toMatchObject({ held: { kept: { entries: 2, bytes: 200 } }, unreachable: [{ limit: 'MaxEntries', allowed: 0, remaining: 2 }], expiredPins: [] });
  });

  it('names in use before kept, and kept before recent', () => {
    const keep = [aPin({ pattern: '*' })];
    const entries = [entry('used', { idleMs: second }), entry('kept', { idleMs: 0 })];
    const plan = planEviction(planInput(entries, { maxEntries: 0, keep, holds: heldBy('box', 'used') }));
    expect([...plan.verdicts].map(({ reason }) => reason)).toEqual(['InUse', 'Kept']);
  });

  it('lets go of what an expired pin held, from its moment on, and tells of the pin', () => {
    const keep = [aPin({ by: 'key', pattern: 'a', untilMs: now })];
    const at = (nowMs: number) => planEviction(planInput([entry('a')], { maxEntries: 0, keep, nowMs }));
    expect([at(now - 1).evict.length, at(now - 1).expiredPins, at(now - 1).expiresAtMs]).toEqual([0, [], now]);
    expect([at(now).evict.length, at(now).expiredPins, at(now).expiresAtMs]).toEqual([1, keep, null]);
  });

  it('does not take a pin for a reason why maxIdle is out of reach: what is pinned may be idle', () => {
    const plan = planEviction(planInput([entry('a')], { maxIdleMs: hour, keep: [aPin({ pattern: '*' })] }));
    expect([plan.unreachable, plan.expiresAtMs]).toEqual([[], null]);
  });

  it('does not change its input', () => {
    const input = planInput(Object.freeze(leastRecentlyUsedFirst('b', 'a')) as never, { maxEntries: 1, minIdleMs: minute });
    const before = structuredClone({ ...input, holds: undefined });
    planEviction(Object.freeze(input));
    expect({ ...input, holds: undefined }).toEqual(before);
  });
});

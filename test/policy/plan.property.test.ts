import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { planEviction } from '../../src/policy/plan.ts';
import type { Pin } from '../../src/policy/keep.ts';
import type { PlanInput } from '../../src/policy/plan.ts';
import type { Entry } from '../../src/policy/snapshot.ts';
import { entry, heldBy, now, planInput, snapshotOf } from './builders.ts';

/** Small ranges, so that ties, zeros and limits that just hold come often. */
const inputs: fc.Arbitrary<PlanInput> = fc
  .record({
    entries: fc.array(
      fc.record({ idleMs: fc.nat(20), cachedAgoMs: fc.nat(3), sizeBytes: fc.nat(10), held: fc.boolean(), pinned: fc.boolean(), clockAhead: fc.boolean() }),
      { maxLength: 12 },
    ),
    maxEntries: fc.option(fc.nat(13)),
    maxBytes: fc.option(fc.nat(60)),
    maxIdleMs: fc.option(fc.nat(22)),
    headroomPercent: fc.constantFrom(0, 0, 10, 50, 99),
    minIdleMs: fc.nat(22),
    pinsUntilMs: fc.constantFrom(null, now + 1, now),
  })
  .map(({ entries, pinsUntilMs, ...rest }) => {
    const made = entries.map(({ idleMs, cachedAgoMs, sizeBytes, clockAhead }, i) => entry(`k${i}`, { idleMs, sizeBytes, clockAhead, cachedAtMs: now - cachedAgoMs }));
    const held = made.filter((_, i) => entries[i]?.held).map(({ key }) => key);
    const pinned = made.filter((_, i) => entries[i]?.pinned);
    const keep = pinned.map(({ key, description }, i): Pin => ({ by: i % 2 === 0 ? 'key' : 'description', pattern: i % 2 === 0 ? key : description, untilMs: pinsUntilMs, reason: '' }));
    return planInput(made, { ...rest, keep, holds: heldBy('box', ...held) });
  });

function isPinned({ key, description }: Entry, { protect, nowMs }: PlanInput): boolean {
  return protect.keep.some(({ by, pattern, untilMs }) => pattern === (by === 'key' ? key : description) && (untilMs === null || nowMs < untilMs));
}

/** Whether a limit of so much, which was exceeded before, is exceeded by this much: headroom counts then. */
function isOver(actual: number, limit: number | null, before: number, { limits }: PlanInput): boolean {
  return limit !== null && before > limit && actual > Math.floor((limit * (100 - limits.headroomPercent)) / 100);
}

const protectedBy = new Set(['InUse', 'Kept', 'Recent']);

function idleMs(of: { lastAccessedAtMs: number; clockAhead: boolean }): number {
  return of.clockAhead ? 0 : now - of.lastAccessedAtMs;
}

describe('for every cache, limits and holds, a plan', () => {
  it('never evicts what is in use, pinned, or was used within minIdle', () => {
    fc.assert(fc.property(inputs, (input) => {
      for (const { entry } of planEviction(input).evict) {
        expect(input.holds.entries.has(entry.name)).toBe(false);
        expect(isPinned(entry, input)).toBe(false);
        expect(idleMs(entry)).toBeGreaterThanOrEqual(input.protect.minIdleMs);
      }
    }));
  });

  it('meets every limit, or evicts all that may go and says that it is out of reach; of maxBytes only what is in use or kept leaves it within reach', () => {
    fc.assert(fc.property(inputs, (input) => {
      const plan = planEviction(input);
      const { maxEntries, maxBytes } = input.limits;
      const unmet = new Set<string>();
      if (maxEntries !== null && plan.after.entryCount > maxEntries) unmet.add('MaxEntries');
      if (maxBytes !== null && plan.after.totalBytes > maxBytes) unmet.add('MaxBytes');
      expect(new Set(plan.unreachable.map(({ limit }) => limit).filter((limit) => limit !== 'MaxIdle'))).toEqual(unmet);
      const held = plan.held.inUse.bytes + plan.held.kept.bytes;
      if (maxBytes !== null && held > maxBytes) {
        expect([...plan.evict].every(({ reason }) => reason !== 'MaxBytes')).toBe(true);
        expect(plan.unreachable).toContainEqual({ limit: 'MaxBytes', allowed: maxBytes, remaining: held + plan.held.recent.bytes, because: 'HeldAlone' });
        unmet.delete('MaxBytes');
      }
      if (unmet.size > 0) expect([...plan.verdicts].every(({ reason }) => reason !== 'WithinLimits')).toBe(true);
    }));
  });

  it('evicts the same without maxBytes where what is in use or kept exceeds that limit by itself', () => {
    fc.assert(fc.property(inputs, (input) => {
      const plan = planEviction(input);
      if (plan.held.inUse.bytes + plan.held.kept.bytes <= (input.limits.maxBytes ?? Infinity)) return;
      const without = planEviction({ ...input, limits: { ...input.limits, maxBytes: null } });
      expect([...plan.verdicts].map(({ reason }) => reason)).toEqual([...without.verdicts].map(({ reason }) => reason));
    }));
  });

  it('evicts everything free that is idle beyond maxIdle', () => {
    fc.assert(fc.property(inputs, (input) => {
      const maxIdleMs = input.limits.maxIdleMs;
      for (const { entry, verdict, reason } of planEviction(input).verdicts) {
        if (maxIdleMs !== null && idleMs(entry) > maxIdleMs && !protectedBy.has(reason)) expect([verdict, reason]).toEqual(['evict', 'MaxIdle']);
      }
    }));
  });

  it('evicts nothing it could have kept: with the last one back, a limit would be exceeded', () => {
    fc.assert(fc.property(inputs, (input) => {
      const { before, after, evict } = planEviction(input);
      const last = evict.at(evict.length - 1);
      if (last === undefined) return;
      const { maxEntries, maxBytes, maxIdleMs } = input.limits;
      const exceeded =
        isOver(after.entryCount + 1, maxEntries, before.entryCount, input) ||
        isOver(after.totalBytes + last.entry.sizeBytes, maxBytes, before.totalBytes, input) ||
        isOver(idleMs(last.entry), maxIdleMs, idleMs(evict.at(0)!.entry), input);
      expect(exceeded).toBe(true);
    }));
  });

  it('evicts in the order of last use: nothing free that is kept was used before something evicted', () => {
    fc.assert(fc.property(inputs, (input) => {
      const free = [...planEviction(input).verdicts].filter(({ reason }) => !protectedBy.has(reason));
      const firstKept = free.findIndex(({ verdict }) => verdict === 'keep');
      if (firstKept >= 0) expect(free.slice(firstKept).every(({ verdict }) => verdict === 'keep')).toBe(true);
      const uses = free.map(({ entry }) => -idleMs(entry));
      expect(uses).toEqual(uses.toSorted((a, b) => a - b));
    }));
  });

  it('is the same whatever the order the entries were found in', () => {
    fc.assert(fc.property(inputs, fc.infiniteStream(fc.nat()), (input, random) => {
      const shuffled = [...input.snapshot.entries].map((entry) => [random.next().value as number, entry] as const).toSorted(([a], [b]) => a - b).map(([, entry]) => entry);
      const tell = (plan: ReturnType<typeof planEviction>) => [...plan.verdicts].map(({ entry, reason, detail }) => [entry.key, reason, detail]);
      expect(tell(planEviction({ ...input, snapshot: snapshotOf(shuffled) }))).toEqual(tell(planEviction(input)));
    }));
  });

  it('rests after itself: what it leaves gives nothing more to evict, headroom or not', () => {
    fc.assert(fc.property(inputs, (input) => {
      const left = [...planEviction(input).verdicts].filter(({ verdict }) => verdict === 'keep').map(({ entry }) => entry);
      expect([...planEviction({ ...input, snapshot: snapshotOf(left) }).evict]).toEqual([]);
    }));
  });

  it('accounts for every entry and every byte', () => {
    fc.assert(fc.property(inputs, (input) => {
      const plan = planEviction(input);
      const bytes = (verdicts: readonly { entry: { sizeBytes: number } }[]) => verdicts.reduce((sum, { entry }) => sum + entry.sizeBytes, 0);
      expect(plan.verdicts).toHaveLength(input.snapshot.entries.length);
      expect(plan.before).toEqual({ entryCount: plan.verdicts.length, totalBytes: bytes([...plan.verdicts]) });
      expect(plan.after).toEqual({ entryCount: plan.before.entryCount - plan.evict.length, totalBytes: plan.before.totalBytes - bytes([...plan.evict]) });
    }));
  });
});

import { describe, expect, it } from 'vitest';
import { lookOf } from '../../src/agent/look.ts';
import type { PassReport } from '../../src/cache/report.ts';
import { planEviction } from '../../src/policy/plan.ts';
import type { Entry, EntryName, Snapshot } from '../../src/policy/snapshot.ts';
import { entry, heldBy, leastRecentlyUsedFirst, now, planInput, second, snapshotOf } from '../policy/builders.ts';

type PassInput = { entries: readonly Entry[]; limits?: Parameters<typeof planInput>[1]; evicted?: readonly string[]; after?: Partial<Snapshot> };

/** The report of a pass that evicted what is named. */
function aPass({ entries, limits = {}, evicted = [], after = {} }: PassInput): PassReport {
  const plan = planEviction(planInput(entries, limits));
  return {
    cacheName: 'rootfs', root: '/x', trigger: 'Change', startedAtMs: now, finishedAtMs: now + second, before: snapshotOf(entries),
    after: { ...snapshotOf(entries.filter(({ key }) => !evicted.includes(key))), ...after }, plan,
    evicted: evicted.map((key) => ({ name: key as EntryName, key, description: '', sizeBytes: 100, freedBytes: 100, reason: 'MaxEntries', detail: '' })),
    mode: 'Enforce', stopped: false, unfinished: false, revived: 0, raced: 0, failed: 0, longestLockMs: 0, holdSources: ['Box'], filesystem: { capacityBytes: 1000, availableBytes: 500 }, clockDoubt: undefined, leftoversRemoved: 0, errors: [], purgeDueAtMs: null,
  };
}

const entries = leastRecentlyUsedFirst('a', 'b', 'c');

describe('what is known of a cache after a pass', () => {
  it('is what stands after it, not what was there before', () => {
    expect(lookOf(aPass({ entries, limits: { maxEntries: 1 }, evicted: ['a', 'b'] }))).toMatchObject({
      stats: { entryCount: 1, totalBytes: 100 }, wouldEvict: { entries: 0, bytes: 0 }, holdSources: ['Box'], filesystem: { capacityBytes: 1000, availableBytes: 500 },
    });
  });

  it('says since when the figures of a large directory are, where they are older than a minute', () => {
    const since = (measuredSinceMs: number) => lookOf(aPass({ entries, after: { takenAtMs: now, measuredSinceMs } })).measuredSinceMs;
    expect([since(now), since(now - 60_000), since(now - 61_000), lookOf(aPass({ entries })).measuredSinceMs]).toEqual([undefined, undefined, now - 61_000, undefined]);
  });

  it('counts what would go where nothing was evicted', () => {
    expect(lookOf(aPass({ entries, limits: { maxEntries: 1 } })).wouldEvict).toEqual({ entries: 2, bytes: 200 });
  });

  it('counts an entry that was planned and is still there as one that would go', () => {
    expect(lookOf(aPass({ entries, limits: { maxEntries: 0 }, evicted: ['a', 'c'] })).wouldEvict).toEqual({ entries: 1, bytes: 100 });
  });

  it('says what is held and which limit that leaves out of reach', () => {
    const look = lookOf(aPass({ entries: [...entries, entry('d', { idleMs: second })], limits: { maxEntries: 1, holds: heldBy('box-1', 'b') }, evicted: ['a', 'c'] }));
    expect(look).toMatchObject({
      held: { inUse: { entries: 1, bytes: 100 }, recent: { entries: 1, bytes: 100 } }, unreachable: [{ limit: 'MaxEntries', allowed: 1, remaining: 2 }],
    });
  });

  it('says why all of it counts as in use', () => {
    const holds = { ...heldBy('box-1', 'b'), everything: { source: 'Box', detail: 'box box-2, which left no marker' } as const };
    expect(lookOf(aPass({ entries, limits: { holds } })).allHeldBy).toBe('box box-2, which left no marker');
    expect(lookOf(aPass({ entries })).allHeldBy).toBeUndefined();
  });

  it('counts what is no entry, and keeps none of the names', () => {
    const look = lookOf(aPass({
      entries: [entry('ahead', { clockAhead: true }), entry('fine')],
      after: {
        damaged: [{ name: 'secret-1', reason: 'NotADirectory', message: 'secret-2' }],
        leftovers: [{ name: 'secret-3', kind: 'Ghost', changedAtMs: now, removable: false }, { name: 'secret-4', kind: 'Trash', changedAtMs: now, removable: false }],
        unrecognised: ['secret-5', 'secret-6', 'secret-7'],
      },
    }));
    expect(look).toMatchObject({ damaged: 1, leftovers: 2, unrecognised: 3, clockAhead: 1 });
    expect(JSON.stringify(look)).not.toMatch(/secret|ahead"|fine/);
  });
});

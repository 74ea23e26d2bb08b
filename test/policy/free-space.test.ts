import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Filesystem } from '../../src/policy/filesystem.ts';
import { shortLimits, wantedFree } from '../../src/policy/filesystem.ts';
import type { FreeSpaceShare, PlannedCache } from '../../src/policy/free-space.ts';
import { planFreeSpace } from '../../src/policy/free-space.ts';
import type { Limits } from '../../src/policy/limits.ts';
import type { LinkedFilesByEntry } from '../../src/policy/linked-files.ts';
import { planEviction } from '../../src/policy/plan.ts';
import type { PlanInput } from '../../src/policy/plan.ts';
import type { Entry, EntryName } from '../../src/policy/snapshot.ts';
import { entry, heldBy, hour, minute, noLimits, now, planInput, second } from './builders.ts';

const disk: Filesystem = { capacityBytes: 10_000, availableBytes: 1_000, inodes: 1_000, inodesFree: 500 };

interface Cache {
  readonly entries: readonly Entry[];
  readonly limits?: Partial<Limits>;
  readonly but?: Parameters<typeof planInput>[1];
  readonly trashBytes?: number;
}

function inputOf({ entries, limits = {}, but = {} }: Cache): PlanInput {
  return planInput(entries, { ...but, ...limits });
}

function planned(cache: Cache): PlannedCache {
  const input = inputOf(cache);
  return { limits: input.limits, plan: planEviction(input), trashBytes: cache.trashBytes ?? 0 };
}

function shares(caches: readonly Cache[], filesystem: Partial<Filesystem> = {}, perEntry?: number, entries = Infinity): FreeSpaceShare[] {
  return planFreeSpace({ ...disk, ...filesystem }, caches.map(planned), perEntry === undefined ? undefined : { perEntry, entries });
}

/** What each cache evicts. */
function evicted(caches: readonly Cache[], filesystem: Partial<Filesystem> = {}, inodesPerEntry?: number): string[][] {
  return shares(caches, filesystem, inodesPerEntry).map(({ plan }) => [...plan.evict].map(({ entry: { key }, reason }) => `${key} ${reason}`));
}

const fifth = { minFree: { percent: 20 } } as const;
const a = (key: string, idleHours: number, sizeBytes = 500) => entry(key, { idleMs: idleHours * hour, sizeBytes });

describe('what a filesystem has to have left', () => {
  it('is a part of it or an amount, and nothing where nothing is asked for or inodes are not counted', () => {
    expect(wantedFree({ ...noLimits, minFree: { percent: 20 }, minFreeInodes: { count: 7 } }, disk)).toEqual({ bytes: 2_000, inodes: 7 });
    expect(wantedFree({ ...noLimits, minFree: { count: 123 }, minFreeInodes: { percent: 10 } }, disk)).toEqual({ bytes: 123, inodes: 100 });
    expect(wantedFree(noLimits, disk)).toEqual({ bytes: 0, inodes: 0 });
    expect(wantedFree({ ...noLimits, minFreeInodes: { percent: 99 } }, { capacityBytes: 1, availableBytes: 0 })).toEqual({ bytes: 0, inodes: 0 });
  });

  it('is short from one below it on, never where it is zero', () => {
    const short = (limits: Partial<Limits>, filesystem: Partial<Filesystem>) => shortLimits({ ...noLimits, ...limits }, { ...disk, ...filesystem }).map(({ limit }) => limit);
    expect(short(fifth, { availableBytes: 2_000 })).toEqual([]);
    expect(short(fifth, { availableBytes: 1_999 })).toEqual(['MinFree']);
    expect(short({ minFree: { percent: 0 }, minFreeInodes: { count: 0 } }, { availableBytes: 0, inodesFree: 0 })).toEqual([]);
    expect(short({ minFreeInodes: { percent: 51 } }, {})).toEqual(['MinFreeInodes']);
  });
});

describe('what is more than a filesystem could ever have free', () => {
  const entries = [a('a9', 9), a('a8', 8), a('a7', 7)];
  const beyond = (limit: string, allowed: number, remaining: number) => ({ limit, allowed, remaining, because: 'BeyondCapacity' });

  it.each([
    ['all of it, where the cache itself lies', { minFree: { count: 10_000 } }, {}, 10_000, 10_000],
    ['more than all', { minFree: { count: 10_001 } }, {}, 10_001, 10_000],
    ['a part of what is kept for root', { minFree: { percent: 96 } }, { mostFreeBytes: 9_500 }, 9_600, 9_500],
  ])('takes nothing and says so: %s', (_, limits, filesystem, wanted, most) => {
    const cache = { entries, limits };
    expect(evicted([cache], filesystem)).toEqual([[]]);
    expect(shares([cache], filesystem)).toMatchObject([{ forBytes: 0, forInodes: 0, unmet: [beyond('MinFree', wanted, most)] }]);
    expect(shares([cache], filesystem)[0]!.plan.unreachable).toEqual([beyond('MinFree', wanted, most)]);
  });

  it('takes what one below it takes', () => {
    expect(evicted([{ entries, limits: { minFree: { count: 9_999 } } }])).toEqual([['a9 MinFree', 'a8 MinFree', 'a7 MinFree']]);
    expect(evicted([{ entries, limits: { minFree: { percent: 96 } } }])).toEqual([['a9 MinFree', 'a8 MinFree', 'a7 MinFree']]);
  });

  it('is not headroom either: what is short goes, and no more', () => {
    const some = { entries: [a('a9', 9), a('a8', 8), a('a7', 7)], limits: { minFree: { percent: 92 }, headroomPercent: 10 } };
    expect(evicted([some], { availableBytes: 8_600 })).toEqual([['a9 MinFree', 'a8 MinFree']]);
    expect(evicted([{ ...some, limits: { minFree: { percent: 88 }, headroomPercent: 10 } }], { availableBytes: 8_600, mostFreeBytes: 9_500 })).toEqual([['a9 MinFree']]);
    expect(evicted([{ ...some, limits: { minFreeInodes: { percent: 95 }, headroomPercent: 10 } }], { inodesFree: 949 })).toEqual([['a9 MinFreeInodes']]);
  });

  it('of inodes is known only where their number stands', () => {
    const cache = { entries, limits: { minFreeInodes: { count: 1_000 } } };
    expect(shares([cache], { mostFreeInodes: 1_000 })).toMatchObject([{ forInodes: 0, unmet: [beyond('MinFreeInodes', 1_000, 1_000)] }]);
    expect(shares([cache])).toMatchObject([{ forInodes: 1, unmet: [] }]);
  });

  it('leaves the other limit of the cache, and other caches, to theirs', () => {
    const both = { entries, limits: { minFree: { count: 20_000 }, minFreeInodes: { percent: 51 } } };
    expect(shares([both])).toMatchObject([{ forBytes: 0, forInodes: 1, unmet: [beyond('MinFree', 20_000, 10_000)] }]);
    const modest = { entries: [a('b5', 5), a('b4', 4), a('b3', 3)], limits: fifth };
    expect(evicted([{ entries, limits: { minFree: { count: 20_000 } } }, modest])).toEqual([[], ['b5 MinFree', 'b4 MinFree']]);
  });
});

describe('what is missing on a filesystem', () => {
  it('is shared out by last use, whichever cache an entry lies in', () => {
    const caches = [{ entries: [a('a9', 9), a('a3', 3), a('a1', 1)], limits: fifth }, { entries: [a('b5', 5), a('b2', 2)], limits: fifth }];
    expect(evicted(caches)).toEqual([['a9 MinFree'], ['b5 MinFree']]);
    expect(evicted(caches, { availableBytes: 400 })).toEqual([['a9 MinFree', 'a3 MinFree'], ['b5 MinFree', 'b2 MinFree']]);
  });

  it('is nothing where enough is free', () => {
    expect(shares([{ entries: [a('a', 9)], limits: fifth }], { availableBytes: 2_000 })).toMatchObject([{ forBytes: 0, forInodes: 0, unmet: [] }]);
  });

  it('is made up for by a cache for its own limit only', () => {
    const [modest, bold] = [{ entries: [a('a9', 9), a('a8', 8)], limits: { minFree: { count: 1_200 } } }, { entries: [a('b5', 5), a('b4', 4)], limits: { minFree: { count: 2_400 } } }];
    expect(evicted([modest, bold])).toEqual([['a9 MinFree'], ['b5 MinFree', 'b4 MinFree']]);
    expect(evicted([{ ...modest, limits: {} }, bold])).toEqual([[], ['b5 MinFree', 'b4 MinFree']]);
  });

  it('goes beyond by the headroom, and not at all for headroom alone', () => {
    const cache = { entries: [a('a9', 9), a('a8', 8), a('a7', 7), a('a6', 6)], limits: { ...fifth, headroomPercent: 25 } };
    expect(evicted([cache])).toEqual([['a9 MinFree', 'a8 MinFree', 'a7 MinFree']]);
    expect(evicted([cache], { availableBytes: 2_000 })).toEqual([[]]);
    expect(shares([cache])[0]!.plan.unreachable).toEqual([]);
  });

  it('is less what rests in the trash, and what other limits evict anyway', () => {
    const entries = [a('a9', 9), a('a8', 8), a('a7', 7)];
    expect(evicted([{ entries, limits: fifth, trashBytes: 600 }])).toEqual([['a9 MinFree']]);
    expect(shares([{ entries, limits: fifth, trashBytes: 1_000 }])).toMatchObject([{ forBytes: 0 }]);
    expect(evicted([{ entries, limits: { ...fifth, maxEntries: 2 } }])).toEqual([['a9 MaxEntries', 'a8 MinFree']]);
    expect(evicted([{ entries: [a('b', 1)], limits: fifth }, { entries, limits: { maxEntries: 1 } }])).toEqual([[], ['a9 MaxEntries', 'a8 MaxEntries']]);
  });

  it('never takes what is in use, kept or recent, and says what stays short for that', () => {
    const cache = {
      entries: [a('used', 9), a('kept', 8), entry('recent', { idleMs: second, sizeBytes: 500 }), a('free', 7)], limits: fifth,
      but: { holds: heldBy('box', 'used'), keep: [{ by: 'key', pattern: 'kept', untilMs: null, reason: '' }] as const },
    };
    expect(evicted([cache])).toEqual([['free MinFree']]);
    expect(shares([cache])[0]?.unmet).toEqual([{ limit: 'MinFree', allowed: 2_000, remaining: 1_500 }]);
    const { plan } = shares([cache])[0]!;
    expect(plan.unreachable).toEqual([{ limit: 'MinFree', allowed: 2_000, remaining: 1_500 }]);
    expect([plan.nextFreeAtMs, plan.expiresAtMs]).toEqual([now - second + minute, now - second + minute]);
  });

  it('stays short by what is found to be in use', () => {
    const { plan } = shares([{ entries: [a('a9', 9), a('a8', 8)], limits: fifth, but: { holds: heldBy('box', 'a9') } }])[0]!;
    expect(plan.unreachable).toEqual([{ limit: 'MinFree', allowed: 2_000, remaining: 1_500 }]);
  });

  it('of inodes goes in steps: first as if all in use were those of entries, then by what entries gave, and an eighth at most', () => {
    const entries = Array.from({ length: 32 }, (_, i) => a(`k${i}`, 40 - i));
    const limits = { minFreeInodes: { count: 600 } };
    // 500 in use over 32 entries are 16 each: 7 entries for the 100 that are missing, of which an eighth of all may go at once.
    expect(shares([{ entries, limits }])).toMatchObject([{ forBytes: 0, forInodes: 4, unmet: [] }]);
    expect(shares([{ entries, limits }], {}, 50)).toMatchObject([{ forInodes: 2 }]);
    expect(shares([{ entries, limits }], {}, 1)).toMatchObject([{ forInodes: 4 }]);
    // However little it gave back, as far as it could be seen: four times as many as before, and no more.
    const many = Array.from({ length: 320 }, (_, i) => a(`k${i}`, 400 - i));
    expect([1, 2, 9, 10, 11].map((before) => shares([{ entries: many, limits }], {}, 1, before)[0]!.forInodes)).toEqual([4, 8, 36, 40, 40]);
    expect(evicted([{ entries, limits }], {}, 50)).toEqual([['k0 MinFreeInodes', 'k1 MinFreeInodes']]);
    expect(shares([{ entries: [], limits }])[0]?.unmet).toEqual([{ limit: 'MinFreeInodes', allowed: 600, remaining: 500 }]);
    expect(shares([{ entries, limits }], { inodes: undefined as never, inodesFree: undefined as never })).toMatchObject([{ forInodes: 0, unmet: [] }]);
  });
});

describe('entries that share files', () => {
  const linked = (links: number, here: readonly string[]): LinkedFilesByEntry => new Map(here.map((key) => [key as EntryName, {
    inodes: BigUint64Array.of(1n), linksHere: Uint32Array.of(1), links: Uint32Array.of(links), allocatedBytes: Float64Array.of(3_000),
  }]));

  /** Three folders of 10 bytes with a link each to a file of 3,000 bytes. */
  const copies = (links: number) => {
    const keys = ['a9', 'a8', 'a7'];
    const input = planInput(keys.map((key, i) => a(key, 9 - i, 10 + 3_000 / links)), { minIdleMs: 0, ...fifth });
    return { limits: input.limits, plan: planEviction({ ...input, snapshot: { ...input.snapshot, linked: linked(links, keys) } }), trashBytes: 0 };
  };

  it('are evicted until what really comes free is enough', () => {
    const [share] = planFreeSpace(disk, [copies(3)]);
    expect([...share!.plan.evict].map(({ entry: { key }, freedBytes }) => [key, freedBytes])).toEqual([['a9', 10], ['a8', 10], ['a7', 3_010]]);
    expect(share).toMatchObject({ wouldEvict: { entries: 3, bytes: 3_030 }, unmet: [], plan: { after: { entryCount: 0, totalBytes: 0 } } });
  });

  it('are not evicted where a link outside of the cache keeps their file, and it is said what stays short', () => {
    expect(planFreeSpace(disk, [copies(4)])[0]).toMatchObject({ unmet: [{ limit: 'MinFree', allowed: 2_000, remaining: 1_000 }], wouldEvict: { entries: 0, bytes: 0 } });
  });

  it('are passed over where next to nothing of them comes free, beside entries that give more', () => {
    const entries = [a('linked', 9, 1_510), a('own', 8)];
    const input = planInput(entries, { minIdleMs: 0, ...fifth });
    const plan = planEviction({ ...input, snapshot: { ...input.snapshot, linked: linked(2, ['linked']) } });
    const [share] = planFreeSpace(disk, [{ limits: input.limits, plan, trashBytes: 0 }]);
    expect([...share!.plan.evict].map(({ entry: { key } }) => key)).toEqual(['own']);
  });
});

describe('for every set of caches on one filesystem, the shares', () => {
  const caches = fc.array(
    fc.record({
      entries: fc.array(fc.record({ idleMs: fc.nat(20), sizeBytes: fc.integer({ min: 1, max: 10 }), held: fc.boolean() }), { maxLength: 8 }),
      minFree: fc.option(fc.nat(60)),
      headroomPercent: fc.constantFrom(0, 10, 50),
      maxEntries: fc.option(fc.nat(8)),
      trashBytes: fc.nat(5),
    }),
    { maxLength: 4 },
  ).map((all) => all.map(({ entries, minFree, headroomPercent, maxEntries, trashBytes }, c): Cache => {
    const made = entries.map(({ idleMs, sizeBytes }, i) => entry(`${c}-${i}`, { idleMs, sizeBytes }));
    const held = made.filter((_, i) => entries[i]?.held).map(({ key }) => key);
    return { entries: made, limits: { minFree: minFree === null ? null : { count: minFree }, headroomPercent, maxEntries }, but: { minIdleMs: 0, holds: heldBy('box', ...held) }, trashBytes };
  }));

  const outcome = (all: readonly Cache[], filesystem: Filesystem) => {
    const shares = planFreeSpace(filesystem, all.map(planned));
    const plans = shares.map(({ plan }) => plan);
    const given = plans.reduce((sum, plan, i) => sum + plan.before.totalBytes - plan.after.totalBytes + all[i]!.trashBytes!, 0);
    return { shares, plans, free: filesystem.availableBytes + given };
  };
  const filesystems = fc.nat(40).map((availableBytes): Filesystem => ({ capacityBytes: 200, availableBytes }));

  it('leave what each wants, or take all that may go and say what stays short', () => {
    fc.assert(fc.property(caches, filesystems, (all, filesystem) => {
      const { plans, shares, free } = outcome(all, filesystem);
      for (const [i, { limits, trashBytes }] of all.map((cache) => ({ limits: inputOf(cache).limits, trashBytes: cache.trashBytes! })).entries()) {
        const wanted = wantedFree(limits, filesystem).bytes;
        const wasShort = filesystem.availableBytes + trashBytes < wanted;
        expect(shares[i]!.unmet.length > 0).toBe(wasShort && free < wanted);
        if (wasShort && free < wanted) expect([...plans[i]!.verdicts].some(({ reason }) => reason === 'WithinLimits')).toBe(false);
      }
    }), { numRuns: 500 });
  });

  it('take nothing that could have stayed: with any cache\'s last one back, something is missing', () => {
    fc.assert(fc.property(caches, filesystems, (all, filesystem) => {
      const { plans, free } = outcome(all, filesystem);
      for (const [i, plan] of plans.entries()) {
        const last = plan.evict.at(plan.evict.length - 1);
        if (last?.reason !== 'MinFree') continue;
        const { limits } = inputOf(all[i]!);
        const wanted = wantedFree(limits, filesystem).bytes;
        const withHeadroom = Math.ceil((wanted * (100 + limits.headroomPercent)) / 100);
        const goal = withHeadroom < filesystem.capacityBytes ? withHeadroom : wanted;
        // Of two that were the last of their caches, only the one used later is the last of all.
        const isLastOfAll = plans.every((other) => [...other.evict].every(({ entry, reason }) => reason !== 'MinFree' || entry.lastAccessedAtMs <= last.entry.lastAccessedAtMs));
        const tied = plans.filter((other) => [...other.evict].some(({ entry, reason }) => reason === 'MinFree' && entry.lastAccessedAtMs === last.entry.lastAccessedAtMs)).length > 1;
        if (isLastOfAll && !tied) expect(free - last.entry.sizeBytes).toBeLessThan(goal);
      }
    }), { numRuns: 500 });
  });

  it('take by last use: no entry that may go is kept for a limit of its cache while a later used one of the same limit goes', () => {
    fc.assert(fc.property(caches, filesystems, (all, filesystem) => {
      const same = all.map((cache) => ({ ...cache, limits: { ...cache.limits, minFree: { count: 50 }, headroomPercent: 0, maxEntries: null }, trashBytes: 0 }));
      const { plans } = outcome(same, filesystem);
      const uses = (verdict: string) => plans.flatMap((plan) => [...plan.verdicts].filter(({ reason, verdict: is }) => is === verdict && reason !== 'InUse').map(({ entry }) => entry.lastAccessedAtMs));
      const [gone, kept] = [uses('evict'), uses('keep')];
      if (gone.length > 0 && kept.length > 0) expect(Math.max(...gone)).toBeLessThanOrEqual(Math.min(...kept));
    }), { numRuns: 500 });
  });
});

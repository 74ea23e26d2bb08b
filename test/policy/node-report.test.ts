import { describe, expect, it } from 'vitest';
import { errorKinds } from '../../src/errors.ts';
import type { ErrorCode } from '../../src/errors.ts';
import type { Limits } from '../../src/policy/limits.ts';
import type { CacheLook, CacheState } from '../../src/policy/node-report.ts';
import { isOverLimit, isoSeconds, nodeReport, noTotals, problemReason } from '../../src/policy/node-report.ts';
import { aLook, hour, noLimits } from './builders.ts';

const Gi = 2 ** 30;
const none = { entries: 0, bytes: 0 };

function aCache(name: string, but: Partial<Omit<CacheState, 'limits'>> & { limits?: Partial<Limits> } = {}): CacheState {
  const { limits, ...rest } = but;
  return { name, look: aLook(), lastRun: undefined, totals: noTotals, problem: undefined, ...rest, limits: { ...noLimits, maxEntries: 8, ...limits } };
}

const failing = (name: string, message: string) => aCache(name, { look: undefined, problem: { reason: 'RootMissing', message } });
const words = (states: readonly CacheState[]) => nodeReport(states).findings.map(({ type, status, reason, message }) => `${type}=${status} ${reason}: ${message}`);

describe('the report of a node', () => {
  it('adds up its caches and names the fullest', () => {
    const report = nodeReport([aCache('rootfs'), aCache('layers', { look: aLook({ stats: { entryCount: 6, totalBytes: 2 * Gi } }) })]);
    expect(report).toMatchObject({ stats: { entryCount: 10, totalBytes: 6 * Gi }, entries: '10', size: '6Gi', usage: '75%' });
    expect(report.caches.map(({ name, size, usage }) => `${name} ${size} ${usage}`)).toEqual(['rootfs 4Gi 50%', 'layers 2Gi 75%']);
  });

  it('is ready within the limits, and says nothing else', () => {
    expect(words([aCache('rootfs')])).toEqual(['Ready=True Ready: every cache is within its limits']);
  });

  it('has no sum while one cache is unknown, and still the figures of the others', () => {
    const report = nodeReport([aCache('rootfs'), failing('layers', '/x does not exist')]);
    expect(report).toMatchObject({ entries: '-', size: '-', usage: '50%' });
    expect(report.stats).toBeUndefined();
    expect(report.caches[1]).toEqual({
      name: 'layers', size: '-', usage: '-', totals: { evictedEntries: 0, evictedBytes: 0, revived: 0, raced: 0 },
      problem: { reason: 'RootMissing', message: '/x does not exist' },
    });
  });

  it('shows an empty cache as zero, not as unknown', () => {
    const report = nodeReport([aCache('rootfs', { look: aLook({ stats: { entryCount: 0, totalBytes: 0 } }) })]);
    expect(report).toMatchObject({ entries: '0', size: '0', usage: '0%', evictedEntries: 0 });
  });

  it('has no usage where only idle time is limited', () => {
    expect(nodeReport([aCache('rootfs', { limits: { maxEntries: null, maxIdleMs: 1000 } })]).usage).toBe('-');
  });

  it('counts what was evicted over all caches, and when last', () => {
    const counted = (entries: number, lastEvictionAtMs: number | null) => ({ ...noTotals, evictedEntries: entries, evictedBytes: entries * Gi, lastEvictionAtMs });
    const early = Date.parse('2026-06-01T10:00:00.123Z');
    const report = nodeReport([
      aCache('a', { totals: counted(2, early) }),
      aCache('b', { totals: counted(3, early + 3_600_000) }),
      aCache('c', { totals: counted(0, null) }),
    ]);
    expect(report).toMatchObject({ evictedEntries: 5, evictedBytes: 5 * Gi, lastEvictionTime: '2026-06-01T11:00:00Z' });
    expect(report.caches[0]?.totals).not.toHaveProperty('lastEvictionAtMs');
  });

  it('names no time of eviction where nothing was ever evicted', () => {
    expect(nodeReport([aCache('a')])).not.toHaveProperty('lastEvictionTime');
  });

  it('says since when the figures of a large directory are', () => {
    const look = aLook({ measuredSinceMs: Date.parse('2026-06-01T10:00:00.999Z') });
    expect([nodeReport([aCache('a', { look })]).caches[0]?.measuredSince, nodeReport([aCache('a')]).caches[0]]).toEqual(['2026-06-01T10:00:00Z', expect.not.objectContaining({ measuredSince: expect.anything() })]);
  });

  it('tells the last run in whole seconds', () => {
    const lastRun = { finishedAtMs: Date.parse('2026-06-01T10:00:00.999Z'), trigger: 'Schedule', evictedEntries: 1, evictedBytes: Gi, errors: 2 };
    expect(nodeReport([aCache('a', { lastRun })]).caches[0]?.lastRun).toEqual({
      time: '2026-06-01T10:00:00Z', trigger: 'Schedule', evictedEntries: 1, evictedBytes: Gi, errors: 2,
    });
  });

  it('cuts a long problem to what the API takes', () => {
    const report = nodeReport([failing('a', 'x'.repeat(300))]);
    expect(report.caches[0]?.problem?.message).toHaveLength(256);
    expect(nodeReport([failing('a', 'a name with\na line break and \u202e')]).caches[0]?.problem?.message).toBe('a name with a line break and \ufffd');
  });

  it('stays small: 1 KiB and 768 bytes a cache at most, with 100,000 entries and 10Ti in each', () => {
    const large = 10 * 2 ** 40 + 1;
    const tally = { entries: 1e5, bytes: large };
    const look = aLook({
      stats: { entryCount: 1e5, totalBytes: large }, held: { inUse: tally, kept: tally, recent: tally }, expiredPins: 64, damaged: 10, leftovers: 10, unrecognised: 10, clockAhead: 10,
      filesystem: { capacityBytes: large, availableBytes: large },
    });
    const totals = { evictedEntries: 1e5, evictedBytes: large, revived: 1000, raced: 1000, lastEvictionAtMs: Date.parse('2026-06-01T10:00:00Z') };
    const lastRun = { finishedAtMs: totals.lastEvictionAtMs, trigger: 'Schedule', evictedEntries: 1e5, evictedBytes: large, errors: 10 };
    const caches = Array.from({ length: 16 }, (_, i) => aCache(`cache-${i}`, { limits: { maxEntries: 1e7 }, look, totals, lastRun }));
    // Who and when, added by whoever publishes it: uids, version, time.
    const rest = 320;
    for (const n of [1, 4, 16]) expect(Buffer.byteLength(JSON.stringify(nodeReport(caches.slice(0, n)))) + rest).toBeLessThanOrEqual(1024 + 768 * n);
  });
});

describe('a cache over a limit', () => {
  it.each([
    ['more entries than allowed', { limits: { maxEntries: 3 } }, true],
    ['more bytes than allowed', { limits: { maxBytes: Gi } }, true],
    ['exactly as many as allowed', { limits: { maxEntries: 4 } }, false],
    ['anything where the limit is zero', { limits: { maxEntries: 0 } }, true],
    ['something that may go for being idle', { look: aLook({ wouldEvict: { entries: 1, bytes: Gi } }) }, true],
    ['a limit that protection keeps out of reach', { look: aLook({ unreachable: [{ limit: 'MaxIdle', allowed: 1, remaining: 2 }] }) }, true],
    ['nothing that is known', { look: undefined }, false],
  ] as const)('with %s: %#', (_, but, over) => {
    expect(isOverLimit(aCache('rootfs', but))).toBe(over);
  });

  it('is said with what could not be evicted', () => {
    const look = aLook({ wouldEvict: { entries: 2, bytes: 2 * Gi }, failed: 1 });
    expect(words([aCache('rootfs', { limits: { maxEntries: 2 }, look })])).toEqual(["Ready=False OverLimit: rootfs is at 200%; 2 entries (2Gi) may go, of which 1 could not be evicted: the agent's log names them and says why"]);
  });

  it('is said with what may go', () => {
    const look = aLook({ wouldEvict: { entries: 2, bytes: 2 * Gi } });
    expect(words([aCache('rootfs', { limits: { maxEntries: 2 }, look }), aCache('layers')])).toEqual(['Ready=False OverLimit: rootfs is at 200%; 2 entries (2Gi) may go']);
    expect(nodeReport([aCache('rootfs', { limits: { maxEntries: 2 }, look })]).caches[0]).toMatchObject({ overLimit: true, usage: '200%' });
  });

  it('says what holds it where the limit cannot be reached', () => {
    const held = { inUse: { entries: 3, bytes: 3 * Gi }, kept: none, recent: { entries: 1, bytes: Gi / 2 } };
    const unreachable = [{ limit: 'MaxEntries', allowed: 2, remaining: 4 }, { limit: 'MaxBytes', allowed: Gi, remaining: 3.5 * Gi }] as const;
    const state = aCache('models', { limits: { maxEntries: 2, maxBytes: Gi }, look: aLook({ held, unreachable }) });
    expect(words([state]).at(-1)).toBe('LimitUnreachable=True HeldInUse: models: 4 of 2 entries, 3.5Gi of 1Gi; in use 3Gi (3 entries), kept 0 (0), recent 512Mi (1)');
  });

  it('says that nothing is evicted for maxBytes where what is held exceeds it by itself', () => {
    const held = { inUse: { entries: 1, bytes: 3 * Gi }, kept: none, recent: none };
    const unreachable = [{ limit: 'MaxBytes', allowed: Gi, remaining: 3 * Gi, because: 'HeldAlone' }] as const;
    expect(words([aCache('models', { limits: { maxBytes: Gi }, look: aLook({ held, unreachable }) })]).at(-1)).toBe(
      'LimitUnreachable=True HeldInUse: models: 3Gi of 1Gi, and nothing is evicted for it; in use 3Gi (1 entries), kept 0 (0), recent 0 (0)',
    );
  });

  it('names what makes all of it count as in use', () => {
    const look = aLook({ unreachable: [{ limit: 'MaxEntries', allowed: 2, remaining: 4 }], allHeldBy: 'box b-1, which left no marker' });
    expect(words([aCache('models', { limits: { maxEntries: 2 }, look })]).at(-1)).toMatch(/recent 0 \(0\); all of it counts as in use because of box b-1, which left no marker$/);
  });

  it('names recent use where that holds more than what is in use', () => {
    const held = { inUse: { entries: 1, bytes: 1 }, kept: none, recent: { entries: 3, bytes: 3 * Gi } };
    const look = aLook({ held, unreachable: [{ limit: 'MaxIdle', allowed: hour, remaining: 3 * hour }] });
    expect(words([aCache('models', { limits: { maxIdleMs: hour }, look })]).at(-1)).toBe(
      'LimitUnreachable=True HeldRecent: models: idle for 3h of 60m; in use 1 (1 entries), kept 0 (0), recent 3Gi (3)',
    );
  });
});

describe('free space that stays short', () => {
  const held = { inUse: { entries: 2, bytes: 2 * Gi }, kept: none, recent: none };
  const gap = { limit: 'MinFree', allowed: 20 * Gi, remaining: 12.5 * Gi } as const;
  const said = (look: Partial<CacheLook>) => words([aCache('models', { look: aLook(look) })]).at(-1);

  it('is named by what holds the entries that might go', () => {
    expect(said({ held, unreachable: [gap] })).toBe('LimitUnreachable=True HeldInUse: models: 12.5Gi free of 20Gi wanted; in use 2Gi (2 entries), kept 0 (0), recent 0 (0)');
  });

  it('is NotReclaimable where nothing is held, or what went gave nothing back', () => {
    expect(said({ unreachable: [gap] })).toMatch(/^LimitUnreachable=True NotReclaimable: /);
    expect(said({ held, unreachable: [{ ...gap, because: 'NotReclaimable' }] })).toMatch(/^LimitUnreachable=True NotReclaimable: /);
    expect(said({ held, unreachable: [{ limit: 'MaxBytes', allowed: 1, remaining: 2 * Gi }, { ...gap, because: 'NotReclaimable' }] })).toMatch(/^LimitUnreachable=True HeldInUse: /);
  });

  it('because it is more than the filesystem can have free is told before all else, with what to do', () => {
    const beyond = { limit: 'MinFree', allowed: 200 * Gi, remaining: 95 * Gi, because: 'BeyondCapacity' } as const;
    expect(said({ held, unreachable: [{ limit: 'MaxBytes', allowed: 1, remaining: 2 * Gi }, beyond] })).toMatch(
      /^LimitUnreachable=True BeyondCapacity: models: 2Gi of 0, minFree wants 200Gi to be free where at most 95Gi can be: nothing is evicted for it; lower it; in use /,
    );
    expect(said({ unreachable: [{ ...beyond, limit: 'MinFreeInodes', allowed: 500, remaining: 7 }] })).toContain('minFreeInodes wants 500 to be free where at most 7 can be');
  });

  it('is reported with the figures the API knows, and no others', () => {
    const filesystem = { capacityBytes: 3, availableBytes: 2, inodes: 9, inodesFree: 8 };
    const [report] = nodeReport([aCache('models', { look: aLook({ filesystem: { ...filesystem, mostFreeBytes: 2, mostFreeInodes: 9 } }) })]).caches;
    expect(report?.filesystem).toEqual(filesystem);
  });

  it('of inodes is told in inodes', () => {
    expect(said({ unreachable: [{ limit: 'MinFreeInodes', allowed: 500, remaining: 7 }] })).toContain('models: 7 inodes free of 500 wanted;');
  });

  it('makes a cache as full as its disk, and over its limit', () => {
    const [report] = nodeReport([aCache('models', { limits: { minFree: { percent: 50 } }, look: aLook({ filesystem: { capacityBytes: 100 * Gi, availableBytes: 20 * Gi, inodes: 10, inodesFree: 4 } }) })]).caches;
    expect(report).toMatchObject({ usage: '160%', overLimit: true, filesystem: { inodes: 10, inodesFree: 4 } });
  });
});

describe('what is kept by pins', () => {
  it('is named as the reason where it holds most, and stands in the report as entries and bytes', () => {
    const held = { inUse: { entries: 1, bytes: Gi }, kept: { entries: 2, bytes: 2 * Gi }, recent: none };
    const state = aCache('models', { limits: { maxBytes: Gi }, look: aLook({ held, unreachable: [{ limit: 'MaxBytes', allowed: Gi, remaining: 3 * Gi }] }) });
    expect(words([state]).at(-1)).toBe('LimitUnreachable=True HeldKept: models: 3Gi of 1Gi; in use 1Gi (1 entries), kept 2Gi (2), recent 0 (0)');
    expect(nodeReport([state]).caches[0]?.protected).toEqual(held);
  });

  it('is counted no more once pins have expired, and how many have is', () => {
    expect(nodeReport([aCache('models', { look: aLook({ expiredPins: 2 }) })]).caches[0]).toMatchObject({ expiredPins: 2 });
  });
});

describe('a cache that fails', () => {
  it('makes the node Degraded and not Ready, with the name of the cache', () => {
    expect(words([aCache('rootfs'), failing('layers', '/x does not exist')])).toEqual([
      'Ready=False CacheFailing: layers: /x does not exist',
      'Degraded=True CacheFailing: layers: /x does not exist',
    ]);
  });

  it('weighs more than one over its limit, which is not forgotten', () => {
    const over = aCache('rootfs', { limits: { maxEntries: 2 }, look: aLook({ unreachable: [{ limit: 'MaxEntries', allowed: 2, remaining: 4 }] }) });
    expect(words([over, failing('layers', 'gone')]).map((sentence) => sentence.split(':')[0])).toEqual([
      'Ready=False CacheFailing', 'Degraded=True CacheFailing', 'LimitUnreachable=True HeldInUse',
    ]);
  });

  it('has a reason that the API takes, whatever the error', () => {
    expect(problemReason('ERR_ROOT_MISSING')).toBe('RootMissing');
    expect(problemReason('ERR_ROOT_NOT_DIRECTORY')).toBe('RootNotDirectory');
    for (const code of Object.keys(errorKinds) as ErrorCode[]) expect(problemReason(code)).toMatch(/^[A-Z][A-Za-z]{1,63}$/);
  });
});

it('writes times in whole seconds, never rounding up', () => {
  expect(isoSeconds(Date.parse('2026-06-01T10:00:00.999Z'))).toBe('2026-06-01T10:00:00Z');
});

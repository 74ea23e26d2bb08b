import { describe, expect, it } from 'vitest';
import { isMaterial, ReportPacing } from '../../src/agent/report-pacing.ts';
import type { CacheLook, CacheState } from '../../src/policy/node-report.ts';
import { nodeReport, noTotals } from '../../src/policy/node-report.ts';
import { noLimits } from '../../src/policy/limits.ts';

const none = { entries: 0, bytes: 0 };
const second = 1_000;
const minute = 60 * second;

function aCache(look: Partial<CacheLook> = {}, but: Partial<CacheState> = {}): CacheState {
  return {
    name: 'rootfs', limits: { ...noLimits, maxEntries: 8 }, lastRun: undefined, totals: noTotals, problem: undefined,
    look: {
      stats: { entryCount: 4, totalBytes: 10_000 }, held: { inUse: none, kept: none, recent: none }, inUseBy: new Map(), wouldEvict: none, failed: 0, unreachable: [], expiredPins: 0, allHeldBy: undefined,
      damaged: 0, leftovers: 0, unrecognised: 0, clockAhead: 0, holdSources: ['Box'], filesystem: { capacityBytes: 100_000, availableBytes: 50_000 },
      ...look,
    },
    ...but,
  };
}

const aRun = (finishedAtMs: number, but = {}) => ({ finishedAtMs, trigger: 'Change', evictedEntries: 0, evictedBytes: 0, errors: 0, ...but });
const failing = (reason: string, message: string) => aCache({}, { look: undefined, problem: { reason, message } });
const material = (before: CacheState, after: CacheState) => isMaterial(nodeReport([before]), nodeReport([after]));

describe('a change worth a report at once', () => {
  it('is the first state there is', () => {
    expect(isMaterial(undefined, nodeReport([aCache()]))).toBe(true);
  });

  it.each([
    ['an entry more', { stats: { entryCount: 5, totalBytes: 10_000 } }],
    ['more than one per cent more bytes', { stats: { entryCount: 4, totalBytes: 10_102 } }],
    ['more than one per cent fewer bytes', { stats: { entryCount: 4, totalBytes: 9_898 } }],
    ['an entry in use', { held: { inUse: { entries: 1, bytes: 1 }, kept: none, recent: none } }],
    ['an entry that may go', { wouldEvict: { entries: 1, bytes: 1 } }],
    ['a damaged entry', { damaged: 1 }],
    ['a leftover', { leftovers: 1 }],
    ['a pin that has expired', { expiredPins: 1 }],
    ['a limit out of reach', { unreachable: [{ limit: 'MaxEntries', allowed: 2, remaining: 4 }] }],
  ] satisfies [string, Partial<CacheLook>][])('is %s', (_, look) => {
    expect(material(aCache(), aCache(look))).toBe(true);
    expect(material(aCache(look), aCache())).toBe(true);
  });

  it('is the first byte in a cache that had none', () => {
    const of = (totalBytes: number) => aCache({ stats: { entryCount: 4, totalBytes } });
    expect(material(of(0), of(1))).toBe(true);
  });

  it('is a cache that begins to fail, and one that works again', () => {
    expect(material(aCache(), failing('RootMissing', 'gone'))).toBe(true);
    expect(material(failing('RootMissing', 'gone'), aCache())).toBe(true);
  });

  it('is a cache that fails for another reason than before', () => {
    expect(material(failing('RootMissing', '/x does not exist'), failing('RootSymlink', '/x is a symbolic link'))).toBe(true);
  });

  it('is another set of caches', () => {
    const [rootfs, layers] = [aCache(), { ...aCache(), name: 'layers' }];
    expect(isMaterial(nodeReport([rootfs]), nodeReport([layers]))).toBe(true);
    expect(isMaterial(nodeReport([rootfs]), nodeReport([rootfs, layers]))).toBe(true);
    expect(isMaterial(nodeReport([rootfs, layers]), nodeReport([rootfs]))).toBe(true);
  });

  it('is a run that evicted, or met an error', () => {
    const ran = (but = {}) => aCache({}, { lastRun: aRun(61 * second, but) });
    expect(material(aCache({}, { lastRun: aRun(second) }), ran({ evictedEntries: 1, evictedBytes: 1 }))).toBe(true);
    expect(material(aCache({}, { lastRun: aRun(second) }), ran({ errors: 1 }))).toBe(true);
  });
});

describe('a change that can wait for the next report', () => {
  it.each([
    ['nothing', {}],
    ['one per cent of the bytes', { stats: { entryCount: 4, totalBytes: 10_100 } }],
    ['free space', { filesystem: { capacityBytes: 100_000, availableBytes: 1 } }],
    ['recently used entries', { held: { inUse: none, kept: none, recent: { entries: 3, bytes: 3 } } }],
  ] satisfies [string, Partial<CacheLook>][])('is %s', (_, look) => {
    expect(material(aCache(), aCache(look))).toBe(false);
  });

  it('is a run that found nothing to do', () => {
    expect(material(aCache({}, { lastRun: aRun(second) }), aCache({}, { lastRun: aRun(61 * second) }))).toBe(false);
  });

  it('is a run with evictions that has been told already', () => {
    const told = aCache({}, { lastRun: aRun(second, { evictedEntries: 3 }) });
    expect(material(told, told)).toBe(false);
  });
});

describe('the pace of reports', () => {
  const start = 5_000_000;
  const change = { newGeneration: false };
  const edit = { newGeneration: true };
  const paced = (random = 0.5) => new ReportPacing(start, () => random);

  it('lets three out at once and then one every ten seconds', () => {
    const pacing = paced();
    for (let i = 0; i < 3; i += 1) {
      expect(pacing.waitMs(start, change)).toBe(0);
      pacing.spent(start, change);
    }
    expect(pacing.waitMs(start, change)).toBe(10 * second);
    expect(pacing.waitMs(start + 10 * second, change)).toBe(0);
  });

  it('has as many left after an edit as before it', () => {
    const pacing = paced();
    pacing.spent(start, edit);
    for (let i = 0; i < 3; i += 1) {
      expect(pacing.waitMs(start, change)).toBe(0);
      pacing.spent(start, change);
    }
    expect(pacing.waitMs(start, change)).toBe(10 * second);
  });

  it('lets an edit out five seconds after the last report when nothing is left', () => {
    const pacing = paced();
    for (let i = 0; i < 3; i += 1) pacing.spent(start, change);
    expect(pacing.waitMs(start + 2 * second, edit)).toBe(3 * second);
    expect(pacing.waitMs(start + 2 * second, change)).toBe(8 * second);
    pacing.spent(start + 5 * second, edit);
    expect(pacing.waitMs(start + 10 * second, change)).toBe(0);
  });

  it('keeps a storm of edits to its budget and one every five seconds', () => {
    const pacing = paced();
    const told: number[] = [];
    for (let ms = 0; ms < 5 * minute; ms += 500) {
      if (pacing.waitMs(start + ms, edit) > 0) continue;
      pacing.spent(start + ms, edit);
      told.push(ms);
    }
    expect(told.filter((ms) => ms < 5 * second)).toHaveLength(4);
    expect(told.length).toBeLessThanOrEqual(4 + 5 * minute / (5 * second) + 5 * minute / (10 * second));
  });

  it('has no heartbeat before the first report', () => {
    expect(paced().heartbeatDue(start + 1_000 * minute)).toBe(false);
  });

  it('has a heartbeat five minutes after each report', () => {
    const pacing = paced();
    pacing.spent(start, change);
    pacing.spent(start + minute, change);
    expect(pacing.heartbeatDue(start + 6 * minute - 1)).toBe(false);
    expect(pacing.heartbeatDue(start + 6 * minute)).toBe(true);
  });

  it('spreads the first heartbeat after what all nodes tell at the same moment over the whole five minutes', () => {
    for (const [random, dueMs] of [[0, 0], [0.5, 2.5 * minute], [0.999, 0.999 * 5 * minute]] as const) {
      const pacing = paced(random);
      pacing.spent(start, edit);
      expect(pacing.heartbeatDue(start + dueMs - 1)).toBe(false);
      expect(pacing.heartbeatDue(start + dueMs)).toBe(true);
    }
  });

  it('spreads the heartbeats, so that two missed ones still fit into the eleven minutes after which a report is stale', () => {
    const dueAfter = (random: number) => {
      const pacing = paced(random);
      pacing.spent(start, change);
      let ms = 0;
      while (!pacing.heartbeatDue(start + ms)) ms += second;
      return ms;
    };
    expect([dueAfter(0), dueAfter(0.5), dueAfter(0.999_999)]).toEqual([4.5 * minute, 5 * minute, 5.5 * minute]);
    expect(2 * dueAfter(0.999_999)).toBeLessThanOrEqual(11 * minute);
  });
});

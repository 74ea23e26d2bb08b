import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Fleet } from '../../src/policy/fleet.ts';
import { nodeFigures } from '../../src/policy/node-figures.ts';
import type { AgentPod } from '../../src/policy/node-verdict.ts';
import { rollUp } from '../../src/policy/roll-up.ts';
import { rollUpByTheBook } from './roll-up-model.ts';
import type { Report } from './roll-up-model.ts';

const startMs = Date.parse('2026-11-23T12:00:00Z');
const nodes = ['n1', 'n2', 'n3', 'n4', 'n5', 'n6', 'n7', 'n8', 'n9', 'n10', 'n11', 'n12'];
const minutesOf = (ms: number) => ms * 60_000;

type Step =
  | { readonly what: 'report'; readonly node: string; readonly status: Omit<Report['status'], 'reportTime'>; readonly ageMs: number }
  | { readonly what: 'noReport'; readonly node: string }
  | { readonly what: 'agent'; readonly node: string; readonly agent: Omit<AgentPod, 'nodeName' | 'notReadySinceMs'>; readonly sinceMs: number }
  | { readonly what: 'noAgent'; readonly node: string }
  | { readonly what: 'time'; readonly ms: number }
  | { readonly what: 'policy'; readonly uid: string; readonly generation: number; readonly desired: number | undefined };

const node = fc.constantFrom(...nodes);
const uid = fc.constantFrom('policy-1', 'policy-2');
const pod = fc.constantFrom('pod-1', 'pod-2');
const count = fc.integer({ min: 0, max: 9 });
const bytes = fc.constantFrom(0, 1, 1024, 2 ** 40);
const maybe = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined, freq: 2 });

const cache = (name: string) => fc.record({
  stats: maybe(fc.record({ entryCount: count, totalBytes: bytes })),
  usage: fc.constantFrom('-', '5%', '5%', '50%', '99%', '101%', '>999%'),
  overLimit: fc.boolean(),
  evictedEntries: count, inUse: bytes, wouldEvict: count,
  problem: maybe(fc.constant({ reason: 'DiskIo', message: 'read' })),
}).map(({ stats, usage, overLimit, evictedEntries, inUse, wouldEvict, problem }) => ({
  name, size: '-', usage, overLimit, totals: { evictedEntries, evictedBytes: evictedEntries * 10, revived: 0, raced: 0 },
  ...(stats && { stats, protected: { inUse: { entries: 1, bytes: inUse }, recent: { entries: 0, bytes: 1 } }, wouldEvict: { entries: wouldEvict, bytes: wouldEvict } }),
  ...(problem && { problem }),
}));

const condition = (type: string, reason: fc.Arbitrary<string>) =>
  maybe(fc.record({ status: fc.constantFrom('True', 'False'), reason, message: fc.constantFrom('this', 'that') }).map((rest) => ({ type, lastTransitionTime: '2026-11-23T11:00:00Z', ...rest })));

const status = fc.record({
  policyUID: uid, podUID: pod, observedGeneration: fc.constantFrom(1, 2), evictedEntries: count, evictedBytes: bytes,
  lastEvictionTime: maybe(fc.constantFrom('2026-11-23T10:00:00Z', '2026-11-23T11:00:00Z', '2026-11-23T11:30:00Z')),
  caches: fc.tuple(maybe(cache('rootfs')), maybe(cache('layers')), maybe(cache('models'))).map((all) => all.filter((each) => each !== undefined)),
  conditions: fc.tuple(condition('Ready', fc.constant('OverLimit')), condition('Degraded', fc.constant('CacheFailing')), condition('LimitUnreachable', fc.constantFrom('HeldInUse', 'HeldRecent')))
    .map((all) => all.filter((each) => each !== undefined)),
}) as unknown as fc.Arbitrary<Report['status']>;

/** Around every border in time: the grace of a start, a silent agent, an old report. */
const age = fc.constantFrom(0, 1, 29_999, 30_000, 59_999, 60_000, minutesOf(5), minutesOf(11) - 1, minutesOf(11), NaN);

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ what: fc.constant('report' as const), node, status, ageMs: age }) },
  { weight: 1, arbitrary: fc.record({ what: fc.constant('noReport' as const), node }) },
  {
    weight: 5,
    arbitrary: fc.record({
      what: fc.constant('agent' as const), node, sinceMs: age.filter((ms) => !Number.isNaN(ms)),
      agent: fc.record({ uid: pod, ready: fc.boolean(), waiting: maybe(fc.constant('ContainerCreating')) }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ what: fc.constant('noAgent' as const), node }) },
  { weight: 3, arbitrary: fc.record({ what: fc.constant('time' as const), ms: fc.constantFrom(1, 1_000, 29_999, 30_000, 60_000, minutesOf(5), minutesOf(11), -1, -minutesOf(2)) }) },
  { weight: 1, arbitrary: fc.record({ what: fc.constant('policy' as const), uid, generation: fc.constantFrom(1, 2), desired: maybe(fc.constantFrom(0, 2, 6, 12)) }) },
);

/** The fleet and the book, told the same. */
class Both {
  readonly fleet = new Fleet();
  readonly reports = new Map<string, Report>();
  readonly agents = new Map<string, AgentPod>();
  nowMs = startMs;
  policy: { uid: string; generation: number; desired: number | undefined } = { uid: 'policy-1', generation: 1, desired: undefined };

  take(given: Step): void {
    const { fleet, reports, agents, nowMs } = this;
    if (given.what === 'time') this.nowMs += given.ms;
    else if (given.what === 'policy') this.policy = given;
    else if (given.what === 'report') {
      const reportTime = Number.isNaN(given.ageMs) ? 'never' : new Date(nowMs - given.ageMs).toISOString();
      const report = { nodeName: given.node, status: { ...given.status, reportTime } as Report['status'] };
      reports.set(given.node, report);
      fleet.setReport(given.node, nodeFigures(given.node, report.status), nowMs);
    } else if (given.what === 'noReport') {
      reports.delete(given.node);
      fleet.setReport(given.node, undefined, nowMs);
    } else if (given.what === 'agent') {
      const agent = { ...given.agent, nodeName: given.node, notReadySinceMs: nowMs - given.sinceMs };
      agents.set(given.node, agent);
      fleet.setAgent(given.node, agent, nowMs);
    } else {
      agents.delete(given.node);
      fleet.setAgent(given.node, undefined, nowMs);
    }
  }

  compare(): void {
    const { uid: policyUID, generation, desired } = this.policy;
    const shared = {
      policy: { uid: policyUID, generation, cacheNames: ['rootfs', 'layers'], maxUnavailable: '10%' },
      accepted: { type: 'Accepted', status: 'True', reason: 'Accepted', message: 'in force' } as const,
      desired, previous: undefined, departed: { evictedEntries: 3, evictedBytes: 30 }, nowMs: this.nowMs,
    };
    expect(rollUp({ ...shared, fleet: this.fleet })).toEqual(rollUpByTheBook({ ...shared, reports: [...this.reports.values()], agents: this.agents }));
  }
}

describe('the sums that are kept as reports come', () => {
  it('are those of all reports and agents added up anew, after anything that may happen to a fleet', () => {
    fc.assert(fc.property(fc.array(step, { minLength: 1, maxLength: 60 }), (steps) => {
      const both = new Both();
      for (const each of steps) {
        both.take(each);
        both.compare();
      }
    }), { numRuns: 300 });
  });

  it('are, too, where they are looked at only now and then', () => {
    fc.assert(fc.property(fc.array(fc.array(step, { minLength: 1, maxLength: 40 }), { minLength: 1, maxLength: 4 }), (parts) => {
      const both = new Both();
      for (const steps of parts) {
        for (const each of steps) both.take(each);
        both.compare();
      }
    }), { numRuns: 300 });
  });

  it('leave nothing behind of bytes beyond what a number holds exactly', () => {
    const fleet = new Fleet();
    const large = (name: string, totalBytes: number) => nodeFigures(name, { policyUID: 'policy-1', reportTime: new Date(startMs).toISOString(), caches: [{ name: 'rootfs', stats: { entryCount: 1, totalBytes } }] } as Report['status']);
    fleet.setReport('small', large('small', 1), startMs);
    for (let each = 0; each < 100; each++) fleet.setReport(`n${each}`, large(`n${each}`, 2 ** 52 + each), startMs);
    for (let each = 0; each < 100; each++) fleet.setReport(`n${each}`, undefined, startMs);
    expect(fleet.fresh.caches.get('rootfs')?.sum('totalBytes')).toBe(1);
  });
});

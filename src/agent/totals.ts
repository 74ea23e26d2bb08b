import type { PassReport } from '../cache/report.ts';
import { evictedTally } from '../cache/report.ts';
import type { RunSummary, Totals } from '../policy/node-report.ts';

export function runSummary(report: PassReport): RunSummary {
  return {
    finishedAtMs: report.finishedAtMs, trigger: report.trigger, evictedEntries: report.evicted.length,
    evictedBytes: evictedBytes(report), errors: report.errors.length,
  };
}

/** Totals only grow, so of two records the larger is the later. */
export function larger(a: Totals, b: Totals): Totals {
  return b.evictedEntries > a.evictedEntries ? b : a;
}

export function evictedBytes(report: Pick<PassReport, 'evicted'>): number {
  return evictedTally(report).bytes;
}

export function countedUp(totals: Totals, report: PassReport): Totals {
  return {
    evictedEntries: totals.evictedEntries + report.evicted.length,
    evictedBytes: totals.evictedBytes + evictedBytes(report),
    revived: totals.revived + report.revived,
    raced: totals.raced + report.raced,
    lastEvictionAtMs: report.evicted.length > 0 ? report.finishedAtMs : totals.lastEvictionAtMs,
  };
}

/** What came back when it was about to be deleted. */
export function withRevived(totals: Totals, revived: number): Totals {
  return { ...totals, revived: totals.revived + revived };
}

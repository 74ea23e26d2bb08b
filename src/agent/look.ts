import type { PassReport } from '../cache/report.ts';
import type { CacheLook } from '../policy/node-report.ts';
import { statsOf } from '../policy/snapshot.ts';

/** The figures of a pass, without its entries: what is left after it, and what it would still evict. */
export function lookOf(report: PassReport): CacheLook {
  const { plan, after } = report;
  const gone = new Set(report.evicted.map((entry) => entry.key));
  const remaining = plan.evict.filter(({ entry }) => !gone.has(entry.key));
  return {
    stats: statsOf(after),
    held: plan.held,
    wouldEvict: { entries: remaining.length, bytes: remaining.reduce((sum, { entry }) => sum + entry.sizeBytes, 0) },
    unreachable: plan.unreachable,
    damaged: after.damaged.length,
    leftovers: after.leftovers.length,
    unrecognised: after.unrecognised.length,
    clockAhead: after.entries.filter((entry) => entry.clockAhead).length,
    holdSources: report.holdSources,
    filesystem: report.filesystem,
  };
}

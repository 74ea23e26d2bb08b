import type { PassReport } from '../cache/report.ts';
import type { CacheLook } from '../policy/node-report.ts';
import type { Snapshot } from '../policy/snapshot.ts';
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
    allHeldBy: plan.allHeldBy?.detail,
    damaged: after.damaged.length,
    leftovers: after.leftovers.length,
    unrecognised: after.unrecognised.length,
    clockAhead: clockAheadIn(after),
    holdSources: report.holdSources,
    filesystem: report.filesystem,
  };
}

function clockAheadIn({ entries: { lastAccessedAtMs, takenAtMs } }: Snapshot): number {
  return lastAccessedAtMs.reduce((count, atMs) => count + Number(atMs > takenAtMs), 0);
}

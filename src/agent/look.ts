import type { PassReport } from '../cache/report.ts';
import { evictedTally } from '../cache/report.ts';
import type { CacheLook } from '../policy/node-report.ts';
import type { Plan, Tally } from '../policy/plan.ts';
import type { Snapshot } from '../policy/snapshot.ts';
import { statsOf } from '../policy/snapshot.ts';

/** The figures of a pass, without its entries: what is left after it, and what it would still evict. */
export function lookOf(report: PassReport): CacheLook {
  const { plan, after } = report;
  return {
    stats: statsOf(after),
    held: plan.held,
    inUseBy: plan.inUseBy,
    wouldEvict: remaining(plan, report),
    unreachable: plan.unreachable,
    expiredPins: plan.expiredPins.length,
    allHeldBy: plan.allHeldBy?.detail,
    damaged: after.damaged.length,
    leftovers: after.leftovers.length,
    unrecognised: after.unrecognised.length,
    clockAhead: clockAheadIn(after),
    holdSources: report.holdSources,
    filesystem: report.filesystem,
  };
}

/** Of the planned evictions those that have not happened. */
function remaining({ evict, freedBytes }: Plan, report: PassReport): Tally {
  const { entries, bytes } = evictedTally(report);
  return { entries: evict.length - entries, bytes: freedBytes - bytes };
}

function clockAheadIn({ entries: { lastAccessedAtMs, takenAtMs } }: Snapshot): number {
  return lastAccessedAtMs.reduce((count, atMs) => count + Number(atMs > takenAtMs), 0);
}

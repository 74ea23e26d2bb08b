import type { PassReport } from '../cache/report.ts';
import { evictedTally } from '../cache/report.ts';
import type { CacheLook } from '../policy/node-report.ts';
import type { UnreachableLimit } from '../policy/limits.ts';
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
    failed: report.failed,
    unreachable: plan.unreachable,
    expiredPins: plan.expiredPins.length,
    allHeldBy: plan.allHeldBy?.detail,
    damaged: after.damaged.length,
    leftovers: after.leftovers.length,
    unrecognised: after.unrecognised.length,
    clockAhead: clockAheadIn(after),
    holdSources: report.holdSources,
    filesystem: report.filesystem,
    ...olderFigures(after),
  };
}

/** What is known of the free space that a cache asks for, beside its own looks. */
export interface FreeSpaceFindings {
  /** What would be evicted for it where nothing may be. */
  readonly wouldEvict: Tally;
  readonly unmet: readonly UnreachableLimit[];
}

export const noFindings: FreeSpaceFindings = { wouldEvict: { entries: 0, bytes: 0 }, unmet: [] };

/** Without the figures that change all the time. */
export function essenceOf({ wouldEvict, unmet }: FreeSpaceFindings): unknown {
  return [wouldEvict, unmet.map(({ limit, because }) => [limit, because])];
}

export function withFreeSpace(look: CacheLook, { wouldEvict: { entries, bytes }, unmet }: FreeSpaceFindings): CacheLook {
  const { wouldEvict } = look;
  return { ...look, wouldEvict: { entries: wouldEvict.entries + entries, bytes: wouldEvict.bytes + bytes }, unreachable: [...look.unreachable, ...unmet] };
}

/** Looks are a minute apart at most: figures that are older than that were not measured in this one or the one before. */
const freshMs = 60_000;

function olderFigures({ takenAtMs, measuredSinceMs = takenAtMs }: Snapshot): Pick<CacheLook, 'measuredSinceMs'> {
  return takenAtMs - measuredSinceMs > freshMs ? { measuredSinceMs } : {};
}

/** Of the planned evictions those that have not happened. */
function remaining({ evict, freedBytes }: Plan, report: PassReport): Tally {
  const { entries, bytes } = evictedTally(report);
  return { entries: evict.length - entries, bytes: freedBytes - bytes };
}

function clockAheadIn({ entries: { lastAccessedAtMs, takenAtMs } }: Snapshot): number {
  return lastAccessedAtMs.reduce((count, atMs) => count + Number(atMs > takenAtMs), 0);
}

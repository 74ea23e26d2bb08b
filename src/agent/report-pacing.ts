import type { NodeReport } from '../policy/node-report.ts';
import { TokenBucket } from '../policy/token-bucket.ts';

/** At most this many reports at once, and one more every 10 s: what 5,000 busy nodes may cost an API server. */
const burst = 3;
const refillMs = 10_000;
/** An admin waits for what an edit does, and edits are few: after this time without a report one rides free, whatever is left of the budget. */
const generationGapMs = 5_000;
/** A quiet node still says that it lives. All nodes start, or take up an edit, at the same moment: the first heartbeat after that comes anywhere in between. */
const heartbeatMs = 5 * 60_000;
const heartbeatSpread = 0.1;
/** Bytes that change by less are told with the next report. */
const materialBytes = 0.01;

/** Whether a report differs from the last one told by enough to be told now. */
export function isMaterial(told: NodeReport | undefined, now: NodeReport): boolean {
  if (told === undefined || told.caches.length !== now.caches.length) return true;
  return now.caches.some((cache, index) => isMaterialChange(told.caches[index], cache)) || conditionsOf(told) !== conditionsOf(now);
}

type Cache = NodeReport['caches'][number];

function isMaterialChange(before: Cache | undefined, cache: Cache): boolean {
  if (before === undefined || before.name !== cache.name) return true;
  if (cache.lastRun?.time !== before.lastRun?.time && didSomething(cache.lastRun)) return true;
  // The conditions only say that a cache fails, and look the same when it fails in another way.
  if (cache.problem?.message !== before.problem?.message) return true;
  if (cache.stats?.entryCount !== before.stats?.entryCount) return true;
  if (cache.expiredPins !== before.expiredPins || cache.damaged !== before.damaged || cache.leftovers !== before.leftovers) return true;
  if (cache.wouldEvict?.entries !== before.wouldEvict?.entries || cache.protected?.inUse.entries !== before.protected?.inUse.entries) return true;
  const [bytes, bytesBefore] = [cache.stats?.totalBytes ?? 0, before.stats?.totalBytes ?? 0];
  return Math.abs(bytes - bytesBefore) > materialBytes * bytesBefore;
}

function didSomething(run: Cache['lastRun']): boolean {
  return run !== undefined && (run.evictedEntries > 0 || run.errors > 0);
}

function conditionsOf(report: NodeReport): string {
  return report.findings.map(({ type, status, reason }) => `${type}=${status}/${reason}`).join();
}

export interface Occasion {
  /** The first try to tell of a policy that came into force. */
  readonly newGeneration: boolean;
}

/** Says when the next report may go out. Times are ms of a clock that never jumps. */
export class ReportPacing {
  readonly #random: () => number;
  readonly #bucket: TokenBucket;
  #lastAtMs = -Infinity;
  #heartbeatAtMs = Infinity;

  constructor(nowMs: number, random: () => number = Math.random) {
    this.#bucket = new TokenBucket(burst, refillMs, nowMs);
    this.#random = random;
  }

  /** How long a report has to wait; 0 where it may go out now. */
  waitMs(nowMs: number, { newGeneration }: Occasion): number {
    const waitMs = this.#bucket.waitMs(nowMs);
    return newGeneration ? Math.min(waitMs, this.#freeInMs(nowMs)) : waitMs;
  }

  heartbeatDue(nowMs: number): boolean {
    return nowMs >= this.#heartbeatAtMs;
  }

  /** One report went out. */
  spent(nowMs: number, { newGeneration }: Occasion): void {
    if (!newGeneration || this.#freeInMs(nowMs) > 0) this.#bucket.spend(nowMs);
    this.#lastAtMs = nowMs;
    this.#heartbeatAtMs = nowMs + heartbeatMs * (newGeneration ? this.#random() : 1 + heartbeatSpread * (2 * this.#random() - 1));
  }

  #freeInMs(nowMs: number): number {
    return Math.max(0, this.#lastAtMs + generationGapMs - nowMs);
  }
}

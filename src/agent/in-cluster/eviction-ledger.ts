import type { NodeCacheStatus } from '../../api/status.ts';
import type { CacheState } from '../../policy/node-report.ts';
import { noTotals } from '../../policy/node-report.ts';

export interface Evictions {
  readonly evictedEntries: number;
  readonly evictedBytes: number;
}

const none: Evictions = { evictedEntries: 0, evictedBytes: 0 };

/** A NodeCache as the API server has it, as far as it speaks of this policy. */
export interface OpenedReport {
  readonly uid: string;
  /** What it says was evicted on this node name since it was made, also by a node that had the name before. */
  readonly evicted: Evictions | undefined;
  /** The totals of its caches, where this very node reported them. */
  readonly caches: NodeCacheStatus['caches'] | undefined;
}

/**
 * Counts the evictions that belong into the present NodeCache (docs/decisions/0004): those since that object was made. A cache's own totals outlive
 * NodeCaches; a new NodeCache begins with what was not delivered to the one before.
 */
export class EvictionLedger {
  #policyUID: string | undefined;
  /** The NodeCache that is written to; undefined before the API server was reached. */
  #uid: string | undefined;
  /** Totals that an earlier agent delivered, by cache. */
  #reported: ReadonlyMap<string, Evictions> = new Map();
  /** What earlier agents had counted when this one first took up a cache. */
  readonly #takenUp = new Map<string, Evictions>();
  /** As of the last count, by cache. */
  #seen = new Map<string, CacheState>();
  #evicted = none;
  #delivered = none;

  /** What the next report says. */
  get evicted(): Evictions {
    return this.#evicted;
  }

  /** Takes in the state of the caches, as often as it changes. */
  count(policyUID: string, states: readonly CacheState[]): void {
    this.#serve(policyUID);
    for (const state of states) {
      this.#evicted = sum(this.#evicted, newSince(this.#seen.get(state.name), state));
      if (this.#takenUp.has(state.name)) continue;
      this.#takenUp.set(state.name, countedBefore(state));
      if (this.#uid !== undefined) this.#takeOver(state.name);
    }
    this.#seen = new Map(states.map((state) => [state.name, state]));
  }

  /** This is the NodeCache that is written to from now on. */
  open(policyUID: string, { uid, evicted = none, caches = [] }: OpenedReport): void {
    this.#serve(policyUID);
    if (uid === this.#uid) return;
    const first = this.#uid === undefined;
    this.#uid = uid;
    this.#evicted = sum(difference(this.#evicted, this.#delivered), evicted);
    this.#delivered = evicted;
    if (!first) return;
    this.#reported = new Map(caches.map(({ name, totals }) => [name, evictionsOf(totals ?? {})]));
    for (const name of this.#takenUp.keys()) this.#takeOver(name);
  }

  /** The API server has taken a report that says this. */
  delivered(evicted: Evictions): void {
    this.#delivered = evicted;
  }

  /** Another policy of the same name counts from zero. */
  #serve(policyUID: string): void {
    if (this.#policyUID === policyUID) return;
    this.#policyUID = policyUID;
    this.#uid = undefined;
    this.#reported = new Map();
    this.#takenUp.clear();
    this.#seen = new Map();
    this.#evicted = this.#delivered = none;
  }

  /** What an earlier agent evicted, and ended before it delivered that. */
  #takeOver(name: string): void {
    const [takenUp, reported] = [this.#takenUp.get(name), this.#reported.get(name)];
    if (takenUp !== undefined && reported !== undefined) this.#evicted = sum(this.#evicted, difference(takenUp, reported));
  }
}

/** By this agent: since the last count, or since the cache was taken up again. */
function newSince(seen: CacheState | undefined, state: CacheState): Evictions {
  const own = difference(state.totals, countedBefore(state));
  const goesOn = seen !== undefined && isSame(countedBefore(seen), countedBefore(state));
  return goesOn ? difference(own, difference(seen.totals, countedBefore(seen))) : own;
}

function countedBefore({ countedBefore: before = noTotals }: CacheState): Evictions {
  return before;
}

export function evictionsOf({ evictedEntries = 0, evictedBytes = 0 }: Partial<Evictions>): Evictions {
  return { evictedEntries: bounded(evictedEntries), evictedBytes: bounded(evictedBytes) };
}

function isSame(a: Evictions, b: Evictions): boolean {
  return a.evictedEntries === b.evictedEntries && a.evictedBytes === b.evictedBytes;
}

function sum(a: Evictions, b: Evictions): Evictions {
  return { evictedEntries: bounded(a.evictedEntries + b.evictedEntries), evictedBytes: bounded(a.evictedBytes + b.evictedBytes) };
}

/** Never below zero: a count that fell was lost, not undone. */
function difference(a: Evictions, b: Evictions): Evictions {
  return { evictedEntries: Math.max(0, a.evictedEntries - b.evictedEntries), evictedBytes: Math.max(0, a.evictedBytes - b.evictedBytes) };
}

/** Whatever somebody wrote into the NodeCache: the API server takes no report with more than an int64. */
function bounded(count: number): number {
  return Math.min(count, Number.MAX_SAFE_INTEGER);
}

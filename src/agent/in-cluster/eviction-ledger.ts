import type { NodeCacheStatus } from '../../api/status.ts';
import type { CacheState } from '../../policy/node-report.ts';
import { noTotals } from '../../policy/node-report.ts';

export interface Evictions {
  readonly evictedEntries: number;
  readonly evictedBytes: number;
}

const none: Evictions = { evictedEntries: 0, evictedBytes: 0 };

/** What is there of a NodeCache: which one it is, and what it says for the policy and the node of this agent. */
export interface Told {
  readonly uid: string;
  readonly status: NodeCacheStatus | undefined;
}

/**
 * Says what this node evicted so that every eviction is told by one NodeCache only (docs/decisions/0004). What a cache's own totals say outlives
 * NodeCaches: when one is gone the controller has carried on what it told, and the next one starts with what is new.
 */
export class EvictionLedger {
  #policyUID: string | undefined;
  /** The NodeCache that is written to; undefined before the API server was reached. */
  #uid: string | undefined;
  #told: ReadonlyMap<string, Evictions> = new Map();
  /** What earlier agents had counted when this one took up a cache, for the first time. */
  readonly #takenUp = new Map<string, Evictions>();
  /** As of the last report, by cache. */
  #seen = new Map<string, CacheState>();
  /** Belongs into the present NodeCache; the part of it that may have arrived there; and what of that was so before the last try. */
  #evicted = none;
  #sent = none;
  #sentBefore = none;

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
  open(policyUID: string, { uid, status }: Told): void {
    this.#serve(policyUID);
    if (uid === this.#uid) return;
    const first = this.#uid === undefined;
    this.#uid = uid;
    // What was on its way to another one may have arrived there: rather lost than counted twice.
    this.#evicted = sum(difference(this.#evicted, this.#sent), status === undefined ? none : evictionsOf(status));
    this.#sentBefore = this.#sent = none;
    if (!first) return;
    this.#told = new Map((status?.caches ?? []).map(({ name, totals }) => [name, evictionsOf(totals ?? {})]));
    for (const name of this.#takenUp.keys()) this.#takeOver(name);
  }

  /** What the next report says; from now on it may have arrived. */
  send(): Evictions {
    this.#sentBefore = this.#sent;
    this.#sent = this.#evicted;
    return this.#evicted;
  }

  /** The API server did not take what was sent last. */
  refused(): void {
    this.#sent = this.#sentBefore;
  }

  /** Another policy of the same name counts anew. */
  #serve(policyUID: string): void {
    if (this.#policyUID === policyUID) return;
    this.#policyUID = policyUID;
    this.#uid = undefined;
    this.#told = new Map();
    this.#takenUp.clear();
    this.#seen = new Map();
    this.#evicted = this.#sentBefore = this.#sent = none;
  }

  /** What an earlier agent evicted, and ended before it could tell. */
  #takeOver(name: string): void {
    const [takenUp, told] = [this.#takenUp.get(name), this.#told.get(name)];
    if (takenUp !== undefined && told !== undefined) this.#evicted = sum(this.#evicted, difference(takenUp, told));
  }
}

/** By this agent: since it was last seen, or since the cache was taken up again. */
function newSince(seen: CacheState | undefined, state: CacheState): Evictions {
  const own = difference(state.totals, countedBefore(state));
  const goesOn = seen !== undefined && isSame(countedBefore(seen), countedBefore(state));
  return goesOn ? difference(own, difference(seen.totals, countedBefore(seen))) : own;
}

function countedBefore({ countedBefore: before = noTotals }: CacheState): Evictions {
  return before;
}

function evictionsOf({ evictedEntries = 0, evictedBytes = 0 }: Partial<Evictions>): Evictions {
  return { evictedEntries, evictedBytes };
}

function isSame(a: Evictions, b: Evictions): boolean {
  return a.evictedEntries === b.evictedEntries && a.evictedBytes === b.evictedBytes;
}

function sum(a: Evictions, b: Evictions): Evictions {
  return { evictedEntries: a.evictedEntries + b.evictedEntries, evictedBytes: a.evictedBytes + b.evictedBytes };
}

/** Never below zero: a count that fell was lost, not undone. */
function difference(a: Evictions, b: Evictions): Evictions {
  return { evictedEntries: Math.max(0, a.evictedEntries - b.evictedEntries), evictedBytes: Math.max(0, a.evictedBytes - b.evictedBytes) };
}

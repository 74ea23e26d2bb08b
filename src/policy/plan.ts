import { formatDuration, formatExactDuration } from '../api/duration.ts';
import { formatBytes } from '../api/quantity.ts';
import type { Hold, Holds } from './holds.ts';
import { holdOf } from './holds.ts';
import type { LimitName, Limits, Protect } from './limits.ts';
import { idleMsOf, inLruOrder } from './lru-order.ts';
import type { CacheStats, Entry, Snapshot } from './snapshot.ts';
import { statsOf } from './snapshot.ts';

/** Every fate an entry can have. The same words stand in `explain`, in JSON, in metrics and in the docs. */
export type EvictReason = LimitName;
export type KeepReason = 'InUse' | 'Recent' | 'WithinLimits';

export type Verdict =
  | { readonly entry: Entry; readonly verdict: 'evict'; readonly reason: EvictReason; readonly detail: string }
  | { readonly entry: Entry; readonly verdict: 'keep'; readonly reason: KeepReason; readonly detail: string; readonly hold: Hold | undefined };

export interface Tally {
  readonly entries: number;
  readonly bytes: number;
}

/** A limit that stays exceeded because what is over it is protected. */
export interface UnreachableLimit {
  readonly limit: LimitName;
  readonly allowed: number;
  /** What is left after everything that may go has gone, in the unit of the limit. */
  readonly remaining: number;
}

export interface Plan {
  readonly before: CacheStats;
  readonly after: CacheStats;
  /** One verdict an entry, least recently used first. */
  readonly verdicts: readonly Verdict[];
  readonly evict: readonly Extract<Verdict, { verdict: 'evict' }>[];
  readonly held: { readonly inUse: Tally; readonly kept: Tally; readonly recent: Tally };
  readonly unreachable: readonly UnreachableLimit[];
  /** Set where it is unknown what is in use, and so all of it is: why. */
  readonly allHeldBy: Hold | undefined;
}

export interface PlanInput {
  readonly snapshot: Snapshot;
  readonly limits: Limits;
  readonly protect: Protect;
  readonly holds: Holds;
  readonly nowMs: number;
}

/** What the rules know of an entry when its turn has come: everything less recently used has its verdict, `left` is what still stands. */
interface Candidate {
  readonly idleMs: number;
  readonly hold: Hold | undefined;
  readonly left: CacheStats;
}

type Rule = (candidate: Candidate, input: PlanInput) => EvictReason | KeepReason | undefined;

/** The first rule that speaks decides. Protection stands before every limit; what no rule wants gone stays. */
const rules: readonly Rule[] = [inUse, recent, idleTooLong, tooManyEntries, tooManyBytes];

function inUse({ hold }: Candidate): 'InUse' | undefined {
  return hold === undefined ? undefined : 'InUse';
}

function recent({ idleMs }: Candidate, { protect }: PlanInput): 'Recent' | undefined {
  return idleMs < protect.minIdleMs ? 'Recent' : undefined;
}

function idleTooLong({ idleMs }: Candidate, { limits }: PlanInput): 'MaxIdle' | undefined {
  return limits.maxIdleMs !== null && idleMs > limits.maxIdleMs ? 'MaxIdle' : undefined;
}

function tooManyEntries({ left }: Candidate, { limits }: PlanInput): 'MaxEntries' | undefined {
  return limits.maxEntries !== null && left.entryCount > limits.maxEntries ? 'MaxEntries' : undefined;
}

function tooManyBytes({ left }: Candidate, { limits }: PlanInput): 'MaxBytes' | undefined {
  return limits.maxBytes !== null && left.totalBytes > limits.maxBytes ? 'MaxBytes' : undefined;
}

/** Each reason in words, for the entry it was given to. */
const details: Readonly<Record<EvictReason | KeepReason, (judged: Judged, input: PlanInput) => string>> = {
  InUse: ({ hold }) => hold?.detail ?? 'in use',
  Recent: ({ entry }, { nowMs, protect }) => `${lastUse(entry, nowMs)}, protected for ${formatExactDuration(protect.minIdleMs)}`,
  MaxIdle: ({ entry }, { nowMs, limits }) => `${lastUse(entry, nowMs)}, ${formatExactDuration(limits.maxIdleMs ?? 0)} allowed`,
  MaxEntries: (judged, { limits }) => `${judged.place}, ${limits.maxEntries ?? 0} allowed`,
  MaxBytes: (judged, { limits }) => `${judged.place}, ${formatBytes(limits.maxBytes ?? 0)} allowed`,
  WithinLimits: (judged) => judged.place,
};

function lastUse(entry: Entry, nowMs: number): string {
  return entry.clockAhead ? 'last use lies in the future, read as now' : `last used ${formatDuration(idleMsOf(entry, nowMs))} ago`;
}

/**
 * Decides the fate of every entry. Pure and total: the same input gives the same plan, and no input throws.
 *
 * Walks from the least recently used on and evicts until every limit holds, so nothing goes that could have stayed behind
 * something older. What is protected counts towards the limits; where that leaves a limit unmet, `unreachable` says so.
 */
export function planEviction(input: PlanInput): Plan {
  const { snapshot, holds, nowMs } = input;
  const before = statsOf(snapshot);
  const left = { ...before };
  const entries = inLruOrder([...snapshot.entries], nowMs);
  const verdicts: Verdict[] = [];
  const evict: Extract<Verdict, { verdict: 'evict' }>[] = [];
  for (const entry of entries) {
    const reason = reasonFor({ idleMs: idleMsOf(entry, nowMs), hold: holdOf(holds, entry), left }, input);
    const rank = entries.length - verdicts.length;
    if (!isEvictReason(reason)) {
      verdicts.push(new Judged('keep', reason, entry, rank, input));
      continue;
    }
    const verdict = new Judged('evict', reason, entry, rank, input);
    verdicts.push(verdict);
    evict.push(verdict);
    left.entryCount -= 1;
    left.totalBytes -= entry.sizeBytes;
  }
  return {
    before,
    after: left,
    verdicts,
    evict,
    held: { inUse: tally(verdicts, 'InUse'), kept: { entries: 0, bytes: 0 }, recent: tally(verdicts, 'Recent') },
    unreachable: unreachableLimits(left, verdicts, input),
    allHeldBy: holds.everything,
  };
}

function reasonFor(candidate: Candidate, input: PlanInput): EvictReason | KeepReason {
  for (const rule of rules) {
    const reason = rule(candidate, input);
    if (reason !== undefined) return reason;
  }
  return 'WithinLimits';
}

function isEvictReason(reason: EvictReason | KeepReason): reason is EvictReason {
  return reason === 'MaxIdle' || reason === 'MaxEntries' || reason === 'MaxBytes';
}

/** A verdict that is put into words only when somebody reads it: a plan of a million entries writes no million sentences. */
class Judged<V extends Verdict['verdict'] = Verdict['verdict'], R extends EvictReason | KeepReason = EvictReason | KeepReason> {
  readonly verdict: V;
  readonly reason: R;
  readonly entry: Entry;
  /** 1 is the most recently used. */
  readonly #rank: number;
  readonly #input: PlanInput;

  constructor(verdict: V, reason: R, entry: Entry, rank: number, input: PlanInput) {
    this.verdict = verdict;
    this.reason = reason;
    this.entry = entry;
    this.#rank = rank;
    this.#input = input;
  }

  get detail(): string {
    return details[this.reason](this, this.#input);
  }

  get hold(): Hold | undefined {
    return holdOf(this.#input.holds, this.entry);
  }

  /** `7th of 8 by last use` */
  get place(): string {
    return `${ordinal(this.#rank)} of ${this.#input.snapshot.entries.length} by last use`;
  }
}

function ordinal(n: number): string {
  const teen = n % 100 >= 11 && n % 100 <= 13;
  return `${n}${(teen ? undefined : ['th', 'st', 'nd', 'rd'][n % 10]) ?? 'th'}`;
}

function tally(verdicts: readonly Verdict[], reason: KeepReason): Tally {
  let entries = 0;
  let bytes = 0;
  for (const verdict of verdicts) {
    if (verdict.reason !== reason) continue;
    entries += 1;
    bytes += verdict.entry.sizeBytes;
  }
  return { entries, bytes };
}

/** What is in use is not idle, however long ago it was last opened: only `Recent` can keep an entry beyond maxIdle. */
function unreachableLimits(left: CacheStats, verdicts: readonly Verdict[], { limits, nowMs }: PlanInput): UnreachableLimit[] {
  const oldest = verdicts.find((verdict) => verdict.reason === 'Recent');
  const longestIdleMs = oldest === undefined ? 0 : idleMsOf(oldest.entry, nowMs);
  const remains: readonly (readonly [LimitName, number | null, number])[] = [
    ['MaxEntries', limits.maxEntries, left.entryCount],
    ['MaxBytes', limits.maxBytes, left.totalBytes],
    ['MaxIdle', limits.maxIdleMs, longestIdleMs],
  ];
  return remains.flatMap(([limit, allowed, remaining]) => (allowed !== null && remaining > allowed ? [{ limit, allowed, remaining }] : []));
}


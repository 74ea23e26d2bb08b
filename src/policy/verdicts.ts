import { formatDuration, formatExactDuration } from '../api/duration.ts';
import { formatBytes } from '../api/quantity.ts';
import type { Filesystem } from './filesystem.ts';
import type { Hold } from './holds.ts';
import { holdOf } from './holds.ts';
import { pinOf, pinsInForce, pinText } from './keep.ts';
import type { FreeAmount, Limits } from './limits.ts';
import { withHeadroom } from './limits.ts';
import { idleMsOf } from './lru-order.ts';
import type { PlanInput } from './plan.ts';
import type { EvictReason, KeepReason, Reason } from './reasons.ts';
import { codeOf, firstEvictCode, reasonsByCode } from './reasons.ts';
import type { Entry } from './snapshot.ts';

interface Judgement<V extends 'evict' | 'keep', R extends Reason> {
  readonly entry: Entry;
  readonly verdict: V;
  readonly reason: R;
  /** The reason in words. */
  readonly detail: string;
  /** What the filesystem gets back when it is deleted, after those that go before it. 0 where it stays. */
  readonly freedBytes: number;
  /** What holds the entry, where it is in use. */
  readonly hold: Hold | undefined;
}

export type Eviction = Judgement<'evict', EvictReason>;
export type Keeping = Judgement<'keep', KeepReason>;
export type Verdict = Eviction | Keeping;

/** What was decided, in columns: 100,000 verdicts as objects would cost the agent more memory than it has. */
export interface Decided {
  readonly input: PlanInput;
  /** Rows of the snapshot, least recently used first. */
  readonly order: Uint32Array;
  /** The code of a reason for each place in that order. */
  readonly reasons: Uint8Array;
  /** What comes free with each of those that go, for each place in that order; undefined where it is the size of each. */
  readonly freedBytes: Float64Array | undefined;
  /** Where entries are evicted for its sake. */
  readonly filesystem?: Filesystem;
}

/** A list of verdicts, least recently used first, each made when somebody reads it. */
export class Verdicts<V extends Verdict = Verdict> implements Iterable<V> {
  readonly length: number;
  readonly decided: Decided;
  readonly #places: Uint32Array | undefined;

  /** @param places in the order of last use; all of them where it is left out */
  constructor(decided: Decided, places?: Uint32Array) {
    this.length = (places ?? decided.order).length;
    this.decided = decided;
    this.#places = places;
  }

  /** @param index from 0; undefined outside */
  at(index: number): V | undefined {
    if (!(index >= 0 && index < this.length)) return undefined;
    return new Judged(this.decided, this.#places?.[index] ?? index) as Verdict as V;
  }

  /** The places in the order of last use of all entries with this reason. */
  *placesOf(reason: Reason): Generator<number, void, undefined> {
    const { reasons } = this.decided;
    const code = codeOf(reason);
    for (let place = reasons.indexOf(code); place !== -1; place = reasons.indexOf(code, place + 1)) yield place;
  }

  /** The rows of the snapshot in this list. */
  *rows(): Generator<number, void, undefined> {
    for (let i = 0; i < this.length; i += 1) yield this.decided.order[this.#places?.[i] ?? i]!;
  }

  *[Symbol.iterator](): Generator<V, void, undefined> {
    for (let i = 0; i < this.length; i += 1) yield this.at(i)!;
  }
}

/** Those that go. */
export function evictionsOf(decided: Decided, count: number): Verdicts<Eviction> {
  const places = new Uint32Array(count);
  let found = 0;
  for (let place = 0; found < count; place += 1) {
    if (decided.reasons[place]! < firstEvictCode) continue;
    places[found] = place;
    found += 1;
  }
  return new Verdicts<Eviction>(decided, places);
}

/** Reads its columns only when it is asked: nobody writes a million sentences to evict ten entries. */
class Judged implements Judgement<'evict' | 'keep', Reason> {
  readonly #decided: Decided;
  readonly #place: number;

  constructor(decided: Decided, place: number) {
    this.#decided = decided;
    this.#place = place;
  }

  get entry(): Entry {
    const { input, order } = this.#decided;
    return input.snapshot.entries.at(order[this.#place]!);
  }

  get verdict(): 'evict' | 'keep' {
    return this.#decided.reasons[this.#place]! < firstEvictCode ? 'keep' : 'evict';
  }

  get reason(): Reason {
    return reasonsByCode[this.#decided.reasons[this.#place]!]!;
  }

  get detail(): string {
    return details[this.reason](this, this.#decided.input, this.#decided.filesystem);
  }

  get freedBytes(): number {
    const { freedBytes, input, order } = this.#decided;
    if (this.verdict === 'keep') return 0;
    return (freedBytes?.[this.#place] ?? input.snapshot.entries.sizeBytes[order[this.#place]!])!;
  }

  get hold(): Hold | undefined {
    return holdOf(this.#decided.input.holds, this.entry);
  }

  /** `7th of 8 by last use`; the 1st is the most recently used. */
  get inPlace(): string {
    const count = this.#decided.order.length;
    return `${ordinal(count - this.#place)} of ${count} by last use`;
  }
}

/** Each reason in words, for the entry it was given to. */
const details: Readonly<Record<Reason, (judged: Judged, input: PlanInput, filesystem: Filesystem | undefined) => string>> = {
  InUse: ({ hold }) => hold?.detail ?? 'in use',
  Kept: ({ entry }, { nowMs, protect }) => pinText(pinOf(entry, pinsInForce(protect.keep, nowMs))!),
  Recent: ({ entry }, { nowMs, protect }) => `${lastUse(entry, nowMs)}, protected for ${formatExactDuration(protect.minIdleMs)}`,
  MaxIdle: ({ entry }, { nowMs, limits }) => `${lastUse(entry, nowMs)}, ${allowed(limits.maxIdleMs, limits, formatExactDuration)}`,
  MaxEntries: ({ inPlace }, { limits }) => `${inPlace}, ${allowed(limits.maxEntries, limits, String)}`,
  MaxBytes: ({ inPlace }, { limits }) => `${inPlace}, ${allowed(limits.maxBytes, limits, formatBytes)}`,
  MinFree: ({ inPlace }, { limits }, filesystem) => `${inPlace}${freeText(limits.minFree, limits, formatBytes, filesystem?.availableBytes)}`,
  MinFreeInodes: ({ inPlace }, { limits }, filesystem) => `${inPlace}${freeText(limits.minFreeInodes, limits, String, filesystem?.inodesFree)}`,
  WithinLimits: ({ inPlace }) => inPlace,
};

/** `10Gi allowed`, and with headroom `10Gi allowed, then down to 9Gi` */
function allowed(limit: number | null, limits: Limits, format: (n: number) => string): string {
  const most = limit ?? 0;
  return `${format(most)} allowed${limits.headroomPercent > 0 ? `, then down to ${format(withHeadroom(most, limits))}` : ''}`;
}

/** `, 20% to be free, 12.3Gi are` */
function freeText(amount: FreeAmount | null, { headroomPercent }: Limits, format: (n: number) => string, free = 0): string {
  const wanted = amount === null ? '' : 'percent' in amount ? `${amount.percent}%` : format(amount.count);
  const then = headroomPercent > 0 ? `, and ${headroomPercent}% more once it is less` : '';
  return `, ${wanted} to be free${then}, ${format(free)} are`;
}

function lastUse(entry: Entry, nowMs: number): string {
  return entry.clockAhead ? 'last use lies in the future, read as now' : `last used ${formatDuration(idleMsOf(entry, nowMs))} ago`;
}

function ordinal(n: number): string {
  const teen = n % 100 >= 11 && n % 100 <= 13;
  return `${n}${(teen ? undefined : ['th', 'st', 'nd', 'rd'][n % 10]) ?? 'th'}`;
}

import type { Hold, Holds } from './holds.ts';
import type { LimitName, Limits, Protect } from './limits.ts';
import { idleMsOf, inLruOrder, lastUsesOf } from './lru-order.ts';
import type { EvictReason, KeepReason } from './reasons.ts';
import { codeOf, firstEvictCode } from './reasons.ts';
import type { CacheStats, Entry, Snapshot } from './snapshot.ts';
import { statsOf } from './snapshot.ts';
import type { Decided, Eviction } from './verdicts.ts';
import { evictionsOf, Verdicts } from './verdicts.ts';

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
  readonly verdicts: Verdicts;
  readonly evict: Verdicts<Eviction>;
  readonly held: { readonly inUse: Tally; readonly kept: Tally; readonly recent: Tally };
  readonly unreachable: readonly UnreachableLimit[];
  /** Set where it is unknown what is in use, and so all of it is: why. */
  readonly allHeldBy: Hold | undefined;
  /** The first moment at which time alone lets an entry go; null where it never does. What is in use does not grow old. */
  readonly expiresAtMs: number | null;
}

export interface PlanInput {
  readonly snapshot: Snapshot;
  readonly limits: Limits;
  readonly protect: Protect;
  readonly holds: Holds;
  readonly nowMs: number;
}

/** What the rules know of an entry when its turn has come: everything less recently used has its verdict. One object, filled anew for each. */
interface Candidate {
  idleMs: number;
  isInUse: boolean;
  /** What still stands: all that is more recently used, and what was kept. */
  entriesLeft: number;
  bytesLeft: number;
}

type Rule = (candidate: Candidate, input: PlanInput) => EvictReason | KeepReason | undefined;

/** The first rule that speaks decides. Protection stands before every limit; what no rule wants gone stays. */
const rules: readonly Rule[] = [inUse, recent, idleTooLong, tooManyEntries, tooManyBytes];

function inUse({ isInUse }: Candidate): 'InUse' | undefined {
  return isInUse ? 'InUse' : undefined;
}

function recent({ idleMs }: Candidate, { protect }: PlanInput): 'Recent' | undefined {
  return idleMs < protect.minIdleMs ? 'Recent' : undefined;
}

function idleTooLong({ idleMs }: Candidate, { limits }: PlanInput): 'MaxIdle' | undefined {
  return limits.maxIdleMs !== null && idleMs > limits.maxIdleMs ? 'MaxIdle' : undefined;
}

function tooManyEntries({ entriesLeft }: Candidate, { limits }: PlanInput): 'MaxEntries' | undefined {
  return limits.maxEntries !== null && entriesLeft > limits.maxEntries ? 'MaxEntries' : undefined;
}

function tooManyBytes({ bytesLeft }: Candidate, { limits }: PlanInput): 'MaxBytes' | undefined {
  return limits.maxBytes !== null && bytesLeft > limits.maxBytes ? 'MaxBytes' : undefined;
}

/**
 * Decides the fate of every entry. Pure and total: the same input gives the same plan, and no input throws.
 *
 * Walks from the least recently used on and evicts until every limit holds, so nothing goes that could have stayed behind
 * something older. What is protected counts towards the limits; where that leaves a limit unmet, `unreachable` says so.
 */
export function planEviction(input: PlanInput): Plan {
  const { snapshot: { entries }, nowMs } = input;
  const before = statsOf(input.snapshot);
  const order = inLruOrder(entries, nowMs);
  const lastUses = lastUsesOf(entries, nowMs);
  const reasons = new Uint8Array(order.length);
  const isInUse = inUseAmong(input);
  const candidate: Candidate = { idleMs: 0, isInUse: false, entriesLeft: before.entryCount, bytesLeft: before.totalBytes };
  for (let place = 0; place < order.length; place += 1) {
    const row = order[place]!;
    candidate.idleMs = Math.max(0, nowMs - lastUses[row]!);
    candidate.isInUse = isInUse(row);
    const code = codeOf(reasonFor(candidate, input));
    reasons[place] = code;
    if (code < firstEvictCode) continue;
    candidate.entriesLeft -= 1;
    candidate.bytesLeft -= entries.sizeBytes[row]!;
  }
  const decided = { input, order, reasons };
  const after = { entryCount: candidate.entriesLeft, totalBytes: candidate.bytesLeft };
  const unreachable = unreachableLimits(after, decided);
  return {
    before,
    after,
    verdicts: new Verdicts(decided),
    evict: evictionsOf(decided, before.entryCount - after.entryCount),
    held: { inUse: tally(decided, 'InUse'), kept: { entries: 0, bytes: 0 }, recent: tally(decided, 'Recent') },
    unreachable,
    expiresAtMs: expiresAtMs(unreachable, decided),
    allHeldBy: input.holds.everything,
  };
}

function inUseAmong({ snapshot, holds }: PlanInput): (row: number) => boolean {
  if (holds.everything !== undefined) return () => true;
  const { entries } = snapshot;
  const rows = new Set([...entries.rowsNamed(holds.entries.keys()), ...entries.rowsDescribed(holds.byDescription.keys())]);
  return rows.size === 0 ? () => false : (row) => rows.has(row);
}

function reasonFor(candidate: Candidate, input: PlanInput): EvictReason | KeepReason {
  for (let i = 0; i < rules.length; i += 1) {
    const reason = rules[i]!(candidate, input);
    if (reason !== undefined) return reason;
  }
  return 'WithinLimits';
}

function tally({ input, order, reasons }: Decided, reason: KeepReason): Tally {
  const code = codeOf(reason);
  const { sizeBytes } = input.snapshot.entries;
  let entries = 0;
  let bytes = 0;
  for (let place = reasons.indexOf(code); place !== -1; place = reasons.indexOf(code, place + 1)) {
    entries += 1;
    bytes += sizeBytes[order[place]!]!;
  }
  return { entries, bytes };
}

/** What is in use is not idle, however long ago it was last opened: only `Recent` can keep an entry beyond maxIdle. */
function unreachableLimits(left: CacheStats, decided: Decided): UnreachableLimit[] {
  const { limits, nowMs } = decided.input;
  const oldest = oldestOf(decided, 'Recent');
  const remains: readonly (readonly [LimitName, number | null, number])[] = [
    ['MaxEntries', limits.maxEntries, left.entryCount],
    ['MaxBytes', limits.maxBytes, left.totalBytes],
    ['MaxIdle', limits.maxIdleMs, oldest === undefined ? 0 : idleMsOf(oldest, nowMs)],
  ];
  return remains.flatMap(([limit, allowed, remaining]) => (allowed !== null && remaining > allowed ? [{ limit, allowed, remaining }] : []));
}

function expiresAtMs(unreachable: readonly UnreachableLimit[], decided: Decided): number | null {
  const { limits, protect } = decided.input;
  const recent = oldestOf(decided, 'Recent');
  const times: number[] = [];
  if (recent !== undefined && unreachable.length > 0) times.push(recent.lastAccessedAtMs + protect.minIdleMs);
  for (const kept of [recent, oldestOf(decided, 'WithinLimits')]) {
    // Protection ends when its time is met, a limit is exceeded when its time is passed.
    if (kept !== undefined && limits.maxIdleMs !== null) times.push(kept.lastAccessedAtMs + Math.max(protect.minIdleMs, limits.maxIdleMs + 1));
  }
  return times.length === 0 ? null : Math.min(...times);
}

/** The least recently used of those with this reason. */
function oldestOf({ input, order, reasons }: Decided, reason: KeepReason): Entry | undefined {
  const place = reasons.indexOf(codeOf(reason));
  return place === -1 ? undefined : input.snapshot.entries.at(order[place]!);
}

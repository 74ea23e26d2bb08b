import type { Filesystem } from './filesystem.ts';
import type { Goals } from './goals.ts';
import { goalsOf } from './goals.ts';
import type { Hold, Holds, HoldSource } from './holds.ts';
import { holdOf } from './holds.ts';
import type { Pin } from './keep.ts';
import { expiredPins, pinnedRows, pinsInForce } from './keep.ts';
import type { LimitName, Limits, Protect, UnreachableLimit } from './limits.ts';
import { RemainingBytes } from './linked-files.ts';
import { idleMsOf, lastUsesOf, lruOrderSteps } from './lru-order.ts';
import type { EvictReason, KeepReason } from './reasons.ts';
import { codeOf, firstEvictCode } from './reasons.ts';
import type { CacheStats, Entry, Snapshot } from './snapshot.ts';
import { statsOf } from './snapshot.ts';
import type { Steps } from './steps.ts';
import { atOnce, stepMask } from './steps.ts';
import type { Decided, Eviction } from './verdicts.ts';
import { evictionsOf, Verdicts } from './verdicts.ts';

export interface Tally {
  readonly entries: number;
  readonly bytes: number;
}

export interface Plan {
  readonly before: CacheStats;
  readonly after: CacheStats;
  /** One verdict an entry, least recently used first. */
  readonly verdicts: Verdicts;
  readonly evict: Verdicts<Eviction>;
  /** What the filesystem gets back when all of these are deleted. */
  readonly freedBytes: number;
  readonly held: { readonly inUse: Tally; readonly kept: Tally; readonly recent: Tally };
  /** Of what is in use, what each source knows of. What several hold counts for the first. */
  readonly inUseBy: ReadonlyMap<HoldSource, Tally>;
  readonly unreachable: readonly UnreachableLimit[];
  /** Set where it is unknown what is in use, and so all of it is: why. */
  readonly allHeldBy: Hold | undefined;
  /** Pins that hold nothing any more. */
  readonly expiredPins: readonly Pin[];
  /** When the first that only its last use or a pin protects may go; null where time lets none go. */
  readonly nextFreeAtMs: number | null;
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
  isPinned: boolean;
  /** One that may go was within all limits. */
  isSettled: boolean;
  /** How long the first that nothing protects has not been used: no other has been idle for longer. */
  longestIdleMs: number | undefined;
  /** What still stands: all that is more recently used, and what was kept. */
  entriesLeft: number;
  bytesLeft: number;
}

type Rule<R> = (candidate: Candidate, input: PlanInput, goals: Goals) => R | undefined;

/** In use, then kept, then used just now: what one of these names stays, whatever the limits say. */
const protections: readonly Rule<KeepReason>[] = [inUse, kept, recent];

/** The first that speaks is the reason to go; what none wants gone stays. */
const limitRules: readonly Rule<EvictReason>[] = [idleTooLong, tooManyEntries, tooManyBytes];

function inUse({ isInUse }: Candidate): 'InUse' | undefined {
  return isInUse ? 'InUse' : undefined;
}

function kept({ isPinned }: Candidate): 'Kept' | undefined {
  return isPinned ? 'Kept' : undefined;
}

function recent({ idleMs }: Candidate, { protect }: PlanInput): 'Recent' | undefined {
  return idleMs < protect.minIdleMs ? 'Recent' : undefined;
}

function idleTooLong({ idleMs, longestIdleMs = 0 }: Candidate, { limits: { maxIdleMs } }: PlanInput, goals: Goals): 'MaxIdle' | undefined {
  return maxIdleMs !== null && longestIdleMs > maxIdleMs && idleMs > goals.idleMs ? 'MaxIdle' : undefined;
}

function tooManyEntries({ entriesLeft }: Candidate, _: PlanInput, goals: Goals): 'MaxEntries' | undefined {
  return entriesLeft > goals.entries ? 'MaxEntries' : undefined;
}

function tooManyBytes({ bytesLeft }: Candidate, _: PlanInput, goals: Goals): 'MaxBytes' | undefined {
  return bytesLeft > goals.bytes ? 'MaxBytes' : undefined;
}

/**
 * Decides the fate of every entry. Pure and total: the same input gives the same plan, and no input throws.
 *
 * Walks from the least recently used on and evicts until every limit holds, so nothing goes that could have stayed behind
 * something older. What is protected counts towards the limits; where that leaves a limit unmet, `unreachable` says so.
 * Nothing is evicted for maxBytes where no eviction can meet it (see goals.ts).
 */
export function planEviction(input: PlanInput): Plan {
  return atOnce(planSteps(input));
}

/** The same in steps: of 100,000 entries it would keep everything else waiting. */
export function* planSteps(input: PlanInput): Steps<Plan> {
  const { snapshot: { entries }, nowMs } = input;
  const before = statsOf(input.snapshot);
  yield;
  const lastUses = lastUsesOf(entries, nowMs);
  yield;
  const order = yield* lruOrderSteps(entries, lastUses);
  const reasons = new Uint8Array(order.length);
  const freedBytes = input.snapshot.linked === undefined ? undefined : new Float64Array(order.length);
  const remaining = new RemainingBytes(entries, before.totalBytes, input.snapshot.linked);
  yield;
  const isInUse = yield* inUseAmong(input);
  yield;
  const pinned = yield* pinnedRows(entries, pinsInForce(input.protect.keep, nowMs));
  yield;
  const heldBytes = yield* remaining.bytesOfAlone((row) => isInUse(row) || pinned.has(row));
  const goals = goalsOf(before, heldBytes, input.limits);
  const candidate: Candidate = { idleMs: 0, isInUse: false, isPinned: false, isSettled: false, longestIdleMs: undefined, entriesLeft: before.entryCount, bytesLeft: before.totalBytes };
  yield;
  for (let place = 0; place < order.length; place += 1) {
    if ((place & stepMask) === stepMask) yield;
    const row = order[place]!;
    candidate.idleMs = Math.max(0, nowMs - lastUses[row]!);
    candidate.isInUse = isInUse(row);
    candidate.isPinned = pinned.has(row);
    const code = codeOf(reasonFor(candidate, input, goals));
    reasons[place] = code;
    if (code < firstEvictCode) continue;
    candidate.entriesLeft -= 1;
    const freed = remaining.remove(row);
    if (freedBytes !== undefined) freedBytes[place] = freed;
    candidate.bytesLeft = remaining.totalBytes;
  }
  yield;
  const decided = { input, order, reasons, freedBytes };
  const after = { entryCount: candidate.entriesLeft, totalBytes: candidate.bytesLeft };
  const unreachable = unreachableLimits(after, heldBytes, decided);
  return {
    before,
    after,
    verdicts: new Verdicts(decided),
    evict: evictionsOf(decided, before.entryCount - after.entryCount),
    freedBytes: remaining.freedBytes,
    held: { inUse: tally(decided, 'InUse'), kept: tally(decided, 'Kept'), recent: tally(decided, 'Recent') },
    inUseBy: inUseBySource(decided),
    unreachable,
    nextFreeAtMs: nextFreeAtMs(decided),
    expiresAtMs: expiresAtMs(unreachable, decided),
    allHeldBy: input.holds.everything,
    expiredPins: expiredPins(input.protect.keep, nowMs),
  };
}

export interface MoreEvictions {
  /** As those of the plan, with other reasons for some entries that were `WithinLimits`. */
  readonly reasons: Uint8Array;
  readonly freedBytes: Float64Array | undefined;
  /** How many entries these are. */
  readonly count: number;
  /** After all evictions. */
  readonly remaining: RemainingBytes;
  readonly filesystem: Filesystem;
  readonly unmet: readonly UnreachableLimit[];
}

/** The same plan with evictions for the sake of the filesystem, and the limits of free space that they leave unmet. */
export function withMoreEvictions(plan: Plan, { reasons, freedBytes, count, remaining, filesystem, unmet }: MoreEvictions): Plan {
  const decided = { ...plan.verdicts.decided, reasons, freedBytes, filesystem };
  const unreachable = [...plan.unreachable, ...unmet];
  return {
    ...plan,
    after: { entryCount: plan.after.entryCount - count, totalBytes: remaining.totalBytes },
    verdicts: new Verdicts(decided),
    evict: evictionsOf(decided, plan.evict.length + count),
    freedBytes: remaining.freedBytes,
    unreachable,
    expiresAtMs: expiresAtMs(unreachable, decided),
  };
}

function* inUseAmong({ snapshot, holds }: PlanInput): Steps<(row: number) => boolean> {
  if (holds.everything !== undefined) return () => true;
  const { entries } = snapshot;
  const rows = new Set([...(yield* entries.rowsNamed(holds.entries.keys())), ...(yield* entries.rowsDescribed(holds.byDescription.keys()))]);
  return rows.size === 0 ? () => false : (row) => rows.has(row);
}

function reasonFor(candidate: Candidate, input: PlanInput, goals: Goals): EvictReason | KeepReason {
  const protection = firstOf(protections, candidate, input, goals);
  if (protection !== undefined) return protection;
  // Whatever is used later has been idle for less, and nothing has gone since: no limit wants it either.
  if (candidate.isSettled) return 'WithinLimits';
  candidate.longestIdleMs ??= candidate.idleMs;
  const wantedGone = firstOf(limitRules, candidate, input, goals);
  candidate.isSettled = wantedGone === undefined;
  return wantedGone ?? 'WithinLimits';
}

function firstOf<R>(rules: readonly Rule<R>[], candidate: Candidate, input: PlanInput, goals: Goals): R | undefined {
  for (let i = 0; i < rules.length; i += 1) {
    const reason = rules[i]!(candidate, input, goals);
    if (reason !== undefined) return reason;
  }
  return undefined;
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

function inUseBySource({ input: { snapshot: { entries }, holds }, order, reasons }: Decided): ReadonlyMap<HoldSource, Tally> {
  const tallies = new Map<HoldSource, Tally>(holds.sources.map((source) => [source, { entries: 0, bytes: 0 }]));
  const code = codeOf('InUse');
  for (let place = reasons.indexOf(code); place !== -1; place = reasons.indexOf(code, place + 1)) {
    const row = order[place]!;
    const hold = holdOf(holds, { name: entries.nameAt(row), description: entries.descriptionAt(row) });
    if (hold === undefined) continue;
    const { entries: count, bytes } = tallies.get(hold.source) ?? { entries: 0, bytes: 0 };
    tallies.set(hold.source, { entries: count + 1, bytes: bytes + entries.sizeBytes[row]! });
  }
  return tallies;
}

/** What is in use is not idle, however long ago it was last opened, and what is kept may be: only `Recent` can put maxIdle out of reach. */
function unreachableLimits(left: CacheStats, heldBytes: number, decided: Decided): UnreachableLimit[] {
  const { limits, nowMs } = decided.input;
  const oldest = oldestOf(decided, 'Recent');
  const remains: readonly (readonly [LimitName, number | null, number])[] = [
    ['MaxEntries', limits.maxEntries, left.entryCount],
    ['MaxBytes', limits.maxBytes, left.totalBytes],
    ['MaxIdle', limits.maxIdleMs, oldest === undefined ? 0 : idleMsOf(oldest, nowMs)],
  ];
  return remains.flatMap(([limit, allowed, remaining]) => {
    if (allowed === null || remaining <= allowed) return [];
    if (limit !== 'MaxBytes' || heldBytes <= allowed) return [{ limit, allowed, remaining }];
    return [{ limit, allowed, remaining: heldBytes + tally(decided, 'Recent').bytes, because: 'HeldAlone' as const }];
  });
}

function nextFreeAtMs(decided: Decided): number | null {
  const { protect, nowMs } = decided.input;
  const recent = oldestOf(decided, 'Recent');
  const times = pinsInForce(protect.keep, nowMs).flatMap(({ untilMs }) => (untilMs === null ? [] : [untilMs]));
  return earliest([...times, ...(recent === undefined ? [] : [recent.lastAccessedAtMs + protect.minIdleMs])]);
}

function expiresAtMs(unreachable: readonly UnreachableLimit[], decided: Decided): number | null {
  const { limits: { maxIdleMs }, protect, nowMs } = decided.input;
  const oldest = [oldestOf(decided, 'Recent'), oldestOf(decided, 'WithinLimits')].filter((entry) => entry !== undefined);
  return earliest([
    // Also where nothing goes then: that a pin has expired is told.
    ...pinsInForce(protect.keep, nowMs).map(({ untilMs }) => untilMs),
    unreachable.length > 0 ? nextFreeAtMs(decided) : null,
    // Protection ends when its time is met, a limit is exceeded when its time is passed.
    ...oldest.map(({ lastAccessedAtMs }) => (maxIdleMs === null ? null : lastAccessedAtMs + Math.max(protect.minIdleMs, maxIdleMs + 1))),
  ]);
}

function earliest(times: readonly (number | null)[]): number | null {
  const known = times.filter((time) => time !== null);
  return known.length === 0 ? null : Math.min(...known);
}

/** The least recently used of those with this reason. */
function oldestOf({ input, order, reasons }: Decided, reason: KeepReason): Entry | undefined {
  const place = reasons.indexOf(codeOf(reason));
  return place === -1 ? undefined : input.snapshot.entries.at(order[place]!);
}

import type { EntryTable } from './entry-table.ts';
import type { FreeAmount, Limits } from './limits.ts';
import { lastUsesOf } from './lru-order.ts';
import type { Plan, UnreachableLimit } from './plan.ts';

/** A filesystem as statfs(2) tells it. */
export interface FilesystemFigures {
  readonly capacityBytes: number;
  /** What could still be written. */
  readonly availableBytes: number;
  /** Absent where the filesystem does not count them, as btrfs: unknown, not none. */
  readonly inodes?: number;
  readonly inodesFree?: number;
}

export interface Filesystem extends FilesystemFigures {
  /** What could be written if nothing lay there. Absent: all of the capacity. */
  readonly mostFreeBytes?: number;
  /** The same of inodes. Absent where the filesystem makes them as they are needed, or it is not known whether it does. */
  readonly mostFreeInodes?: number;
}

/** What is reported of it. */
export function figuresOf(filesystem: Filesystem): FilesystemFigures {
  const { mostFreeBytes: _, mostFreeInodes: __, ...figures } = filesystem;
  return figures;
}

/** What one plan has to free for the sake of its filesystem: its own share, where several caches lie there. */
export interface Demand {
  readonly filesystem: Filesystem;
  readonly bytes: number;
  /** So many entries, least recently used first: how many inodes an entry takes is not known before it is gone. */
  readonly entries: number;
  /** What stays short, whatever goes. */
  readonly unmet: readonly UnreachableLimit[];
}

/** Without the figures, which change all the time. */
export function essenceOf(demand: Demand | undefined): unknown {
  return demand && { entries: demand.entries, bytes: demand.bytes, unmet: demand.unmet.map(({ limit, because }) => [limit, because]) };
}

/** What a cache wants to be left on its filesystem, without headroom; 0 where it asks for nothing. */
export function wantedFree({ minFree, minFreeInodes }: Limits, { capacityBytes, inodes }: Filesystem): { readonly bytes: number; readonly inodes: number } {
  return { bytes: amountOf(minFree, capacityBytes), inodes: inodes === undefined ? 0 : amountOf(minFreeInodes, inodes) };
}

function amountOf(amount: FreeAmount | null, of: number): number {
  if (amount === null) return 0;
  return 'percent' in amount ? Math.ceil((of * amount.percent) / 100) : amount.count;
}

export function limitsFreeSpace({ minFree, minFreeInodes }: Limits): boolean {
  return minFree !== null || minFreeInodes !== null;
}

/** What of it is less than one cache wants. */
export function shortLimits(limits: Limits, filesystem: Filesystem): UnreachableLimit[] {
  const wanted = wantedFree(limits, filesystem);
  const { availableBytes, inodesFree = Infinity, capacityBytes, mostFreeBytes = capacityBytes, mostFreeInodes = Infinity } = filesystem;
  return [
    ...shortOf('MinFree', { wanted: wanted.bytes, free: availableBytes, mostFree: mostFreeBytes }),
    ...shortOf('MinFreeInodes', { wanted: wanted.inodes, free: inodesFree, mostFree: mostFreeInodes }),
  ];
}

/** All of a filesystem is never free: the cache itself lies there. */
function shortOf(limit: 'MinFree' | 'MinFreeInodes', { wanted, free, mostFree }: { wanted: number; free: number; mostFree: number }): UnreachableLimit[] {
  if (free >= wanted) return [];
  return [wanted < mostFree ? { limit, allowed: wanted, remaining: free } : { limit, allowed: wanted, remaining: mostFree, because: 'BeyondCapacity' }];
}

/** Whether more could be free if something went. Where a filesystem is too small for what is wanted, all would go in vain. */
export function isWithinCapacity({ because }: UnreachableLimit): boolean {
  return because !== 'BeyondCapacity';
}

/** One cache among those of a filesystem. */
export interface Claim {
  readonly limits: Limits;
  readonly entries: EntryTable;
  /** By all other limits: what it evicts gives space, what it leaves to them may go. */
  readonly plan: Plan;
  /** What has been evicted before and will be deleted. */
  readonly trashBytes: number;
  readonly nowMs: number;
}

/** What the step before showed, of those that go for inodes. */
export interface InodeStep {
  /** Given back by each that went. Others make and remove files meanwhile, so that it may be anything. */
  readonly perEntry: number;
  readonly entries: number;
}

/** Of the entries that may go, at most this part at once while it is unknown how many inodes they give. */
const mostAtOnce = 1 / 8;
/** And so many times those of the step before, at most: what others did at that time may have hidden how much they gave. */
const stepGrowth = 4;

/**
 * Shares what is missing on a filesystem out over its caches: whatever was used least recently goes first, whichever of them it lies in.
 * A cache gives only for what it itself wants to be left.
 * @param before undefined where none has gone for inodes yet
 * @returns a demand for each claim, in their order
 */
export function shareOut(filesystem: Filesystem, claims: readonly Claim[], before?: InodeStep): Demand[] {
  const shares = claims.map((claim) => new Share(claim, filesystem));
  const pool = new Pool(filesystem, shares, before);
  for (let next = oldestOf(shares); next !== undefined; next = oldestOf(shares)) {
    if (pool.wants(next)) pool.take(next);
    else next.close();
  }
  return shares.map((share) => ({ filesystem, bytes: share.demandedBytes, entries: share.demandedEntries, unmet: pool.unmetOf(share) }));
}

function oldestOf(shares: readonly Share[]): Share | undefined {
  let oldest: Share | undefined;
  for (const share of shares) if (share.nextUseMs < (oldest?.nextUseMs ?? Infinity)) oldest = share;
  return oldest;
}

/** What of one cache goes. */
class Share {
  readonly claim: Claim;
  /** With headroom; 0 where nothing is short for this cache. */
  readonly goalBytes: number;
  readonly goalInodes: number;
  readonly short: readonly UnreachableLimit[];
  demandedBytes = 0;
  demandedEntries = 0;
  /** When the next that may go was last used; Infinity where there is none. */
  nextUseMs = Infinity;
  nextBytes = 0;
  readonly #lastUses: Float64Array;
  readonly #rows: Iterator<number>;
  #bytes: number;
  #entries: number;

  constructor(claim: Claim, filesystem: Filesystem) {
    const { limits, plan, entries, nowMs, trashBytes } = claim;
    this.claim = claim;
    this.short = shortLimits(limits, { ...filesystem, availableBytes: filesystem.availableBytes + trashBytes });
    const goal = (limit: string, most: number) => {
      const wanted = this.short.find((each) => each.limit === limit && isWithinCapacity(each))?.allowed ?? 0;
      const withHeadroom = Math.ceil((wanted * (100 + limits.headroomPercent)) / 100);
      // Headroom that cannot be had would take all that may go, whenever anything is short.
      return withHeadroom < most ? withHeadroom : wanted;
    };
    const { capacityBytes, mostFreeBytes = capacityBytes, inodes = 0, mostFreeInodes = inodes } = filesystem;
    this.goalBytes = goal('MinFree', mostFreeBytes);
    this.goalInodes = goal('MinFreeInodes', mostFreeInodes);
    this.#bytes = plan.before.totalBytes - plan.after.totalBytes;
    this.#entries = plan.evict.length;
    this.#lastUses = lastUsesOf(entries, nowMs);
    this.#rows = plan.verdicts.rowsOf('WithinLimits');
    this.#advance();
  }

  /** What the other limits let go, and what has been taken. */
  get givenBytes(): number {
    return this.#bytes;
  }

  take(forBytes: boolean): void {
    this.#bytes += this.nextBytes;
    this.#entries += 1;
    if (forBytes) this.demandedBytes = this.#bytes;
    else this.demandedEntries = this.#entries;
    this.#advance();
  }

  close(): void {
    this.nextUseMs = Infinity;
  }

  #advance(): void {
    const { done, value: row } = this.#rows.next();
    this.nextUseMs = done === true ? Infinity : this.#lastUses[row]!;
    this.nextBytes = done === true ? 0 : this.claim.entries.sizeBytes[row]!;
  }
}

/** What the filesystem has, and will have. */
class Pool {
  readonly #inodesPerEntry: number;
  readonly #mostForInodes: number;
  #bytes: number;
  #inodes: number;
  #takenForInodes = 0;

  constructor({ availableBytes, inodes = 0, inodesFree = Infinity }: Filesystem, shares: readonly Share[], before: InodeStep | undefined) {
    const given = (of: (share: Share) => number) => shares.reduce((sum, share) => sum + of(share), 0);
    const entries = given(({ claim }) => claim.plan.before.entryCount);
    // That all inodes in use are those of entries is the least that has to go; what it gave then tells how many an entry has.
    this.#inodesPerEntry = Math.max(1, before?.perEntry ?? (inodes - inodesFree) / Math.max(1, entries));
    this.#mostForInodes = Math.max(1, Math.min(Math.ceil(entries * mostAtOnce), stepGrowth * (before?.entries ?? Infinity)));
    this.#bytes = availableBytes + given(({ claim, givenBytes }) => claim.trashBytes + givenBytes);
    this.#inodes = inodesFree + given(({ claim }) => claim.plan.evict.length * this.#inodesPerEntry);
  }

  wants({ goalBytes, goalInodes }: Share): boolean {
    return this.#bytes < goalBytes || (this.#inodes < goalInodes && this.#takenForInodes < this.#mostForInodes);
  }

  take(share: Share): void {
    const forBytes = this.#bytes < share.goalBytes;
    this.#bytes += share.nextBytes;
    this.#inodes += this.#inodesPerEntry;
    if (!forBytes) this.#takenForInodes += 1;
    share.take(forBytes);
  }

  /** Whether inodes stay short is seen only when entries have gone: here only where none may. */
  unmetOf({ short, demandedEntries }: Share): UnreachableLimit[] {
    return short.flatMap((each) => {
      if (!isWithinCapacity(each)) return [each];
      if (each.limit === 'MinFree') return this.#bytes < each.allowed ? [{ ...each, remaining: this.#bytes }] : [];
      return this.#inodes < each.allowed && demandedEntries === 0 ? [each] : [];
    });
  }
}

/** How the last tries to free space went. */
export interface Tries {
  /** One after another that gained next to nothing. */
  readonly inVain: number;
  readonly nextAtMs: number;
}

export const noTries: Tries = { inVain: 0, nextAtMs: 0 };

/** Less than this part of what was asked for is nothing: reflinks, or files that are deleted and still open. */
const leastGain = 0.03;
/** So many tries that gain nothing are enough to say so. */
const triesInVain = 2;
const firstWaitMs = 30_000;
const longestWaitMs = 10 * 60_000;
/** Where nothing may go a try costs a look and takes nothing: what is in use may be free at any moment. */
const longestLookWaitMs = 60_000;

/** Whether trying on is known to lead nowhere. */
export function isInVain({ inVain }: Tries): boolean {
  return inVain >= triesInVain;
}

/**
 * When to try again after a try that left the filesystem short.
 * @param gain what came of it, as a part of what was asked for and went; undefined where nothing could be asked for
 * @param expiresAtMs when time lets another entry go; null where it never does
 */
export function afterTry(tries: Tries, { gain, nowMs, expiresAtMs }: { gain: number | undefined; nowMs: number; expiresAtMs: number | null }): Tries {
  if (gain !== undefined && gain >= leastGain) return { inVain: 0, nextAtMs: nowMs };
  const inVain = tries.inVain + 1;
  const waits = gain === undefined ? inVain : inVain - triesInVain + 1;
  const waitMs = waits < 1 ? 0 : Math.min(gain === undefined ? longestLookWaitMs : longestWaitMs, firstWaitMs * 2 ** (waits - 1));
  return { inVain, nextAtMs: Math.min(nowMs + waitMs, expiresAtMs !== null && expiresAtMs > nowMs ? expiresAtMs : Infinity) };
}

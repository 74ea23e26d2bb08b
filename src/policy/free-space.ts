import type { Filesystem } from './filesystem.ts';
import { isWithinCapacity, shortLimits } from './filesystem.ts';
import type { Limits, UnreachableLimit } from './limits.ts';
import { lastUsesOf } from './lru-order.ts';
import { RemainingBytes } from './linked-files.ts';
import type { Plan, Tally } from './plan.ts';
import { withMoreEvictions } from './plan.ts';
import { codeOf } from './reasons.ts';

/** One cache among those of a filesystem. */
export interface PlannedCache {
  readonly limits: Limits;
  /** By all other limits: what it evicts gives space; what it leaves `WithinLimits` may be evicted for free space. */
  readonly plan: Plan;
  /** What has been evicted before and will be deleted. */
  readonly trashBytes: number;
}

/** What free space takes of one cache. */
export interface FreeSpaceShare {
  /** The plan of the cache with these evictions, and with the limits of free space that stay short. */
  readonly plan: Plan;
  /** What that evicts. */
  readonly wouldEvict: Tally;
  /** How many of these entries are evicted for bytes, and how many for inodes. */
  readonly forBytes: number;
  readonly forInodes: number;
  /** What stays short whatever is evicted. */
  readonly unmet: readonly UnreachableLimit[];
}

/** What the last evictions for inodes showed. */
export interface InodeStep {
  /** Inodes that each entry gave back. Others make and remove files meanwhile, so that it may be anything. */
  readonly perEntry: number;
  readonly entries: number;
}

/** Of the entries that may be evicted, at most this part at once while it is unknown how many inodes they have. */
const mostAtOnce = 1 / 8;
/** And at most so many times those of the last step: what others did meanwhile may have hidden how much that step gave. */
const stepGrowth = 4;

/**
 * Plans the evictions that free space needs on one filesystem, over all of its caches together: least recently used first, whichever
 * cache an entry lies in, until enough is free. A cache gives only for what it itself wants to be left. Pure.
 * @param before undefined where nothing was evicted for inodes yet
 * @returns a share for each cache, in their order
 */
export function planFreeSpace(filesystem: Filesystem, caches: readonly PlannedCache[], before?: InodeStep): FreeSpaceShare[] {
  const candidates = caches.map((cache) => new Candidates(cache, filesystem));
  const pool = new Pool(filesystem, candidates, before);
  for (let next = oldestOf(candidates); next !== undefined; next = oldestOf(candidates)) pool.decide(next);
  return candidates.map((each) => each.share(filesystem, pool.unmetOf(each)));
}

function oldestOf(caches: readonly Candidates[]): Candidates | undefined {
  let oldest: Candidates | undefined;
  for (const cache of caches) if (cache.nextUseMs < (oldest?.nextUseMs ?? Infinity)) oldest = cache;
  return oldest;
}

/** The entries of one cache that may be evicted for free space, least recently used first. */
class Candidates {
  readonly cache: PlannedCache;
  /** With headroom; 0 where nothing is short for this cache. */
  readonly goalBytes: number;
  readonly goalInodes: number;
  readonly short: readonly UnreachableLimit[];
  /** When the next one was last used; Infinity where there is none. */
  nextUseMs = Infinity;
  forBytes = 0;
  forInodes = 0;
  readonly #lastUses: Float64Array;
  readonly #places: Iterator<number>;
  readonly #reasons: Uint8Array;
  readonly #freedBytes: Float64Array | undefined;
  readonly #remaining: RemainingBytes;
  #place = -1;

  constructor(cache: PlannedCache, filesystem: Filesystem) {
    const { limits, plan, trashBytes } = cache;
    const { input: { snapshot, nowMs }, reasons, freedBytes } = plan.verdicts.decided;
    this.cache = cache;
    this.short = shortLimits(limits, { ...filesystem, availableBytes: filesystem.availableBytes + trashBytes });
    const goal = (limit: string, most: number) => {
      const wanted = this.short.find((each) => each.limit === limit && isWithinCapacity(each))?.allowed ?? 0;
      const withHeadroom = Math.ceil((wanted * (100 + limits.headroomPercent)) / 100);
      // Headroom that cannot be had would take all that may be evicted, whenever anything is short.
      return withHeadroom < most ? withHeadroom : wanted;
    };
    const { capacityBytes, mostFreeBytes = capacityBytes, inodes = 0, mostFreeInodes = inodes } = filesystem;
    this.goalBytes = goal('MinFree', mostFreeBytes);
    this.goalInodes = goal('MinFreeInodes', mostFreeInodes);
    this.#lastUses = lastUsesOf(snapshot.entries, nowMs);
    this.#places = plan.verdicts.placesOf('WithinLimits');
    this.#reasons = reasons.slice();
    this.#freedBytes = freedBytes?.slice();
    this.#remaining = new RemainingBytes(snapshot.entries, plan.before.totalBytes, snapshot.linked);
    for (const row of plan.evict.rows()) this.#remaining.remove(row);
    this.skip();
  }

  /** Whether evicting the next one may give the filesystem any bytes. */
  get mayFreeBytes(): boolean {
    return this.#remaining.mayFree(this.#row);
  }

  /** @returns the bytes that the filesystem gets back */
  take(reason: 'MinFree' | 'MinFreeInodes'): number {
    this.#reasons[this.#place] = codeOf(reason);
    const freed = this.#remaining.remove(this.#row);
    if (this.#freedBytes !== undefined) this.#freedBytes[this.#place] = freed;
    if (reason === 'MinFree') this.forBytes += 1;
    else this.forInodes += 1;
    this.skip();
    return freed;
  }

  skip(): void {
    const { done, value: place } = this.#places.next();
    this.#place = done === true ? -1 : place;
    this.nextUseMs = done === true ? Infinity : this.#lastUses[this.#row]!;
  }

  close(): void {
    this.nextUseMs = Infinity;
  }

  share(filesystem: Filesystem, unmet: readonly UnreachableLimit[]): FreeSpaceShare {
    const { forBytes, forInodes } = this;
    const plan = withMoreEvictions(this.cache.plan, { reasons: this.#reasons, freedBytes: this.#freedBytes, remaining: this.#remaining, count: forBytes + forInodes, filesystem, unmet });
    const wouldEvict = { entries: forBytes + forInodes, bytes: plan.freedBytes - this.cache.plan.freedBytes };
    return { plan, wouldEvict, forBytes, forInodes, unmet };
  }

  get #row(): number {
    return this.cache.plan.verdicts.decided.order[this.#place]!;
  }
}

/** What the filesystem has, and will have. */
class Pool {
  readonly #inodesPerEntry: number;
  readonly #mostForInodes: number;
  #bytes: number;
  #inodes: number;
  #takenForInodes = 0;

  constructor({ availableBytes, inodes = 0, inodesFree = Infinity }: Filesystem, caches: readonly Candidates[], before: InodeStep | undefined) {
    const given = (of: (cache: PlannedCache) => number) => caches.reduce((sum, { cache }) => sum + of(cache), 0);
    const entries = given(({ plan }) => plan.before.entryCount);
    // That all inodes in use are those of entries is the least that has to be evicted; what that gave then shows how many an entry has.
    this.#inodesPerEntry = Math.max(1, before?.perEntry ?? (inodes - inodesFree) / Math.max(1, entries));
    this.#mostForInodes = Math.max(1, Math.min(Math.ceil(entries * mostAtOnce), stepGrowth * (before?.entries ?? Infinity)));
    this.#bytes = availableBytes + given(({ plan, trashBytes }) => trashBytes + plan.freedBytes);
    this.#inodes = inodesFree + given(({ plan }) => plan.evict.length * this.#inodesPerEntry);
  }

  /** Whether the next entry of a cache is evicted, and why. Where it is not, because enough is free, none of that cache is any more. */
  decide(cache: Candidates): void {
    const needsBytes = this.#bytes < cache.goalBytes;
    const needsInodes = this.#inodes < cache.goalInodes && this.#takenForInodes < this.#mostForInodes;
    if (needsBytes && cache.mayFreeBytes) this.#take(cache, 'MinFree');
    else if (needsInodes) this.#take(cache, 'MinFreeInodes');
    else if (needsBytes) cache.skip();
    else cache.close();
  }

  #take(cache: Candidates, reason: 'MinFree' | 'MinFreeInodes'): void {
    this.#bytes += cache.take(reason);
    this.#inodes += this.#inodesPerEntry;
    if (reason === 'MinFreeInodes') this.#takenForInodes += 1;
  }

  /** Whether inodes stay short shows only when entries are gone: here only where none may be evicted. */
  unmetOf({ short, forInodes }: Candidates): UnreachableLimit[] {
    return short.flatMap((each) => {
      if (!isWithinCapacity(each)) return [each];
      if (each.limit === 'MinFree') return this.#bytes < each.allowed ? [{ ...each, remaining: this.#bytes }] : [];
      return this.#inodes < each.allowed && forInodes === 0 ? [each] : [];
    });
  }
}

import type { Pin } from './keep.ts';

/** A part of a filesystem, or so many of its bytes or inodes. */
export type FreeAmount = { readonly percent: number } | { readonly count: number };

/** Limits of one cache. Zero is a limit of zero; null is no limit. Neither ever turns into the other. */
export interface Limits {
  readonly maxEntries: number | null;
  readonly maxBytes: number | null;
  readonly maxIdleMs: number | null;
  /** What the filesystem has to have left. */
  readonly minFree: FreeAmount | null;
  readonly minFreeInodes: FreeAmount | null;
  /** Once a limit is exceeded, so many percent below it. */
  readonly headroomPercent: number;
}

export const noLimits: Limits = { maxEntries: null, maxBytes: null, maxIdleMs: null, minFree: null, minFreeInodes: null, headroomPercent: 0 };

export interface Protect {
  /** An entry used within this time is never evicted. */
  readonly minIdleMs: number;
  /** What stays whatever the limits say. */
  readonly keep: readonly Pin[];
}

export const noProtection: Protect = { minIdleMs: 0, keep: [] };

/** The limit whose usage (actual / allowed) is highest decides a cache's usage. */
export type LimitName = 'MaxEntries' | 'MaxBytes' | 'MaxIdle' | 'MinFree' | 'MinFreeInodes';

/** A limit that stays exceeded, whatever goes: what is over it is protected, or space is taken by something else. */
export interface UnreachableLimit {
  readonly limit: LimitName;
  readonly allowed: number;
  /** What is left after everything that may go has gone, in the unit of the limit; with MinFree and MinFreeInodes what is free then. */
  readonly remaining: number;
  /**
   * `NotReclaimable`: nothing protects it, and what was evicted gave no space back. Nothing is evicted for the limit with the other two:
   * `BeyondCapacity`: the filesystem is too small. `HeldAlone`: what is in use or kept exceeds the limit by itself.
   */
  readonly because?: 'NotReclaimable' | 'BeyondCapacity' | 'HeldAlone';
}

/** What is left of a limit of which headroom is taken off. */
export function withHeadroom(limit: number, { headroomPercent }: Pick<Limits, 'headroomPercent'>): number {
  return Math.floor((limit * (100 - headroomPercent)) / 100);
}

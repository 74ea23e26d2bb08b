/** Limits of one cache. Zero is a limit of zero; null is no limit. Neither ever turns into the other. */
export interface Limits {
  readonly maxEntries: number | null;
  readonly maxBytes: number | null;
  readonly maxIdleMs: number | null;
}

export const noLimits: Limits = { maxEntries: null, maxBytes: null, maxIdleMs: null };

export interface Protect {
  /** An entry used within this time is never evicted. */
  readonly minIdleMs: number;
}

/** The limit whose usage (actual / allowed) is highest decides a cache's usage. */
export type LimitName = 'MaxEntries' | 'MaxBytes' | 'MaxIdle';

/**
 * Every fate an entry can have. The same words stand in `explain`, in JSON, in metrics and in the docs.
 * The order is that of the rules: of two reasons that hold, the first is the one that is given.
 */
export const keepReasons = ['InUse', 'Kept', 'Recent', 'WithinLimits'] as const;
export const evictReasons = ['MaxIdle', 'MaxEntries', 'MaxBytes', 'MinFree', 'MinFreeInodes'] as const;

export type KeepReason = (typeof keepReasons)[number];
export type EvictReason = (typeof evictReasons)[number];
export type Reason = KeepReason | EvictReason;

/** What stands in a column of reasons: the index of the reason in here. */
export const reasonsByCode: readonly Reason[] = [...keepReasons, ...evictReasons];

const codes: ReadonlyMap<Reason, number> = new Map(reasonsByCode.map((reason, code) => [reason, code]));

export function codeOf(reason: Reason): number {
  return codes.get(reason)!;
}

/** All codes from this one on are reasons to go. */
export const firstEvictCode = keepReasons.length;

import type { CompiledCache } from './compiled.ts';
import type { Plan } from './plan.ts';

/** A full look this often, whatever the signs of change say: the signs are a hint, the look is the truth. */
const lookEveryMs = 60_000;
/** Looks take at most a tenth of the time, and never follow within a second. */
const restFactor = 10;
const leastGapMs = 1_000;

export interface CadenceInput {
  readonly nowMs: number;
  /** Limits may be applied: the policy is accepted and its mode is Enforce. */
  readonly enforced: boolean;
  /** When the schedule is next due; null where there is no schedule. */
  readonly dueAtMs: number | null;
  /** Nothing of this cache has been looked at yet under the policy in force. */
  readonly first: boolean;
  readonly rootChanged: boolean;
  /** When the last look ended and how long it took. */
  readonly lastLook: { readonly endedAtMs: number; readonly tookMs: number };
  /** When an entry that may not go yet will be free to go, or grows too old; null where none will. */
  readonly expiresAtMs: number | null;
}

/** What to do with a cache now: apply the limits, only look, or leave it. */
export type Act = { readonly act: 'run'; readonly trigger: 'Start' | 'Change' | 'Schedule' } | { readonly act: 'look' } | { readonly act: 'rest' };

/** With a schedule limits are applied when it is due and never between; without one, as soon as something calls for it. */
export function nextAct(input: CadenceInput): Act {
  const { nowMs, enforced, dueAtMs, lastLook } = input;
  if (enforced && dueAtMs !== null && nowMs >= dueAtMs) return { act: 'run', trigger: 'Schedule' };
  if (!input.first && nowMs - lastLook.endedAtMs < Math.max(leastGapMs, restFactor * lastLook.tookMs)) return { act: 'rest' };
  if (!calls(input)) return { act: 'rest' };
  return enforced && dueAtMs === null ? { act: 'run', trigger: input.first ? 'Start' : 'Change' } : { act: 'look' };
}

function calls({ first, rootChanged, nowMs, lastLook, expiresAtMs }: CadenceInput): boolean {
  return first || rootChanged || nowMs - lastLook.endedAtMs >= lookEveryMs || (expiresAtMs !== null && nowMs >= expiresAtMs);
}

/** The first moment at which time alone changes what the plan decides. */
export function planExpiresAtMs(plan: Plan, { limits, protect }: Pick<CompiledCache, 'limits' | 'protect'>): number | null {
  let earliest = Infinity;
  for (const { entry, verdict, reason } of plan.verdicts) {
    if (verdict === 'evict') continue;
    if (reason === 'Recent' && plan.unreachable.length > 0) earliest = Math.min(earliest, entry.lastAccessedAtMs + protect.minIdleMs);
    if (reason === 'WithinLimits' && limits.maxIdleMs !== null) earliest = Math.min(earliest, entry.lastAccessedAtMs + limits.maxIdleMs);
  }
  // One ms later: both bounds are passed, not met, when the comparison turns.
  return earliest === Infinity ? null : earliest + 1;
}

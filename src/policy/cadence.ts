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
  /** When the last look ended, and how long it kept the process busy. */
  readonly lastLook: { readonly endedAtMs: number; readonly tookMs: number };
  /** When an entry that may not go yet will be free to go, or grows too old; null where none will. */
  readonly expiresAtMs: number | null;
}

/** What to do with a cache now: apply the limits, only look, or leave it. */
export type Act = { readonly act: 'run'; readonly trigger: 'Start' | 'Change' | 'Schedule' } | { readonly act: 'look' } | { readonly act: 'rest' };

/** With a schedule limits are applied when it is due and never between; without one, as soon as something calls for it. */
export function nextAct(input: CadenceInput): Act {
  const { nowMs, enforced, dueAtMs, first } = input;
  if (enforced && dueAtMs !== null && nowMs >= dueAtMs) return { act: 'run', trigger: 'Schedule' };
  if (!first && (isTooSoon(input) || !calls(input))) return { act: 'rest' };
  return enforced && dueAtMs === null ? { act: 'run', trigger: first ? 'Start' : 'Change' } : { act: 'look' };
}

/** Never where the clock was set back: it is not known any more how long ago the last look was. */
function isTooSoon({ nowMs, lastLook }: CadenceInput): boolean {
  const agoMs = nowMs - lastLook.endedAtMs;
  return agoMs >= 0 && agoMs < Math.max(leastGapMs, restFactor * lastLook.tookMs);
}

function calls({ rootChanged, nowMs, lastLook, expiresAtMs }: CadenceInput): boolean {
  const agoMs = nowMs - lastLook.endedAtMs;
  return rootChanged || agoMs >= lookEveryMs || agoMs < 0 || (expiresAtMs !== null && nowMs >= expiresAtMs);
}

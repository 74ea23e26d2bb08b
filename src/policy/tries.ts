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

/** Time and chance as the core sees them: tests replace both, and step. */

export interface Clock {
  /** Milliseconds that never jump. Only differences mean anything. */
  monotonicMs(): number;
  /** The wall clock, in milliseconds since 1970. It may jump: only for what people or other machines read. */
  wallMs(): number;
  /** Calls once after the time. The returned function cancels. */
  setTimer(ms: number, call: () => void): () => void;
  /** At least 0, below 1. */
  random(): number;
}

export const systemClock: Clock = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
  setTimer(ms, call) {
    const timer = setTimeout(call, ms);
    return () => clearTimeout(timer);
  },
  random: () => Math.random(),
};

/** Waits, or returns early once the signal aborts: callers look at the signal after every wait. Never rejects. */
export function sleep(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const wake = () => {
      cancel();
      signal.removeEventListener('abort', wake);
      resolve();
    };
    const cancel = clock.setTimer(ms, wake);
    signal.addEventListener('abort', wake);
  });
}

/**
 * How long to wait before the next try: doubles with each failure, and is spread over half of it, so that many clients do not return at once.
 * @param failures how many tries failed before this wait, less one
 * @returns between `minMs` and `maxMs`
 */
export function backoffMs(failures: number, minMs: number, maxMs: number, random: number): number {
  const ceiling = Math.min(maxMs, 2 * minMs * 2 ** Math.min(failures, 30));
  return ceiling / 2 + random * (ceiling / 2);
}

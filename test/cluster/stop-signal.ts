/** Ctrl-C and its kin as an AbortSignal: the program ends what it has begun, in order, instead of being ended. */

/** Why a start did not come to its end. */
export class Stopped extends Error {
  constructor(signal: NodeJS.Signals) {
    super(`stopped by ${signal}`);
  }
}

export interface StopOnSignal extends Disposable {
  /** Aborts with `Stopped`. */
  readonly signal: AbortSignal;
  /** Settles then. */
  readonly wanted: Promise<void>;
}

/** From now on, until it is disposed of, SIGINT, SIGTERM and SIGHUP do not end this process; a second SIGINT does, at once. */
export function stopOnSignal(): StopOnSignal {
  const abort = new AbortController();
  const stop = (signal: NodeJS.Signals) => {
    if (abort.signal.aborted && signal === 'SIGINT') process.exit(130);
    abort.abort(new Stopped(signal));
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const signal of signals) process.on(signal, stop);
  return {
    signal: abort.signal,
    wanted: new Promise((resolve) => abort.signal.addEventListener('abort', () => resolve(), { once: true })),
    [Symbol.dispose]: () => {
      for (const signal of signals) process.off(signal, stop);
    },
  };
}

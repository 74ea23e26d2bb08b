import type { Log } from '../observe/log.ts';
import type { WorkQueue } from './queue.ts';
import { KubeStatusError } from './status-error.ts';

/** Brings one object to what it should be. Called again after a failure, and when it says so itself. */
export type Reconcile = (key: string, signal: AbortSignal) => Promise<{ requeueAfterMs?: number } | void>;

export interface ControlLoopOptions {
  readonly queue: WorkQueue;
  readonly reconcile: Reconcile;
  readonly log: Log;
  /** How many keys are worked on at once; never one key twice. Default 1. */
  readonly workers?: number;
}

/** Works until the signal aborts, then ends what is begun. Never rejects: what a reconcile throws is logged, and tried again with growing waits. */
export async function runControlLoop(options: ControlLoopOptions, signal: AbortSignal): Promise<void> {
  const { queue } = options;
  const stop = () => queue.shutDown();
  if (signal.aborted) stop();
  signal.addEventListener('abort', stop);
  await Promise.all(Array.from({ length: options.workers ?? 1 }, () => work(options, signal)));
  signal.removeEventListener('abort', stop);
}

async function work({ queue, reconcile, log }: ControlLoopOptions, signal: AbortSignal): Promise<void> {
  for (let key = await queue.take(); key !== undefined; key = await queue.take()) {
    try {
      const result = await reconcile(key, signal);
      queue.forget(key);
      if (result?.requeueAfterMs !== undefined) queue.addAfter(key, result.requeueAfterMs);
    } catch (err) {
      if (!signal.aborted) log.warn({ err, key }, 'a reconcile failed and is tried again');
      queue.addAfterFailure(key, err instanceof KubeStatusError ? err.retryAfterMs : undefined);
    } finally {
      queue.done(key);
    }
  }
}

import { OperatorError } from '../errors.ts';
import type { Clock } from './clock.ts';

/** A signal that aborts with its parent, or with ERR_KUBE_UNREACHABLE once the time is over. Dispose of it, or the parent keeps it alive. */
export class Deadline implements Disposable {
  readonly #controller = new AbortController();
  readonly #release: () => void;
  readonly #cancelTimer: () => void;

  constructor(clock: Clock, ms: number, request: string, parent?: AbortSignal) {
    const abort = () => this.#controller.abort(parent?.reason);
    if (parent?.aborted === true) abort();
    else parent?.addEventListener('abort', abort);
    this.#release = () => parent?.removeEventListener('abort', abort);
    this.#cancelTimer = clock.setTimer(ms, () => {
      this.#controller.abort(new OperatorError('ERR_KUBE_UNREACHABLE', `no answer within ${ms / 1000} s (${request})`));
    });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Time no longer matters; the parent still does. */
  lift(): void {
    this.#cancelTimer();
  }

  [Symbol.dispose](): void {
    this.#cancelTimer();
    this.#release();
  }
}

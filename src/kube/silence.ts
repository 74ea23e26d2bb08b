import { OperatorError } from '../errors.ts';
import type { Clock } from './clock.ts';
import { sleep } from './clock.ts';
import { isExpired, KubeStatusError } from './status-error.ts';

/** Bookmarks come every 60 s: to wait for one would find a dead stream only after more than a minute. */
const silenceMs = 45_000;
/** After an answer that says nothing about the stream, such as 429. */
const askAgainMs = 5_000;
/** An event that was just told elsewhere may still be on its way on the stream. */
const graceMs = 1_000;

export interface SilenceGuardOptions {
  readonly clock: Clock;
  readonly parent: AbortSignal;
  /** Whether there is anything that the stream should have told by now. */
  readonly ask: (signal: AbortSignal) => Promise<boolean>;
}

/** Watches over one stream: when nothing was heard for a while it asks elsewhere, and gives the stream up if that knows more. */
export class SilenceGuard implements Disposable {
  readonly #options: SilenceGuardOptions;
  readonly #controller = new AbortController();
  readonly #release: () => void;
  #cancelTimer: () => void = () => undefined;
  #heardAtMs: number;

  constructor(options: SilenceGuardOptions) {
    this.#options = options;
    const { clock, parent } = options;
    const abort = () => this.#controller.abort(parent.reason);
    if (parent.aborted) abort();
    parent.addEventListener('abort', abort);
    this.#release = () => parent.removeEventListener('abort', abort);
    this.#heardAtMs = clock.monotonicMs();
    this.#askIn(silenceMs);
  }

  /** Aborts with the parent, or with the reason why the stream was given up. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** To be called for everything the stream tells. */
  heard(): void {
    this.#heardAtMs = this.#options.clock.monotonicMs();
  }

  [Symbol.dispose](): void {
    this.#cancelTimer();
    this.#release();
    this.#controller.abort(new Error('the stream has ended'));
  }

  #askIn(ms: number): void {
    this.#cancelTimer = this.#options.clock.setTimer(ms, () => void this.#check());
  }

  async #check(): Promise<void> {
    const { clock, ask } = this.#options;
    const heardAtMs = this.#heardAtMs;
    const restMs = heardAtMs + silenceMs - clock.monotonicMs();
    if (restMs > 0) return this.#askIn(restMs);
    try {
      const missed = await ask(this.signal);
      if (missed) await sleep(clock, graceMs, this.signal);
      if (this.signal.aborted) return;
      if (missed && this.#heardAtMs === heardAtMs) throw new OperatorError('ERR_KUBE_UNREACHABLE', 'a watch is silent although there are events');
      // The answer is as good as a word of the stream itself.
      this.heard();
      this.#askIn(silenceMs);
    } catch (error) {
      if (this.signal.aborted) return;
      if (error instanceof KubeStatusError && !isExpired(error)) return this.#askIn(askAgainMs);
      this.#controller.abort(error);
    }
  }
}

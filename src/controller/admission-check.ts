/**
 * Asks the API server by dry run whether its admission policies (deploy/admission.yaml) agree with what this controller goes by. They hold literals
 * that were rendered when the operator was installed: an object that was edited in the cluster, a kustomization without deploy/render, or a policy
 * that was deleted makes the two differ, and nothing else would say so before somebody is refused, or before somebody is not.
 */
import type { KubeClient } from '../kube/client.ts';
import { sleep } from '../kube/clock.ts';
import type { Clock } from '../kube/clock.ts';
import { KubeStatusError } from '../kube/status-error.ts';
import type { Log } from '../observe/log.ts';
import { admissionQuestions } from './admission-questions.ts';
import type { AdmissionQuestion } from './admission-questions.ts';

export interface AdmissionCheckOptions {
  readonly client: KubeClient;
  readonly namespace: string;
  /** Image of the agents. */
  readonly image: string;
  readonly allowedRoots: () => readonly string[];
  /** Called when `difference` has changed. */
  readonly onChange: () => void;
  readonly log: Log;
  readonly clock: Clock;
}

const everyMs = 600_000;
/** While they differ: an admin who has mended it wants to see that. */
const whileDifferentMs = 30_000;
/** A difference is reported where it is still there after this time: in an upgrade the controller of the old image may lead for as long. */
const confirmAfterMs = 60_000;
/** Each API server learns of a change by a watch of its own. */
const followsAfterMs = 10_000;
const questionDeadlineMs = 5_000;
const advice = 'apply the operator again with its kustomization (kubectl apply -k deploy, or your own: examples/own)';

export class AdmissionCheck {
  readonly #options: AdmissionCheckOptions;
  #difference: string | undefined;
  /** What was asked for in vain the last time: it is logged once. */
  readonly #unanswered = new Set<string>();
  #recheck = false;
  #wake: () => void = () => undefined;

  constructor(options: AdmissionCheckOptions) {
    this.#options = options;
  }

  /** What differs and what an admin does next, in one sentence; undefined where nothing is known to differ. */
  get difference(): string | undefined {
    return this.#difference;
  }

  /** Asks until the signal aborts. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    let suspected = false;
    while (!signal.aborted) {
      const found = await this.#differences(signal);
      if (signal.aborted) return;
      const differs = found !== 'unknown' && found.length > 0;
      const confirmed = suspected || this.#difference !== undefined;
      if (found !== 'unknown' && (confirmed || !differs)) this.#report(found);
      suspected = differs;
      await this.#rest(differs && !confirmed ? confirmAfterMs : this.#difference === undefined ? everyMs : whileDifferentMs, signal);
    }
  }

  /** What the controller goes by has changed: asks again as soon as the API server's admission can have followed. */
  recheck(): void {
    this.#recheck = true;
    this.#wake();
  }

  #report(found: readonly string[]): void {
    const difference = found.length === 0 ? undefined : `${found.join('; ')}; ${advice}`;
    if (difference === this.#difference) return;
    this.#difference = difference;
    if (difference === undefined) this.#options.log.info({}, 'the admission policies agree with the controller');
    else this.#options.log.warn({ difference }, 'the admission policies differ from what the controller goes by');
    this.#options.onChange();
  }

  /** @returns `unknown` where no difference was found and not every question was answered */
  async #differences(signal: AbortSignal): Promise<readonly string[] | 'unknown'> {
    const { client, namespace, image, log } = this.#options;
    const found: string[] = [];
    let unanswered = false;
    for (const question of admissionQuestions({ client, namespace, image, allowedRoots: this.#options.allowedRoots() })) {
      if (signal.aborted) break;
      try {
        found.push(...question.differences(await answerTo(question, signal)));
        this.#unanswered.delete(question.what);
      } catch (err) {
        unanswered = true;
        const level = this.#unanswered.has(question.what) ? 'debug' : 'warn';
        this.#unanswered.add(question.what);
        if (!signal.aborted) log[level]({ err }, `the API server did not say whether admission takes ${question.what}`);
      }
    }
    return unanswered && found.length === 0 ? 'unknown' : found;
  }

  async #rest(ms: number, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    const woken = new AbortController();
    this.#wake = () => woken.abort();
    if (!this.#recheck) await sleep(clock, ms, AbortSignal.any([signal, woken.signal]));
    if (this.#recheck) await sleep(clock, followsAfterMs, signal);
    this.#recheck = false;
  }
}

/** `taken`, or the words with which one of our own policies refuses. @throws what is no answer of theirs, such as that of a webhook that knows no dry run */
async function answerTo(question: AdmissionQuestion, signal: AbortSignal): Promise<'taken' | { readonly refusal: string }> {
  try {
    await question.ask({ signal, deadlineMs: questionDeadlineMs, maxAttempts: 1, dryRun: true });
    return 'taken';
  } catch (error) {
    const refusal = error instanceof KubeStatusError ? /ValidatingAdmissionPolicy 'cachepolicy-[^']*' .*? denied request: (.*)$/s.exec(error.words)?.[1] : undefined;
    if (refusal === undefined) throw error;
    return { refusal };
  }
}

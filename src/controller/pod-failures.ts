import { plainText } from '../api/plain-text.ts';
import type { KubeClient } from '../kube/client.ts';
import type { Clock } from '../kube/clock.ts';
import type { KubeObject } from '../kube/objects.ts';
import { events } from '../kube/resource.ts';
import { KubeStatusError } from '../kube/status-error.ts';
import type { Log } from '../observe/log.ts';

export interface PodFailuresOptions {
  readonly client: KubeClient;
  readonly namespace: string;
  readonly log: Log;
  readonly clock: Clock;
}

interface EventObject extends KubeObject {
  readonly message?: string;
  readonly lastTimestamp?: string | null;
  readonly eventTime?: string | null;
  readonly series?: { readonly lastObservedTime?: string };
}

/** An answer is good for this long: reports call for a status many times a second. */
const askAgainMs = 10_000;
/** Kubernetes tries a pod that it could not make again within 17 minutes: what is older has passed. */
const recentMs = 20 * 60_000;
const mostEvents = 100;
const mostWords = 512;

/** Finds out why the pods of a DaemonSet cannot be made, such as for a quota: only the Events of the DaemonSet say so. */
export class PodFailures {
  readonly #options: PodFailuresOptions;
  readonly #answers = new Map<string, { readonly words: string | undefined; readonly atMs: number }>();

  constructor(options: PodFailuresOptions) {
    this.#options = options;
  }

  /**
   * @param daemonSet one that lacks pods
   * @returns the words of the latest failure; undefined where none is known
   * @throws what is no answer of the API server
   */
  async of({ metadata: { name, uid = '' } }: KubeObject, signal: AbortSignal): Promise<string | undefined> {
    const nowMs = this.#options.clock.monotonicMs();
    const known = this.#answers.get(uid);
    if (known !== undefined && nowMs - known.atMs < askAgainMs) return known.words;
    for (const [each, { atMs }] of this.#answers) if (nowMs - atMs >= askAgainMs) this.#answers.delete(each);
    const words = await this.#ask(name, uid, signal);
    this.#answers.set(uid, { words, atMs: nowMs });
    return words;
  }

  async #ask(name: string, uid: string, signal: AbortSignal): Promise<string | undefined> {
    const { client, namespace, log, clock } = this.#options;
    try {
      const list = await client.list<EventObject>(events, { namespace, fieldSelector: `involvedObject.uid=${uid},reason=FailedCreate`, limit: mostEvents, signal });
      const latest = list.items.toSorted((a, b) => timeOf(b) - timeOf(a))[0];
      return latest === undefined || clock.wallMs() - timeOf(latest) > recentMs ? undefined : wordsOf(latest, name);
    } catch (error) {
      if (!(error instanceof KubeStatusError)) throw error;
      log.warn({ err: error, daemonSet: name }, 'the Events of a DaemonSet cannot be read');
      return `its Events cannot be read (${error.words}); kubectl -n ${namespace} describe daemonset ${name} shows them`;
    }
  }
}

function timeOf({ lastTimestamp, eventTime, series }: EventObject): number {
  return Date.parse(series?.lastObservedTime ?? lastTimestamp ?? eventTime ?? '') || 0;
}

/** Without the random end of the pod's name, which would make it another message each time. */
function wordsOf({ message = '' }: EventObject, name: string): string {
  return plainText(message.replace(/^Error creating: /, '').replaceAll(new RegExp(`"(${name})-[a-z0-9]*"`, 'g'), '"$1"'), mostWords);
}

import { createHash } from 'node:crypto';

import { plainText } from '../api/plain-text.ts';
import type { Log } from '../observe/log.ts';
import type { KubeClient } from './client.ts';
import { systemClock } from './clock.ts';
import type { Clock } from './clock.ts';
import type { KubeObject } from './objects.ts';
import { events } from './resource.ts';
import { isAlreadyExists, isNotFound } from './status-error.ts';

/** What repeats is counted, and written at most this often. */
const flushMs = 30_000;
/** What did not repeat for this long begins a new Event, as in client-go. */
const seriesMs = 10 * 60_000;
/** Different things at once, each with an Event of its own. More than this are dropped until some end. */
const maxSeries = 256;
/** The API server refuses longer ones. */
const maxMessage = 1024;

export interface EventRecorderOptions {
  readonly client: KubeClient;
  readonly log: Log;
  /** Who reports, such as `cachepolicy-controller`. */
  readonly component: string;
  /** Which one of them: the name of the pod. */
  readonly instance: string;
  readonly clock?: Clock;
  /** Ends the recording: what was not written by then is lost. */
  readonly signal: AbortSignal;
}

export interface Happening {
  readonly regarding: KubeObject;
  readonly type: 'Normal' | 'Warning';
  /** One word in CamelCase. With the object and the type it decides what is the same happening again. */
  readonly reason: string;
  /** The latest one is shown. */
  readonly message: string;
}

interface EventObject extends KubeObject {
  count: number;
  firstTimestamp: string;
  lastTimestamp: string;
  message: string;
  [field: string]: unknown;
}

interface Series {
  readonly event: EventObject;
  /** The count that the API server has; 0 before the first write. */
  writtenCount: number;
  lastSeenMs: number;
  /** A write is on its way or due. */
  busy: boolean;
  cancelTimer: () => void;
}

/**
 * Tells people what happened to an object, in `kubectl describe`. One Event for what repeats, with a count (core/v1, where the message of a repeated
 * Event may change). Never throws and never waits: Events are best effort, and what cannot be written is logged.
 */
export class EventRecorder {
  readonly #options: EventRecorderOptions;
  readonly #clock: Clock;
  readonly #series = new Map<string, Series>();

  constructor(options: EventRecorderOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    options.signal.addEventListener('abort', () => this.#stop(), { once: true });
  }

  record(happening: Happening): void {
    if (this.#options.signal.aborted) return;
    for (const [known, ended] of this.#series) if (!ended.busy && this.#hasEnded(ended)) this.#series.delete(known);
    const { regarding, type, reason } = happening;
    const key = [regarding.kind, regarding.metadata.uid ?? regarding.metadata.name, type, reason].join('/');
    let series = this.#series.get(key);
    if (series === undefined) {
      if (this.#series.size >= maxSeries) return this.#options.log.warn({ reason }, 'too many different Events at once; this one is dropped');
      series = { event: this.#firstEvent(key, happening), writtenCount: 0, lastSeenMs: 0, busy: false, cancelTimer: () => undefined };
      this.#series.set(key, series);
    }
    const { event } = series;
    event.count += 1;
    event.lastTimestamp = this.#timestamp();
    event.message = plainText(happening.message, maxMessage);
    series.lastSeenMs = this.#clock.monotonicMs();
    if (!series.busy) void this.#write(series);
  }

  #firstEvent(key: string, { regarding, type, reason }: Happening): EventObject {
    const { apiVersion, kind, metadata } = regarding;
    const started = `${key}/${this.#options.instance}/${this.#clock.wallMs()}`;
    const suffix = createHash('sha256').update(started).digest('hex').slice(0, 16);
    // Events of cluster-scoped objects live in the namespace default: kubectl looks there.
    const namespace = metadata.namespace ?? 'default';
    return {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: { name: `${metadata.name.slice(0, 200)}.${suffix}`, namespace },
      involvedObject: { apiVersion, kind, name: metadata.name, namespace: metadata.namespace, uid: metadata.uid, resourceVersion: metadata.resourceVersion },
      type,
      reason,
      message: '',
      source: { component: this.#options.component, host: this.#options.instance },
      reportingComponent: this.#options.component,
      reportingInstance: this.#options.instance,
      firstTimestamp: this.#timestamp(),
      lastTimestamp: '',
      count: 0,
    };
  }

  /** Writes, rests, and writes again if there was more meanwhile or the write failed. */
  async #write(series: Series): Promise<void> {
    series.busy = true;
    const { event } = series;
    const count = event.count;
    try {
      await this.#put(series);
      series.writtenCount = count;
    } catch (err) {
      if (this.#options.signal.aborted) return;
      this.#options.log.warn({ err, reason: event['reason'] }, 'an Event was not written');
    }
    if (this.#options.signal.aborted) return;
    series.cancelTimer = this.#clock.setTimer(flushMs, () => {
      series.busy = false;
      if (event.count > series.writtenCount && !this.#hasEnded(series)) void this.#write(series);
    });
  }

  async #put({ event, writtenCount }: Series): Promise<void> {
    if (writtenCount > 0 && (await this.#update(event))) return;
    try {
      await this.#options.client.create(events, event, { signal: this.#options.signal });
    } catch (error) {
      // An earlier try arrived although its answer did not.
      if (!isAlreadyExists(error) || !(await this.#update(event))) throw error;
    }
  }

  /** False where the Event is gone: the API server keeps them for an hour. */
  async #update({ metadata, count, lastTimestamp, message }: EventObject): Promise<boolean> {
    const { name, namespace } = metadata;
    try {
      const body = { count, lastTimestamp, message };
      await this.#options.client.patch(events, { namespace, name }, { type: 'merge', body }, { signal: this.#options.signal });
      return true;
    } catch (error) {
      if (isNotFound(error)) return false;
      throw error;
    }
  }

  #hasEnded({ lastSeenMs }: Series): boolean {
    return this.#clock.monotonicMs() - lastSeenMs > seriesMs;
  }

  #stop(): void {
    for (const { cancelTimer } of this.#series.values()) cancelTimer();
    this.#series.clear();
  }

  #timestamp(): string {
    return `${new Date(this.#clock.wallMs()).toISOString().slice(0, 19)}Z`;
  }
}

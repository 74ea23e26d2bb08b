/**
 * Keeps a store equal to a collection of the API server: list, then watch, for ever. Every failure ends in another try; only the signal ends the loop.
 *
 * A stream may go silent without an end. Three things find that, each where the one before cannot: TCP keep-alive finds a peer that is gone within
 * 25 s (sockets.ts); after 45 s without an event a second watch, of one second, asks whether there was anything to hear (silence.ts; to open the
 * stream itself again would cost every quiet client a connection a minute, while 5,000 of them ask 83 times a second, which took 4 % of a core of
 * kube-apiserver 1.36); and a list now and then finds what even a lively stream left out.
 *
 * Resource versions may go back: an etcd was restored to an older revision. A watch from a version that is not reached yet is taken and stays silent,
 * so before each watch that continues an earlier one, and every few minutes of silence, a list of one object asks for the present version. Where it is
 * older than ours, everything is listed again.
 */
import type { Log } from '../observe/log.ts';
import { backoffMs, sleep, systemClock } from './clock.ts';
import type { Clock } from './clock.ts';
import type { KubeClient, Selection } from './client.ts';
import { Deadline } from './deadline.ts';
import { compareResourceVersions } from './objects.ts';
import type { KubeObject, WatchEvent } from './objects.ts';
import type { Resource } from './resource.ts';
import { SilenceGuard } from './silence.ts';
import { isExpired, KubeStatusError } from './status-error.ts';
import type { Fed } from './store.ts';

const pageSize = 500;
/** So often is a list tried by pages. One answer with everything cannot expire, but of 100,000 objects it takes more memory than there is. */
const pagedLists = 2;
const minBackoffMs = 800;
const maxBackoffMs = 30_000;
/** Between two openings of the stream, even if the server ends it at once. */
const minWatchGapMs = 1_000;
const probeSeconds = 1;
const probeDeadlineMs = 8_000;
/** Of a silent stream; one that ends is asked about at once. */
const askVersionAfterMs = 5 * 60_000;
/** The first end of a watch after this time leads to a list. */
const listAgainAfterMs = 15 * 60_000;

export interface ReflectorOptions<T extends KubeObject> extends Selection {
  readonly client: KubeClient;
  readonly resource: Resource;
  readonly store: Fed<T>;
  readonly log: Log;
  readonly clock?: Clock;
}

export class Reflector<T extends KubeObject = KubeObject> {
  readonly #options: ReflectorOptions<T>;
  readonly #clock: Clock;
  readonly #log: Log;
  /** Where the next watch continues; empty: list first. */
  #resourceVersion = '';
  #listedAtMs = -Infinity;
  /** When the server's version was last seen not to be older than ours. */
  #versionAskedAtMs = -Infinity;
  /** The server's version is older than ours. */
  #wentBack = false;
  #watchOpenedAtMs = -Infinity;
  #disconnectedAtMs: number | undefined;
  #failures = 0;
  /** How many lists in a row did not come to their end: the continue token expired under a slow reader. */
  #listsExpired = 0;

  constructor(options: ReflectorOptions<T>) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#log = options.log.child({ watch: options.resource.plural });
    this.#disconnectedAtMs = this.#clock.monotonicMs();
  }

  /** How long there has been no watch, in milliseconds; 0 while one is open. */
  get disconnectedMs(): number {
    return this.#disconnectedAtMs === undefined ? 0 : this.#clock.monotonicMs() - this.#disconnectedAtMs;
  }

  /** Runs until the signal aborts, and never rejects. Call it once. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#listIfNeeded(signal);
        await this.#watch(signal);
      } catch (error) {
        if (signal.aborted) return;
        if (isExpired(error)) this.#resourceVersion = '';
        await this.#backOff(error, signal);
      }
    }
  }

  async #backOff(error: unknown, signal: AbortSignal): Promise<void> {
    const retryAfterMs = (error instanceof KubeStatusError ? error.retryAfterMs : undefined) ?? 0;
    const waitMs = retryAfterMs + backoffMs(this.#failures++, minBackoffMs, maxBackoffMs, this.#clock.random());
    const level = isExpired(error) ? 'debug' : 'warn';
    this.#log[level]({ err: error, retryInMs: Math.round(waitMs) }, 'the watch failed and is tried again');
    await sleep(this.#clock, waitMs, signal);
  }

  async #listIfNeeded(signal: AbortSignal): Promise<void> {
    const startedAtMs = this.#clock.monotonicMs();
    const continues = this.#resourceVersion !== '' && startedAtMs - this.#listedAtMs < listAgainAfterMs;
    if (continues && !(await this.#versionsWentBack(signal))) return;
    if (this.#wentBack) this.#log.warn({ version: this.#resourceVersion }, 'resource versions went back: the storage of the API server was restored to an earlier state; everything is listed again');
    try {
      this.#resourceVersion = await this.#list(this.#listsExpired < pagedLists ? pageSize : undefined, signal);
    } catch (error) {
      if (isExpired(error)) this.#listsExpired += 1;
      throw error;
    }
    this.#listsExpired = 0;
    this.#wentBack = false;
    this.#listedAtMs = this.#versionAskedAtMs = startedAtMs;
  }

  async #list(limit: number | undefined, signal: AbortSignal): Promise<string> {
    const { client, resource, store } = this.#options;
    const selection = this.#selection();
    let resourceVersion = '';
    if (this.#wentBack) store.forgetDeleted();
    await store.replace(
      (async function* () {
        let next: string | undefined;
        do {
          const page = await client.list<T>(resource, { ...selection, limit, continue: next, signal, maxAttempts: 1 });
          signal.throwIfAborted();
          resourceVersion = page.metadata.resourceVersion ?? '';
          next = page.metadata.continue;
          yield page.items;
        } while (next !== undefined && next !== '');
      })(),
    );
    return resourceVersion;
  }

  async #watch(signal: AbortSignal): Promise<void> {
    const gapMs = this.#watchOpenedAtMs + minWatchGapMs - this.#clock.monotonicMs();
    if (gapMs > 0) await sleep(this.#clock, gapMs, signal);
    signal.throwIfAborted();
    this.#watchOpenedAtMs = this.#clock.monotonicMs();
    const timeoutSeconds = 300 + Math.floor(this.#clock.random() * 301);
    using guard = new SilenceGuard({ clock: this.#clock, parent: signal, ask: (stop) => this.#anythingToHear(stop) });
    try {
      for await (const event of await this.#open(timeoutSeconds, guard.signal)) {
        if (signal.aborted) return;
        guard.heard();
        this.#failures = 0;
        const version = event.object.metadata.resourceVersion;
        const isLate = compareResourceVersions(version, this.#resourceVersion) < 0;
        if (isLate && (await this.#versionsWentBack(guard.signal))) return;
        this.#options.store.apply(event);
        if (!isLate) this.#resourceVersion = version ?? this.#resourceVersion;
      }
      this.#failures = 0;
    } finally {
      this.#disconnectedAtMs ??= this.#clock.monotonicMs();
    }
  }

  async #open(timeoutSeconds: number, signal: AbortSignal): Promise<AsyncGenerator<WatchEvent<T>>> {
    const { client, resource } = this.#options;
    const stream = await client.watch<T>(resource, { ...this.#selection(), resourceVersion: this.#resourceVersion, timeoutSeconds, signal });
    this.#disconnectedAtMs = undefined;
    return stream;
  }

  /** True where a watch from the same place has events, or cannot have them yet. */
  async #anythingToHear(stop: AbortSignal): Promise<boolean> {
    using deadline = new Deadline(this.#clock, probeDeadlineMs, `WATCH ${this.#options.resource.plural}`, stop);
    const { client, resource } = this.#options;
    const options = { ...this.#selection(), resourceVersion: this.#resourceVersion, timeoutSeconds: probeSeconds, signal: deadline.signal };
    let anything = false;
    for await (const event of await client.watch(resource, options)) if (event.type !== 'BOOKMARK') anything = true;
    if (anything || this.#clock.monotonicMs() - this.#versionAskedAtMs < askVersionAfterMs) return anything;
    return this.#versionsWentBack(deadline.signal);
  }

  /** Whether the server's version is older than ours. One that is no number says nothing. */
  async #versionsWentBack(signal: AbortSignal): Promise<boolean> {
    if (this.#wentBack) return true;
    const { client, resource } = this.#options;
    const { metadata } = await client.list<T>(resource, { ...this.#selection(), limit: 1, signal, maxAttempts: 1 });
    this.#wentBack = compareResourceVersions(metadata.resourceVersion, this.#resourceVersion) < 0;
    this.#versionAskedAtMs = this.#clock.monotonicMs();
    return this.#wentBack;
  }

  #selection(): Selection {
    const { namespace, labelSelector, fieldSelector } = this.#options;
    return { namespace, labelSelector, fieldSelector };
  }
}

import { messageOf } from '../errors.ts';
import { sleep } from './clock.ts';
import type { Election } from './election.ts';
import { claimed } from './lease.ts';
import type { Lease } from './lease.ts';
import { compareResourceVersions } from './objects.ts';
import { Reflector } from './reflector.ts';
import { leases } from './resource.ts';
import { isAlreadyExists, isConflict, isNotFound } from './status-error.ts';
import { Store } from './store.ts';

/** Shorter than the lease, so that a try which hangs does not outlive what it was based on. */
const tryDeadlineMs = 5_000;

export interface HeldLease {
  readonly lease: Lease;
  /** When the write that got it was sent, on the monotonic clock. */
  readonly renewedAtMs: number;
}

/** Watches the lease and takes it as soon as it is free. Never gives up; undefined where the signal aborted first. */
export async function campaign(election: Election, signal: AbortSignal): Promise<HeldLease | undefined> {
  const stopWatching = new AbortController();
  const candidate = new Candidate(election);
  const watching = candidate.watch(stopWatching.signal);
  try {
    return await candidate.win(signal);
  } finally {
    stopWatching.abort();
    await watching;
  }
}

class Candidate {
  readonly #election: Election;
  #lease: Lease | undefined;
  /** When the lease was last seen to change, on our own clock: the times inside it are those of another machine. */
  #changedAtMs = 0;
  /** True until a read has shown what there is, also after a write that was refused. */
  #mustLook = true;
  #wake: () => void = () => undefined;
  /** Why it was not got, as it was last told. */
  #told = '';

  constructor(election: Election) {
    this.#election = election;
  }

  watch(signal: AbortSignal): Promise<void> {
    const { client, clock, log, namespace, name } = this.#election;
    const store = new Store<Lease>({ log });
    store.subscribe({
      added: (lease) => this.#hear(lease),
      updated: (lease) => this.#hear(lease),
      deleted: () => this.#take(undefined),
    });
    return new Reflector({ client, clock, log, store, resource: leases, namespace, fieldSelector: `metadata.name=${name}` }).run(signal);
  }

  async win(signal: AbortSignal): Promise<HeldLease | undefined> {
    const { clock, retryPeriodMs } = this.#election;
    while (!signal.aborted) {
      try {
        if (this.#mustLook) await this.#look(signal);
        const waitMs = this.#freeInMs();
        if (waitMs <= 0) return await this.#claim(signal);
        await this.#sleepUntilSeen(waitMs, signal);
      } catch (err) {
        if (signal.aborted) return undefined;
        this.#tell(err);
        this.#mustLook = true;
        await sleep(clock, retryPeriodMs * (1 + clock.random() / 5), signal);
      }
    }
    return undefined;
  }

  /** Once: it is tried again every other second, and mostly another candidate was only faster. */
  #tell(err: unknown): void {
    const message = messageOf(err);
    const expected = isConflict(err) || isAlreadyExists(err) || message === this.#told;
    this.#election.log[expected ? 'debug' : 'warn']({ err }, 'the lease was not got');
    if (!expected) this.#told = message;
  }

  async #look(signal: AbortSignal): Promise<void> {
    const { client, namespace, name } = this.#election;
    try {
      this.#take(await client.get<Lease>(leases, { namespace, name }, { signal, deadlineMs: tryDeadlineMs, maxAttempts: 1 }));
    } catch (error) {
      if (!isNotFound(error)) throw error;
      this.#take(undefined);
    }
    this.#mustLook = false;
  }

  /** The write is based on the very version that was seen to be free: had anyone written since, it is refused. */
  async #claim(signal: AbortSignal): Promise<HeldLease> {
    const { client, clock } = this.#election;
    const renewedAtMs = clock.monotonicMs();
    const lease = claimed(this.#lease, this.#election, clock.wallMs());
    const limits = { signal, deadlineMs: tryDeadlineMs, maxAttempts: 1 };
    const written = this.#lease === undefined ? await client.create(leases, lease, limits) : await client.replace(leases, lease, limits);
    return { lease: written, renewedAtMs };
  }

  /** An older version than is known: the watch is behind a read, or the API server's storage was restored to an earlier state. A read says which. */
  #hear(lease: Lease): void {
    if (compareResourceVersions(lease.metadata.resourceVersion, this.#lease?.metadata.resourceVersion) >= 0) return this.#take(lease);
    this.#mustLook = true;
    this.#wake();
  }

  #take(lease: Lease | undefined): void {
    if (JSON.stringify(lease?.spec) !== JSON.stringify(this.#lease?.spec)) this.#changedAtMs = this.#election.clock.monotonicMs();
    this.#lease = lease;
    this.#wake();
  }

  #freeInMs(): number {
    const { clock, identity, leaseDurationMs } = this.#election;
    const { holderIdentity = '', leaseDurationSeconds } = this.#lease?.spec ?? {};
    if (holderIdentity === '' || holderIdentity === identity) return 0;
    const durationMs = leaseDurationSeconds === undefined ? leaseDurationMs : leaseDurationSeconds * 1000;
    return this.#changedAtMs + durationMs - clock.monotonicMs();
  }

  async #sleepUntilSeen(ms: number, signal: AbortSignal): Promise<void> {
    const woken = new AbortController();
    this.#wake = () => woken.abort();
    signal.addEventListener('abort', this.#wake);
    await sleep(this.#election.clock, ms, woken.signal);
    signal.removeEventListener('abort', this.#wake);
  }
}

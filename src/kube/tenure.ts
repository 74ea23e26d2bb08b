import { OperatorError } from '../errors.ts';
import type { HeldLease } from './campaign.ts';
import type { Fence } from './client.ts';
import { sleep } from './clock.ts';
import type { Election, Leadership } from './election.ts';
import { claimed, released } from './lease.ts';
import type { Lease } from './lease.ts';
import { leases } from './resource.ts';
import { isConflict, isNotFound } from './status-error.ts';

/** A renewal that hangs is given up in time for another one before the deadline. */
const renewalDeadlineMs = 3_000;
/** The next leader waits for nothing but this. */
const releaseDeadlineMs = 2_000;

/** The time of one process as the leader. */
export class Tenure {
  readonly #election: Election;
  #lease: Lease;
  #renewedAtMs: number;
  #lost: OperatorError | undefined;

  constructor(election: Election, { lease, renewedAtMs }: HeldLease) {
    this.#election = election;
    this.#lease = lease;
    this.#renewedAtMs = renewedAtMs;
  }

  /** Works and renews until the work has ended, then releases the lease. @throws ERR_LEASE_LOST, and what the work throws */
  async serve(work: (leadership: Leadership) => Promise<void>, signal: AbortSignal): Promise<void> {
    const leadership = new AbortController();
    const stop = () => leadership.abort(signal.reason);
    if (signal.aborted) stop();
    signal.addEventListener('abort', stop);

    const ended = new AbortController();
    const renewing = this.#renewUntil(ended.signal, leadership);
    try {
      await work({ signal: leadership.signal, fence: this.#fence() });
    } catch (error) {
      // What fails because the lease is lost is not worth a word of its own.
      if (this.#lost === undefined) throw error;
    } finally {
      signal.removeEventListener('abort', stop);
      ended.abort();
      await renewing;
      if (this.#lost === undefined) await this.#release();
    }
    if (this.#lost !== undefined) throw this.#lost;
  }

  /** Judged by the time when the last successful renewal was sent, which is before anyone can have seen it. */
  #fence(): Fence {
    return {
      check: () => {
        if (this.#leftMs() <= 0) this.#lose('could not be renewed in time');
        if (this.#lost !== undefined) throw this.#lost;
      },
    };
  }

  async #renewUntil(ended: AbortSignal, leadership: AbortController): Promise<void> {
    const { clock, log, retryPeriodMs } = this.#election;
    for (;;) {
      await sleep(clock, Math.max(0, Math.min(retryPeriodMs, this.#leftMs())), ended);
      if (ended.aborted) return;
      if (this.#leftMs() > 0 && this.#lost === undefined) {
        await this.#renew().catch((err: unknown) => log.warn({ err }, 'the lease was not renewed'));
      }
      if (this.#leftMs() <= 0) this.#lose('could not be renewed in time');
      if (this.#lost !== undefined) return leadership.abort(this.#lost);
    }
  }

  async #renew(): Promise<void> {
    const { client, clock, namespace, name, identity } = this.#election;
    const sentAtMs = clock.monotonicMs();
    const limits = { deadlineMs: Math.min(renewalDeadlineMs, this.#leftMs()), maxAttempts: 1 };
    try {
      this.#lease = await client.replace(leases, claimed(this.#lease, this.#election, clock.wallMs()), limits);
      this.#renewedAtMs = sentAtMs;
    } catch (error) {
      if (isNotFound(error)) {
        // Somebody deleted it. If another one makes it again first, that is a conflict next time.
        this.#lease = await client.create(leases, claimed(undefined, this.#election, clock.wallMs()), limits);
        this.#renewedAtMs = sentAtMs;
        return;
      }
      if (!isConflict(error)) throw error;
      this.#lease = await client.get<Lease>(leases, { namespace, name }, limits);
      const holder = this.#lease.spec?.holderIdentity ?? '';
      if (holder !== identity) this.#lose(`is held by ${holder === '' ? 'nobody' : holder}`);
    }
  }

  async #release(): Promise<void> {
    const { client, clock, log } = this.#election;
    try {
      await client.replace(leases, released(this.#lease, clock.wallMs()), { deadlineMs: releaseDeadlineMs, maxAttempts: 1 });
    } catch (err) {
      log.warn({ err }, 'the lease was not released, and ends by itself');
    }
  }

  #leftMs(): number {
    return this.#renewedAtMs + this.#election.renewDeadlineMs - this.#election.clock.monotonicMs();
  }

  #lose(why: string): void {
    this.#lost ??= new OperatorError('ERR_LEASE_LOST', `lease ${this.#election.namespace}/${this.#election.name} ${why}`);
  }
}

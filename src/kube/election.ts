/**
 * Leader election on a Lease. It makes two leaders at once unlikely, not impossible: that no former leader writes is up to the fence, which every
 * write of a leader passes, and to resource versions.
 */
import type { Log } from '../observe/log.ts';
import { campaign } from './campaign.ts';
import type { Fence, KubeClient } from './client.ts';
import { systemClock } from './clock.ts';
import type { Clock } from './clock.ts';
import { Tenure } from './tenure.ts';

export interface ElectionOptions {
  readonly client: KubeClient;
  readonly namespace: string;
  readonly name: string;
  /** One for each process, and a new one for each start. */
  readonly identity: string;
  readonly log: Log;
  readonly clock?: Clock;
  /** Others take a lease that they have not seen renewed for this long. Default 15 s. */
  readonly leaseDurationMs?: number;
  /** A leader that could not renew for this long stops to be one. Default 10 s. */
  readonly renewDeadlineMs?: number;
  /** Between two renewals, or two tries to get the lease. Default 2 s. */
  readonly retryPeriodMs?: number;
}

export type Election = Required<ElectionOptions>;

export interface Leadership {
  /** Aborts when the process is to stop, and with ERR_LEASE_LOST when another may lead. */
  readonly signal: AbortSignal;
  /** For `client.fencedBy`: the work must not write but through such a client. */
  readonly fence: Fence;
}

/**
 * Waits to become the leader, then does the work until it ends, the signal aborts or the lease is lost; resolves when the work has ended and the
 * lease is released. While the work ends the lease is still held.
 * @throws ERR_LEASE_LOST another may lead; the process should start anew. Also what the work throws.
 */
export async function lead(options: ElectionOptions, work: (leadership: Leadership) => Promise<void>, signal: AbortSignal): Promise<void> {
  const election: Election = { clock: systemClock, leaseDurationMs: 15_000, renewDeadlineMs: 10_000, retryPeriodMs: 2_000, ...options };
  const won = await campaign(election, signal);
  if (won === undefined) return;
  election.log.info({ lease: election.name, identity: election.identity }, 'this process leads');
  await new Tenure(election, won).serve(work, signal);
}

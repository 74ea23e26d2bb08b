import { isDeepStrictEqual } from 'node:util';
import { childName, controllerFieldManager } from '../api/names.ts';
import type { CachePolicyStatus } from '../api/status.ts';
import type { KubeClient } from '../kube/client.ts';
import { systemClock } from '../kube/clock.ts';
import type { Clock } from '../kube/clock.ts';
import type { Happening } from '../kube/event-recorder.ts';
import type { KubeObject } from '../kube/objects.ts';
import { cachePolicies } from '../kube/resource.ts';
import { isConflict, isNotFound } from '../kube/status-error.ts';
import type { Store } from '../kube/store.ts';
import type { Log } from '../observe/log.ts';
import type { Departed } from '../policy/departed.ts';
import { happeningsBetween } from '../policy/happenings.ts';
import { isPodless, rollUp } from '../policy/roll-up.ts';
import type { RollUpInput } from '../policy/roll-up.ts';
import { TokenBucket } from '../policy/token-bucket.ts';
import type { Admission, PolicyObject } from './admission.ts';
import { admit } from './admission.ts';
import type { DaemonSet } from './children.ts';
import { Departures } from './departures.ts';
import type { Inventory } from './inventory.ts';
import { PodFailures } from './pod-failures.ts';
import { Provision } from './provision.ts';
import type { Unapplied } from './provision.ts';
import type { NodeCacheObject, ReportRecord } from './records.ts';
import type { Standings } from './standings.ts';

export interface ReconcilerOptions {
  /** Fenced: after the lease is lost nothing is written any more. */
  readonly client: KubeClient;
  readonly policies: Store<PolicyObject>;
  readonly daemonSets: Store<DaemonSet>;
  readonly configMaps: Store<KubeObject>;
  readonly nodeCaches: Store<ReportRecord, NodeCacheObject>;
  readonly inventory: Inventory;
  /** Calls for a reconcile of each policy that it decides about. */
  readonly standings: Pick<Standings, 'of'>;
  /** How the admission policies differ from what this controller goes by (admission-check.ts). */
  readonly admissionDifference: () => string | undefined;
  readonly namespace: string;
  readonly image: string;
  /** Told of what an admin would look for, after the status that shows it was written. */
  readonly record: (happening: Happening) => void;
  readonly log: Log;
  readonly clock?: Clock;
}

/** A status changes at most this often: at once twice, then every 5 s. */
const statusBurst = 2;
const statusEveryMs = 5_000;
/** How long the watch is given to show what the server has already. */
const staleViewMs = 1_000;
/** Reports grow old and pods stay silent without an event. */
const lookAgainMs = 30_000;
/** Departed nodes of which some are left are continued with after this. */
const removeMoreMs = 1_000;

/** What is known of a policy before its reports are looked at. */
interface Standing extends Admission {
  /** Where the API server does not take the policy's objects. */
  readonly unapplied: Unapplied | undefined;
  readonly departed: Departed;
  /** Why pods of agents that are missing cannot be made. */
  readonly unmade: string | undefined;
}

/** Brings the children and the status of one CachePolicy to what they should be. */
export class Reconciler {
  readonly #options: ReconcilerOptions;
  readonly #clock: Clock;
  readonly #buckets = new Map<string, TokenBucket>();
  /** The last status of each policy, and the version that it made. */
  readonly #written = new Map<string, { readonly status: CachePolicyStatus; readonly resourceVersion: string | undefined }>();
  readonly #provision: Provision;
  readonly #departures: Departures;
  readonly #podFailures: PodFailures;

  constructor(options: ReconcilerOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#departures = new Departures(options);
    this.#podFailures = new PodFailures({ ...options, clock: this.#clock });
    this.#provision = new Provision({ ...options, clock: this.#clock });
  }

  async reconcile(name: string, signal: AbortSignal): Promise<{ requeueAfterMs?: number } | void> {
    const policy = this.#options.policies.get(name);
    if (policy === undefined || policy.metadata.deletionTimestamp !== undefined) return this.#forget(name);
    const decision = this.#options.standings.of(policy);
    if (decision === undefined) return;
    const admission = admit(policy, decision.assessment, decision.winner, this.#clock.wallMs());
    const children = await this.#provision.bring(policy, admission, signal);
    if (children === 'Outdated') return { requeueAfterMs: staleViewMs };
    const unapplied = children === 'Applied' ? undefined : children;
    const busy = await this.#departures.remove(policy, signal);
    const unmade = await this.#unmade(name, signal);
    // From here to the status nothing waits: both are made of the same view of the reports.
    const { departed, more } = this.#departures.next(policy, !this.#isPodless(policy));
    const waitMs = await this.#publish(policy, { ...admission, unapplied, departed, unmade }, signal);
    return { requeueAfterMs: Math.min(waitMs > 0 ? waitMs : lookAgainMs, more || busy ? removeMoreMs : Infinity, unapplied?.retryInMs ?? Infinity) };
  }

  /** Then the pods that are missing do not say that their nodes departed. */
  #isPodless({ metadata: { name }, status }: PolicyObject): boolean {
    return isPodless({ fleet: this.#options.inventory.fleet(name), ...this.#counted(name), previous: status });
  }

  /** @returns how long the next status has to wait, where this one came too soon; else 0 */
  async #publish(policy: PolicyObject, standing: Standing, signal: AbortSignal): Promise<number> {
    const { client } = this.#options;
    const { name, resourceVersion } = policy.metadata;
    const status = this.#rollUp(policy, standing);
    if (this.#isShown(policy, status)) return 0;
    const bucket = this.#buckets.get(name) ?? new TokenBucket(statusBurst, statusEveryMs, this.#clock.monotonicMs());
    this.#buckets.set(name, bucket);
    const waitMs = bucket.waitMs(this.#clock.monotonicMs());
    if (waitMs > 0) return waitMs;
    bucket.spend(this.#clock.monotonicMs());
    // The version makes two leaders at once harmless: the one with the older view is refused.
    const metadata = { name, ...(resourceVersion !== undefined && { resourceVersion }) };
    const { apiVersion, kind } = policy;
    try {
      const taken = await client.applyStatus(cachePolicies, { apiVersion, kind, metadata, status } as unknown as KubeObject, { fieldManager: controllerFieldManager, signal });
      this.#written.set(name, { status, resourceVersion: taken.metadata.resourceVersion });
    } catch (error) {
      // Our own last write is not seen yet, or somebody changed the policy: either comes by the watch. Or it is gone.
      if (isConflict(error) || isNotFound(error)) return staleViewMs;
      throw error;
    }
    for (const happening of happeningsBetween(policy.status, status)) this.#options.record({ regarding: policy, ...happening });
    return 0;
  }

  /** To write it would change nothing: it stands there, or what the API server made of it when it was written (somebody else's fields stay). */
  #isShown({ metadata: { name, resourceVersion }, status: shown }: PolicyObject, status: CachePolicyStatus): boolean {
    const written = this.#written.get(name);
    return isDeepStrictEqual(status, shown) || (written?.resourceVersion === resourceVersion && isDeepStrictEqual(status, written?.status));
  }

  #rollUp(policy: PolicyObject, { accepted, unapplied, departed, unmade }: Standing): CachePolicyStatus {
    const { name, uid = '', generation = 0 } = policy.metadata;
    return rollUp({
      policy: { uid, generation, cacheNames: policy.spec.caches.map((cache) => cache.name), maxUnavailable: policy.spec.rollout?.maxUnavailable ?? '10%' },
      accepted,
      unapplied,
      admissionDifference: this.#options.admissionDifference(),
      ...this.#counted(name),
      fleet: this.#options.inventory.fleet(name),
      previous: policy.status,
      departed,
      unmade,
      nowMs: this.#clock.wallMs(),
    });
  }

  /** Nodes by what Kubernetes counts for the DaemonSet; `desired` is undefined until it has counted the present one. */
  #counted(policyName: string): Pick<RollUpInput, 'desired' | 'lacking' | 'misscheduled'> {
    const { metadata, status } = this.#daemonSet(policyName) ?? {};
    if (status?.observedGeneration === undefined || status.observedGeneration !== metadata?.generation) return { desired: undefined };
    const { desiredNumberScheduled: desired, currentNumberScheduled: current, numberMisscheduled: misscheduled } = status;
    return { desired, misscheduled, lacking: desired === undefined || current === undefined ? undefined : Math.max(0, desired - current) };
  }

  async #unmade(policyName: string, signal: AbortSignal): Promise<string | undefined> {
    const daemonSet = this.#daemonSet(policyName);
    return daemonSet !== undefined && (this.#counted(policyName).lacking ?? 0) > 0 ? this.#podFailures.of(daemonSet, signal) : undefined;
  }

  #daemonSet(policyName: string): DaemonSet | undefined {
    return this.#options.daemonSets.get(`${this.#options.namespace}/${childName(policyName)}`);
  }

  /** Its objects go by their owner references, and its NodeCaches likewise. */
  #forget(name: string): void {
    this.#buckets.delete(name);
    this.#written.delete(name);
    this.#options.inventory.forget(name);
    this.#provision.forget(name);
  }
}

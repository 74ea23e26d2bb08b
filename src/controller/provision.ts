import { childName, controllerFieldManager } from '../api/names.ts';
import type { KubeClient } from '../kube/client.ts';
import type { Clock } from '../kube/clock.ts';
import { backoffMs } from '../kube/clock.ts';
import type { KubeObject } from '../kube/objects.ts';
import { keyOf } from '../kube/objects.ts';
import { cachePolicies, configMaps, daemonSets } from '../kube/resource.ts';
import { isConflict, isNotFound, KubeStatusError } from '../kube/status-error.ts';
import type { Store } from '../kube/store.ts';
import type { Log } from '../observe/log.ts';
import { TokenBucket } from '../policy/token-bucket.ts';
import type { Admission, PolicyObject } from './admission.ts';
import { appliedHashAnnotation, desiredChildren } from './children.ts';
import type { DaemonSet } from './children.ts';
import { foreignParts } from './foreign-parts.ts';

export interface ProvisionOptions {
  readonly client: KubeClient;
  readonly daemonSets: Pick<Store<DaemonSet>, 'get'>;
  readonly configMaps: Pick<Store, 'get'>;
  readonly namespace: string;
  readonly image: string;
  readonly log: Log;
  readonly clock: Clock;
}

/** The API server does not take the objects of a policy. */
export interface Unapplied {
  /** What it said. */
  readonly words: string;
  /** It is to be told: nothing that passes by itself. */
  readonly lasts: boolean;
  /** When it is tried again, in milliseconds. */
  readonly retryInMs: number;
}

/**
 * Admission learns of a new image or of new roots by watches of its own, each API server for itself: what one refuses right after such a change it
 * takes a moment later. That is no news for an admin.
 */
const standsAfterMs = 10_000;
/** What is no refusal for good, such as a webhook that fails, is told, too, once it lasts longer than an outage. */
const outageMs = 600_000;
/** Between two tries of what was not taken: reports come many times a second, and each leads here. */
const minRetryMs = 500;
const maxRetryMs = 30_000;

/** The same is written over what somebody else made of it so often at once, and then in this time: two that contend would keep the API server busy. */
const contentionBurst = 10;
const contentionEveryMs = 5_000;

interface Refusal {
  readonly error: KubeStatusError;
  /** What somebody else added, for which it may be refused. */
  readonly foreign: string | undefined;
  /** What was not taken. Anything else is tried at once. */
  readonly wanted: string;
  /** From then on it is told. */
  readonly tellAtMs: number;
  readonly failures: number;
  readonly retryAtMs: number;
}

/** Brings the ConfigMap and the DaemonSet of each policy to what they should be. */
export class Provision {
  readonly #options: ProvisionOptions;
  /** What was applied last, by object: its hash and the version the server gave it. */
  readonly #applied = new Map<string, string>();
  readonly #refusals = new Map<string, Refusal>();
  /** By object: what is written, and how often the same may be written yet. */
  readonly #paces = new Map<string, { readonly hash: string | undefined; readonly bucket: TokenBucket }>();

  constructor(options: ProvisionOptions) {
    this.#options = options;
  }

  /**
   * @returns `Outdated` where the API server knows better than our view, which the watch will bring up to date
   * @throws what is no answer of the API server
   */
  async bring(policy: PolicyObject, admission: Admission, signal: AbortSignal): Promise<'Applied' | 'Outdated' | Unapplied> {
    const { log } = this.#options;
    const { name } = policy.metadata;
    const children = this.#wanted(policy, admission);
    const wanted = children.map(hashOf).join();
    const refusal = this.#refusals.get(name);
    if (refusal?.wanted === wanted && refusal.retryAtMs > this.#nowMs) return this.#unapplied(refusal);
    try {
      const contended: number[] = [];
      for (const child of children) {
        const waitMs = await this.#apply(policy, child, signal);
        if (waitMs === 'Outdated') return waitMs;
        if (waitMs > 0) contended.push(waitMs);
      }
      this.#refusals.delete(name);
      return contended.length === 0 ? 'Applied' : { words: 'somebody else changes them again and again', lasts: false, retryInMs: Math.min(...contended) };
    } catch (error) {
      if (!(error instanceof KubeStatusError)) throw error;
      log.warn({ err: error, policy: name }, 'the API server does not take the objects of a policy; they are tried again');
      const foreign = children.filter(({ kind }) => kind === 'DaemonSet').map((child) => foreignParts(this.#options.daemonSets.get(keyOf(child)), child))[0];
      return this.#unapplied(this.#refused(policy, { error, foreign, wanted }));
    }
  }

  /** The policy is gone, and its objects go by their owner references. */
  forget(policyName: string): void {
    this.#refusals.delete(policyName);
    for (const kept of [this.#applied, this.#paces]) {
      for (const key of kept.keys()) if (key.endsWith(`/${childName(policyName)}`)) kept.delete(key);
    }
  }

  /**
   * A policy that is not accepted starts no agents, and brings those that it has to no other nodes: they run at the highest priority. Agents that run already are told,
   * as are those that somebody left behind without their DaemonSet.
   */
  #wanted(policy: PolicyObject, { accepted, compiled, rootsInUse }: Admission): readonly KubeObject[] {
    const { namespace, image, daemonSets, configMaps } = this.#options;
    const key = `${namespace}/${childName(policy.metadata.name)}`;
    if (accepted.status === 'True') return desiredChildren({ policy, compiled, rootsInUse, namespace, image });
    const agents = daemonSets.get(key);
    const present = { ConfigMap: agents ?? configMaps.get(key), DaemonSet: agents };
    const children = desiredChildren({ policy, compiled, rootsInUse, namespace, image, placement: agents?.spec?.template?.spec });
    return children.filter(({ kind }) => present[kind as keyof typeof present] !== undefined);
  }

  get #nowMs(): number {
    return this.#options.clock.monotonicMs();
  }

  /** @returns how long it has to wait, because somebody else changes it as often as it is written; else 0 */
  async #apply(policy: PolicyObject, child: KubeObject, signal: AbortSignal): Promise<number | 'Outdated'> {
    const { client, log } = this.#options;
    const [resource, store] = child.kind === 'DaemonSet' ? [daemonSets, this.#options.daemonSets] : [configMaps, this.#options.configMaps];
    const present = store.get(keyOf(child));
    if (present !== undefined && this.#applied.get(childKey(child)) === versionOf(child, present)) return 0;
    const bucket = this.#paceOf(child);
    const waitMs = bucket.waitMs(this.#nowMs);
    if (waitMs > 0) return waitMs;
    if (present === undefined && !(await this.#isCurrent(policy, signal))) return 'Outdated';
    try {
      const applied = await client.apply(resource, basedOn(present, child), { fieldManager: controllerFieldManager, signal });
      this.#applied.set(childKey(child), versionOf(child, applied));
    } catch (error) {
      if (isConflict(error)) return 'Outdated';
      if (present === undefined || !(error instanceof KubeStatusError) || !this.#stands(present, child, error)) throw error;
      this.#applied.set(childKey(child), versionOf(child, present));
      log.info({ policy: policy.metadata.name, kind: child.kind }, 'not taken, and there already');
      return 0;
    }
    bucket.spend(this.#nowMs);
    const about = { policy: policy.metadata.name, kind: child.kind };
    if (bucket.waitMs(this.#nowMs) > 0) log.warn(about, 'somebody else changes this object again and again');
    log.info(about, 'applied');
    return 0;
  }

  #paceOf(child: KubeObject): TokenBucket {
    const known = this.#paces.get(childKey(child));
    if (known !== undefined && known.hash === hashOf(child)) return known.bucket;
    const bucket = new TokenBucket(contentionBurst, contentionEveryMs, this.#nowMs);
    this.#paces.set(childKey(child), { hash: hashOf(child), bucket });
    return bucket;
  }

  /**
   * In an upgrade a replica of the old image may come to lead once more. Admission takes no agents of that image any more, and needs not to: they are
   * there. What this process has seen otherwise is another matter: somebody changed it.
   */
  #stands(present: KubeObject, child: KubeObject, error: KubeStatusError): boolean {
    return isFinal(error) && !this.#applied.has(childKey(child)) && hashOf(present) === hashOf(child);
  }

  /** Asked before a child is made: those of a policy that is gone would come back, with agents that enforce it, until the garbage collector sees them. */
  async #isCurrent({ metadata: { name, uid, generation } }: PolicyObject, signal: AbortSignal): Promise<boolean> {
    try {
      const { metadata } = await this.#options.client.get(cachePolicies, { name }, { signal });
      return metadata.uid === uid && metadata.generation === generation && metadata.deletionTimestamp === undefined;
    } catch (error) {
      if (isNotFound(error)) return false;
      throw error;
    }
  }

  #refused({ metadata: { name }, status }: PolicyObject, { error, foreign, wanted }: Pick<Refusal, 'error' | 'foreign' | 'wanted'>): Refusal {
    const before = this.#refusals.get(name);
    const programmed = status?.conditions?.some((condition) => condition.type === 'Programmed' && condition.status === 'True') === true;
    const failures = before?.wanted === wanted ? before.failures + 1 : 0;
    const waitMs = (error.retryAfterMs ?? 0) + backoffMs(failures, minRetryMs, maxRetryMs, this.#options.clock.random());
    const tellAtMs = before?.tellAtMs ?? this.#nowMs + (programmed ? standsAfterMs : 0);
    const refusal = { error, foreign, wanted, tellAtMs, failures, retryAtMs: this.#nowMs + waitMs };
    this.#refusals.set(name, refusal);
    return refusal;
  }

  #unapplied({ error, foreign, tellAtMs, retryAtMs }: Refusal): Unapplied {
    return { words: foreign === undefined ? error.words : `${foreign}. ${error.words}`, lasts: this.#nowMs >= tellAtMs + (isFinal(error) ? 0 : outageMs), retryInMs: retryAtMs - this.#nowMs };
  }
}

/** However often it is asked: a person has to do something. Everything else passes, if only after an outage. */
function isFinal({ status }: KubeStatusError): boolean {
  return [400, 403, 404, 422].includes(status);
}

function childKey(child: KubeObject): string {
  return `${child.kind}/${child.metadata.name}`;
}

/**
 * The version makes sure that an older view, such as that of a former leader, never undoes what a newer one wrote.
 * An object that is gone would be made again whatever version is named; the uid makes that a conflict, too.
 */
function basedOn(present: KubeObject | undefined, child: KubeObject): KubeObject {
  const { uid, resourceVersion } = present?.metadata ?? {};
  return { ...child, metadata: { ...child.metadata, ...(uid !== undefined && { uid }), ...(resourceVersion !== undefined && { resourceVersion }) } };
}

function hashOf({ metadata }: KubeObject): string | undefined {
  return metadata.annotations?.[appliedHashAnnotation];
}

/** Changes where somebody else changed the object, or we want another one. Status writes count for a ConfigMap and a DaemonSet alike as no change. */
function versionOf(desired: KubeObject, present: KubeObject): string {
  return `${hashOf(desired)}@${present.metadata.generation ?? present.metadata.resourceVersion}`;
}

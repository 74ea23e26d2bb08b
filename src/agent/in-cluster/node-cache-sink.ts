import { settleConditions } from '../../api/conditions.ts';
import type { Condition } from '../../api/conditions.ts';
import { agentFieldManager, apiVersion, nodeCacheName, policyLabel } from '../../api/names.ts';
import type { NodeCache } from '../../api/nodecache.gen.ts';
import { messageOf } from '../../errors.ts';
import type { KubeClient } from '../../kube/client.ts';
import { sleep, systemClock } from '../../kube/clock.ts';
import type { Clock } from '../../kube/clock.ts';
import type { KubeObject } from '../../kube/objects.ts';
import { nodeCaches } from '../../kube/resource.ts';
import { isConflict, isNotFound, isRefusedAsTooMany, KubeStatusError } from '../../kube/status-error.ts';
import type { Log } from '../../observe/log.ts';
import type { CompiledPolicy } from '../../policy/compiled.ts';
import { noLimits } from '../../policy/limits.ts';
import type { CacheState, NodeReport, Totals } from '../../policy/node-report.ts';
import { isoSeconds, nodeReport } from '../../policy/node-report.ts';
import type { ReportSink } from '../loop.ts';
import type { Occasion } from '../report-pacing.ts';
import { isMaterial, ReportPacing } from '../report-pacing.ts';
import type { Refusal } from './config-map-source.ts';
import { EvictionLedger, evictionsOf } from './eviction-ledger.ts';
import type { Identity } from './identity.ts';

type NodeCacheObject = NodeCache & KubeObject;
/** As much of a policy as a report says. */
type Subject = Pick<CompiledPolicy, 'policy'>;

export interface NodeCacheSinkOptions {
  readonly client: KubeClient;
  readonly identity: Identity;
  readonly agentVersion: string;
  readonly log: Log;
  readonly clock?: Clock;
}

/** How often it is looked whether something is worth a report. */
const lookMs = 500;
const retryMs = 5_000;
/** As long as the API server lets a request queue. Longer would put off the report after an outage in which nothing was answered. */
const answerMs = 15_000;
/** A connection may break under a request at any time. What fails twice fails for longer, and the pace of the reports is the pace of the tries. */
const tries = 2;
/**
 * Thousands of agents are one flow for the API server, which lets 300 wait and refuses the others: those must not come back faster than it answers.
 * After an outage each has a status to write, and an admin waits for it; one that has just started makes its NodeCache first, and nobody waits.
 */
const refusedSpreadMs = { status: 20_000, start: 60_000 };

/** Publishes the state of this node as its NodeCache, and nothing else in the cluster. */
export class NodeCacheSink implements ReportSink {
  readonly #options: NodeCacheSinkOptions;
  readonly #clock: Clock;
  readonly #pacing: ReportPacing;
  #latest: { policy: CompiledPolicy; states: readonly CacheState[] } | undefined;
  #refusal: Refusal | undefined;
  #wanted: { policy: Subject; report: NodeReport } | undefined;
  #told: { policy: Subject; report: NodeReport } | undefined;
  /** The policy that the last try to deliver spoke of. */
  #tried: Subject | undefined;
  readonly #ledger = new EvictionLedger();
  /** The policy uid whose NodeCache is known to exist, and that NodeCache's own. */
  #createdFor: string | undefined;
  #uid: string | undefined;
  #conditions: readonly Partial<Condition>[] = [];
  #retryAtMs = 0;
  /** The last delivery failed: whatever is wanted now goes out as soon as it may, a mere heartbeat too. */
  #owed = false;

  constructor(options: NodeCacheSinkOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#pacing = new ReportPacing(this.#clock.monotonicMs(), () => this.#clock.random());
  }

  /** True once a report has been delivered. */
  get hasReported(): boolean {
    return this.#told !== undefined;
  }

  report(policy: CompiledPolicy, states: readonly CacheState[]): void {
    this.#ledger.count(policy.policy.uid, states);
    this.#latest = { policy, states };
    this.#wanted = { policy, report: nodeReport(states, this.#refusal) };
  }

  /** The latest policy cannot be read, and the one before it stays in force; undefined: it can again. */
  refuse(refusal: Refusal | undefined): void {
    if (refusal?.message === this.#refusal?.message) return;
    this.#refusal = refusal;
    if (this.#latest === undefined) return;
    const { policy, states } = this.#latest;
    this.#wanted = { policy, report: nodeReport(states, refusal) };
  }

  /**
   * Makes this node's NodeCache, and reads from the answer what an earlier agent had counted here for the same policy and node.
   * @throws KubeStatusError, ERR_KUBE_UNREACHABLE
   */
  async introduce(policy: Subject, signal: AbortSignal): Promise<ReadonlyMap<string, Totals>> {
    if (this.#isPolicyGone) return new Map();
    const object = await this.#introduceOnce(policy, signal);
    const status = this.#ownStatus(policy, object);
    if (status === undefined) {
      if (object.status?.policyUID === policy.policy.uid) await this.#withdraw(policy, object.status, signal);
      return new Map();
    }
    this.#conditions = (status.conditions ?? []) as Partial<Condition>[];
    const lastEvictionAtMs = status.lastEvictionTime === undefined ? null : Date.parse(status.lastEvictionTime);
    return new Map((status.caches ?? []).map(({ name, totals }) => [name, {
      evictedEntries: totals?.evictedEntries ?? 0, evictedBytes: totals?.evictedBytes ?? 0,
      revived: totals?.revived ?? 0, raced: totals?.raced ?? 0, lastEvictionAtMs,
    }]));
  }

  /** A NodeCache that is applied now would name an owner that is gone, and be deleted at once, again and again. */
  get #isPolicyGone(): boolean {
    return this.#refusal?.reason === 'PolicyGone';
  }

  /** Nobody waits for the turn of one that was refused as one too many: it is made with the first report, which keeps to that turn. */
  async #introduceOnce(policy: Subject, signal: AbortSignal): Promise<NodeCacheObject> {
    try {
      return await this.#create(policy, signal, 1);
    } catch (error) {
      if (isRefusedAsTooMany(error)) this.#putOff(error);
      throw error;
    }
  }

  /** The report of an earlier node of this name may look like ours: a node that comes back at once keeps its pods. Of it only the evictions count on. */
  async #withdraw(policy: Subject, { policyUID, ...status }: NonNullable<NodeCacheObject['status']>, signal: AbortSignal): Promise<void> {
    const { identity: { nodeUID }, agentVersion } = this.#options;
    await this.#applyStatus(policy, { policyUID, nodeUID, agentVersion, ...evictionsOf(status) } as NodeCacheObject['status'], signal);
  }

  /** Delivers what is worth telling until the signal comes. A delivery that fails is tried again; the next report replaces it. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await sleep(this.#clock, lookMs, signal);
      const nowMs = this.#clock.monotonicMs();
      if (signal.aborted || nowMs < this.#retryAtMs) continue;
      if (this.#wanted === undefined) await this.#standIn(signal);
      else if (this.#isDue(nowMs)) await this.#deliver(this.#wanted, signal);
    }
  }

  /** No policy has ever been in force here because none can be read: that is told, with what earlier agents had counted. */
  async #standIn(signal: AbortSignal): Promise<void> {
    const refusal = this.#refusal;
    if (refusal?.subject === undefined) return;
    const policy = { policy: { ...refusal.subject, generation: 0 } };
    try {
      const totals = await this.introduce(policy, signal);
      const states = [...totals].map(([name, counted]) => ({ name, limits: noLimits, look: undefined, lastRun: undefined, totals: counted, problem: undefined }));
      this.#wanted ??= { policy, report: nodeReport(states, refusal) };
    } catch (error) {
      if (!signal.aborted) this.#failed(error);
    }
  }

  #isDue(nowMs: number): boolean {
    if (this.#isPolicyGone && this.#createdFor === undefined) return false;
    if (this.#pacing.heartbeatDue(nowMs)) return true;
    const [wanted, told] = [this.#wanted, this.#told];
    if (wanted === undefined || this.#pacing.waitMs(nowMs, this.#occasion(wanted.policy)) > 0) return false;
    if (this.#owed) return true;
    if (wanted === told) return false;
    return wanted.policy !== told?.policy || isMaterial(told.report, wanted.report);
  }

  #occasion(policy: Subject): Occasion {
    return { newGeneration: policy !== this.#tried };
  }

  async #deliver(wanted: { policy: Subject; report: NodeReport }, signal: AbortSignal): Promise<void> {
    const { policy, report } = wanted;
    this.#pacing.spent(this.#clock.monotonicMs(), this.#occasion(policy));
    this.#tried = policy;
    try {
      if (this.#createdFor !== policy.policy.uid) await this.#create(policy, signal);
      const conditions = settleConditions(report.findings, this.#conditions, policy.policy.generation, isoSeconds(this.#clock.wallMs()));
      const evicted = this.#ledger.evicted;
      await this.#applyStatus(policy, { ...this.#status(policy, report), ...evicted, conditions } as NodeCacheObject['status'], signal);
      this.#ledger.delivered(evicted);
      this.#conditions = conditions;
      this.#told = wanted;
      this.#owed = false;
    } catch (error) {
      if (signal.aborted) return;
      // Somebody deleted it, or made another one: the next try makes it again, or the policy is gone and this pod will be, too.
      if (isNotFound(error) || isConflict(error)) this.#createdFor = undefined;
      this.#owed = true;
      this.#failed(error);
    }
  }

  #failed(error: unknown): void {
    this.#putOff(error);
    this.#options.log.warn({ err: error }, `the report could not be delivered and is tried again: ${messageOf(error)}`);
  }

  #putOff(error: unknown): void {
    const askedMs = (error instanceof KubeStatusError ? error.retryAfterMs : undefined) ?? 0;
    const spreadMs = isRefusedAsTooMany(error) ? this.#clock.random() * refusedSpreadMs[this.#createdFor === undefined ? 'start' : 'status'] : 0;
    this.#retryAtMs = this.#clock.monotonicMs() + Math.max(retryMs, askedMs) + spreadMs;
  }

  async #create(policy: Subject, signal: AbortSignal, maxAttempts = tries): Promise<NodeCacheObject> {
    const created = await this.#options.client.apply(nodeCaches, this.#object(policy), { fieldManager: agentFieldManager, deadlineMs: answerMs, maxAttempts, refusedSpreadMs: refusedSpreadMs.start, signal });
    this.#createdFor = policy.policy.uid;
    this.#uid = created.metadata.uid;
    const evicted = created.status?.policyUID === policy.policy.uid ? evictionsOf(created.status) : undefined;
    this.#ledger.open(policy.policy.uid, { uid: this.#uid ?? '', evicted, caches: this.#ownStatus(policy, created)?.caches });
    return created;
  }

  /** What a NodeCache says for this policy and this node, if it speaks of them. */
  #ownStatus({ policy }: Subject, { status }: NodeCacheObject): NodeCacheObject['status'] {
    return status?.policyUID === policy.uid && status.nodeUID === this.#options.identity.nodeUID ? status : undefined;
  }

  async #applyStatus(policy: Subject, status: NodeCacheObject['status'], signal: AbortSignal): Promise<void> {
    await this.#options.client.applyStatus(nodeCaches, this.#object(policy, status), { fieldManager: agentFieldManager, deadlineMs: answerMs, maxAttempts: tries, refusedSpreadMs: refusedSpreadMs.status, signal });
  }

  #object(policy: Subject, status?: NodeCacheObject['status']): NodeCacheObject {
    const { name, uid } = policy.policy;
    const { nodeName } = this.#options.identity;
    const metadata = { name: nodeCacheName(name, nodeName) };
    // The uid makes it a conflict where it is another one than the evictions were counted for.
    if (status !== undefined) return { apiVersion, kind: 'NodeCache', metadata: { ...metadata, uid: this.#uid }, spec: { policyName: name, nodeName }, status } as NodeCacheObject;
    return {
      apiVersion, kind: 'NodeCache',
      metadata: { ...metadata, labels: { [policyLabel]: name }, ownerReferences: [{ apiVersion, kind: 'CachePolicy', name, uid }] },
      spec: { policyName: name, nodeName },
    } as NodeCacheObject;
  }

  #status(policy: Subject, report: NodeReport) {
    const { findings: _, ...figures } = report;
    const { nodeUID, podUID } = this.#options.identity;
    return {
      observedGeneration: policy.policy.generation, policyUID: policy.policy.uid, nodeUID, podUID,
      agentVersion: this.#options.agentVersion, reportTime: isoSeconds(this.#clock.wallMs()), ...figures,
    } as NodeCacheObject['status'];
  }
}

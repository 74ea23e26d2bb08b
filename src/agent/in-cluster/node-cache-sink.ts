import { settleConditions } from '../../api/conditions.ts';
import type { Condition } from '../../api/conditions.ts';
import { agentFieldManager, apiVersion, nodeCacheName, policyLabel } from '../../api/names.ts';
import type { NodeCache } from '../../api/nodecache.gen.ts';
import { messageOf } from '../../errors.ts';
import type { KubeClient } from '../../kube/client.ts';
import { sleep, systemClock } from '../../kube/clock.ts';
import type { KubeObject } from '../../kube/objects.ts';
import { nodeCaches } from '../../kube/resource.ts';
import { isNotFound } from '../../kube/status-error.ts';
import type { Log } from '../../observe/log.ts';
import type { CompiledPolicy } from '../../policy/compiled.ts';
import type { CacheState, NodeReport, Totals } from '../../policy/node-report.ts';
import { isoSeconds, nodeReport } from '../../policy/node-report.ts';
import type { ReportSink } from '../loop.ts';
import type { Occasion } from '../report-pacing.ts';
import { isMaterial, ReportPacing } from '../report-pacing.ts';
import type { Identity } from './identity.ts';

type NodeCacheObject = NodeCache & KubeObject;

export interface NodeCacheSinkOptions {
  readonly client: KubeClient;
  readonly identity: Identity;
  readonly agentVersion: string;
  readonly log: Log;
}

/** How often it is looked whether something is worth a report. */
const lookMs = 500;
const retryMs = 5_000;

/** Publishes the state of this node as its NodeCache, and nothing else in the cluster. */
export class NodeCacheSink implements ReportSink {
  readonly #options: NodeCacheSinkOptions;
  readonly #clock = systemClock;
  readonly #pacing = new ReportPacing(this.#clock.monotonicMs());
  #wanted: { policy: CompiledPolicy; report: NodeReport } | undefined;
  #told: { policy: CompiledPolicy; report: NodeReport } | undefined;
  /** The policy that the last try to deliver spoke of. */
  #tried: CompiledPolicy | undefined;
  /** The policy uid whose NodeCache is known to exist. */
  #createdFor: string | undefined;
  #conditions: readonly Partial<Condition>[] = [];
  #retryAtMs = 0;
  /** The last delivery failed: whatever is wanted now goes out as soon as it may, a mere heartbeat too. */
  #owed = false;

  constructor(options: NodeCacheSinkOptions) {
    this.#options = options;
  }

  /** True once a report has been delivered. */
  get hasReported(): boolean {
    return this.#told !== undefined;
  }

  report(policy: CompiledPolicy, states: readonly CacheState[]): void {
    this.#wanted = { policy, report: nodeReport(states) };
  }

  /**
   * Makes this node's NodeCache, and reads from the answer what an earlier agent had counted here for the same policy and node.
   * @throws KubeStatusError, ERR_KUBE_UNREACHABLE
   */
  async introduce(policy: CompiledPolicy, signal: AbortSignal): Promise<ReadonlyMap<string, Totals>> {
    const object = await this.#create(policy, signal);
    const { status } = object;
    if (status?.policyUID !== policy.policy.uid || status.nodeUID !== this.#options.identity.nodeUID) return new Map();
    this.#conditions = (status.conditions ?? []) as Partial<Condition>[];
    const lastEvictionAtMs = status.lastEvictionTime === undefined ? null : Date.parse(status.lastEvictionTime);
    return new Map((status.caches ?? []).map(({ name, totals }) => [name, {
      evictedEntries: totals?.evictedEntries ?? 0, evictedBytes: totals?.evictedBytes ?? 0,
      revived: totals?.revived ?? 0, raced: totals?.raced ?? 0, lastEvictionAtMs,
    }]));
  }

  /** Delivers what is worth telling until the signal comes. A delivery that fails is tried again; the next report replaces it. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await sleep(this.#clock, lookMs, signal);
      const nowMs = this.#clock.monotonicMs();
      if (signal.aborted || this.#wanted === undefined || nowMs < this.#retryAtMs || !this.#isDue(nowMs)) continue;
      await this.#deliver(this.#wanted, signal);
    }
  }

  #isDue(nowMs: number): boolean {
    if (this.#pacing.heartbeatDue(nowMs)) return true;
    const [wanted, told] = [this.#wanted, this.#told];
    if (wanted === undefined || this.#pacing.waitMs(nowMs, this.#occasion(wanted.policy)) > 0) return false;
    if (this.#owed) return true;
    if (wanted === told) return false;
    return wanted.policy !== told?.policy || isMaterial(told.report, wanted.report);
  }

  #occasion(policy: CompiledPolicy): Occasion {
    return { newGeneration: policy !== this.#tried };
  }

  async #deliver(wanted: { policy: CompiledPolicy; report: NodeReport }, signal: AbortSignal): Promise<void> {
    const { policy, report } = wanted;
    this.#pacing.spent(this.#clock.monotonicMs(), this.#occasion(policy));
    this.#tried = policy;
    try {
      if (this.#createdFor !== policy.policy.uid) await this.#create(policy, signal);
      const conditions = settleConditions(report.findings, this.#conditions, policy.policy.generation, isoSeconds(Date.now()));
      await this.#options.client.applyStatus(nodeCaches, this.#object(policy, { ...this.#status(policy, report), conditions }), { fieldManager: agentFieldManager, signal });
      this.#conditions = conditions;
      this.#told = wanted;
      this.#owed = false;
    } catch (error) {
      if (signal.aborted) return;
      // Somebody deleted it: the next try makes it again, or the policy is gone and this pod will be, too.
      if (isNotFound(error)) this.#createdFor = undefined;
      this.#owed = true;
      this.#retryAtMs = this.#clock.monotonicMs() + retryMs;
      this.#options.log.warn({ err: error }, `the report could not be delivered and is tried again: ${messageOf(error)}`);
    }
  }

  async #create(policy: CompiledPolicy, signal: AbortSignal): Promise<NodeCacheObject> {
    const created = await this.#options.client.apply(nodeCaches, this.#object(policy), { fieldManager: agentFieldManager, signal });
    this.#createdFor = policy.policy.uid;
    return created;
  }

  #object(policy: CompiledPolicy, status?: NodeCacheObject['status']): NodeCacheObject {
    const { name, uid } = policy.policy;
    const { nodeName } = this.#options.identity;
    const metadata = { name: nodeCacheName(name, nodeName) };
    if (status !== undefined) return { apiVersion, kind: 'NodeCache', metadata, spec: { policyName: name, nodeName }, status } as NodeCacheObject;
    return {
      apiVersion, kind: 'NodeCache',
      metadata: { ...metadata, labels: { [policyLabel]: name }, ownerReferences: [{ apiVersion, kind: 'CachePolicy', name, uid }] },
      spec: { policyName: name, nodeName },
    } as NodeCacheObject;
  }

  #status(policy: CompiledPolicy, report: NodeReport) {
    const { findings: _, ...figures } = report;
    const { nodeUID, podUID } = this.#options.identity;
    return {
      observedGeneration: policy.policy.generation, policyUID: policy.policy.uid, nodeUID, podUID,
      agentVersion: this.#options.agentVersion, reportTime: isoSeconds(Date.now()), ...figures,
    } as NodeCacheObject['status'];
  }
}

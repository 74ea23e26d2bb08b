import { nodeCacheName, policyLabel } from '../api/names.ts';
import type { KubeClient } from '../kube/client.ts';
import { nodeCaches, pods } from '../kube/resource.ts';
import { isConflict, isNotFound, KubeStatusError } from '../kube/status-error.ts';
import type { Store } from '../kube/store.ts';
import type { Log } from '../observe/log.ts';
import type { Departed, Leaving } from '../policy/departed.ts';
import { nextDeparted } from '../policy/departed.ts';
import type { PolicyObject } from './admission.ts';
import type { Inventory } from './inventory.ts';
import type { ReportRecord } from './records.ts';

export interface DeparturesOptions {
  readonly client: KubeClient;
  readonly inventory: Inventory;
  readonly nodeCaches: Pick<Store<ReportRecord>, 'get'>;
  readonly namespace: string;
  readonly log: Log;
}

/** A node without an agent for this long is gone for good, and its NodeCache is removed; a pod that is replaced is away for less. */
const departedAfterMs = 60_000;
/** Bounds the list in the status, and the time for which a status waits. */
const removedAtOnce = 50;

/**
 * Removes the reports of nodes that have had no agent for a while: the node is gone, or no longer selected. A report is removed only after the status
 * names it as leaving, with what it had evicted: a controller that ends in between leaves behind all that its successor needs to count it once.
 */
export class Departures {
  readonly #options: DeparturesOptions;

  constructor(options: DeparturesOptions) {
    this.#options = options;
  }

  /** What the next status says of departed nodes. @param removes false: no further node counts as departed */
  next({ metadata: { name, uid = '' }, status }: PolicyObject, removes: boolean): { readonly departed: Departed; readonly more: boolean } {
    const present = (nodeName: string) => this.#options.nodeCaches.get(nodeCacheName(name, nodeName))?.metadata;
    return nextDeparted(status?.departed, present, removes ? this.#candidates(name, uid) : [], removedAtOnce);
  }

  /**
   * Removes the reports that the present status names. One that stays all the same, such as for a finalizer of somebody else, is tried again after a minute.
   * @returns whether some have to be tried again soon
   * @throws what is no answer of the API server
   */
  async remove({ metadata: { name }, status }: PolicyObject, signal: AbortSignal): Promise<boolean> {
    const { inventory, log } = this.#options;
    const leaving = status?.departed?.leaving ?? [];
    if (leaving.length === 0) return false;
    const agentless = new Map(inventory.agentless(name, departedAfterMs).map((report) => [report.nodeName, report]));
    for (const { nodeName = '', uid, resourceVersion } of leaving) {
      const report = agentless.get(nodeName);
      if (report === undefined || report.metadata.uid !== uid || report.metadata.resourceVersion !== resourceVersion) continue;
      inventory.postpone(report);
      try {
        if (!(await this.#hasAgent(report, signal))) await this.#removeReport(report, signal);
      } catch (err) {
        if (!(err instanceof KubeStatusError)) throw err;
        log.warn({ err, policy: name, node: nodeName }, 'the report of a departed node was not removed; it is tried again');
        // The status must not wait for the same answer to all the others, each only after some tries.
        if (isBusy(err)) return true;
      }
    }
    return false;
  }

  *#candidates(policyName: string, policyUID: string): Generator<Leaving> {
    for (const { metadata: { uid = '', resourceVersion = '' }, nodeName, figures } of this.#options.inventory.agentless(policyName, departedAfterMs)) {
      const own = figures?.policyUID === policyUID ? figures : undefined;
      yield { nodeName, uid, resourceVersion, evictedEntries: own?.evictedEntries ?? 0, evictedBytes: own?.evictedBytes ?? 0 };
    }
  }

  /** Asked before a report is removed: the watch may have missed the pod. */
  async #hasAgent({ policyName, nodeName }: ReportRecord, signal: AbortSignal): Promise<boolean> {
    const { client, namespace } = this.#options;
    const selection = { namespace, labelSelector: `${policyLabel}=${policyName}`, fieldSelector: `spec.nodeName=${nodeName}` };
    return (await client.list(pods, { ...selection, limit: 1, signal })).items.length > 0;
  }

  /** Only the version that the status names: what was reported later is counted first, and a new object of the same name stays. */
  async #removeReport({ metadata: { name, uid, resourceVersion }, policyName, nodeName }: ReportRecord, signal: AbortSignal): Promise<void> {
    const preconditions = { ...(uid !== undefined && { uid }), ...(resourceVersion !== undefined && { resourceVersion }) };
    try {
      await this.#options.client.delete(nodeCaches, { name }, { signal, preconditions });
      this.#options.log.info({ policy: policyName, node: nodeName }, 'removed the report of a departed node');
    } catch (error) {
      if (!isNotFound(error) && !isConflict(error)) throw error;
    }
  }
}

function isBusy({ status }: KubeStatusError): boolean {
  return status === 429 || status >= 500;
}

import { policyLabel } from '../api/names.ts';
import type { KubeClient } from '../kube/client.ts';
import { nodeCaches, pods } from '../kube/resource.ts';
import { isConflict, isNotFound, KubeStatusError } from '../kube/status-error.ts';
import type { Log } from '../observe/log.ts';
import type { Inventory } from './inventory.ts';
import type { ReportRecord } from './records.ts';

export interface DeparturesOptions {
  readonly client: KubeClient;
  readonly inventory: Inventory;
  readonly namespace: string;
  readonly log: Log;
}

/** A node without an agent for this long is gone for good, and its NodeCache goes; a pod that is replaced is away for less. */
const departedAfterMs = 60_000;
/** A status must not wait for thousands of nodes to be tidied away. */
const removedAtOnce = 50;

/** Removes the reports of nodes that have had no agent for a while: the node is gone, or no longer selected. */
export class Departures {
  readonly #options: DeparturesOptions;

  constructor(options: DeparturesOptions) {
    this.#options = options;
  }

  /**
   * Removes some; one that stays all the same, such as for a finalizer that somebody put there, has its turn again after a minute.
   * @returns whether there are more
   * @throws what is no answer of the API server
   */
  async remove(policyName: string, signal: AbortSignal): Promise<boolean> {
    const { inventory, log } = this.#options;
    let looked = 0;
    for (const report of inventory.agentless(policyName, departedAfterMs)) {
      if ((looked += 1) > removedAtOnce) return true;
      inventory.postpone(report);
      try {
        if (!(await this.#hasAgent(report, signal))) await this.#removeReport(report, signal);
      } catch (err) {
        if (!(err instanceof KubeStatusError)) throw err;
        log.warn({ err, policy: policyName, node: report.nodeName }, 'the report of a departed node was not removed; it is tried again');
        // One that is busy answers all the others so, and each only after some tries: the status must not wait for that.
        if (isBusy(err)) return true;
      }
    }
    return false;
  }

  /** Asked before a report is removed: the watch may have missed the pod. */
  async #hasAgent({ policyName, nodeName }: ReportRecord, signal: AbortSignal): Promise<boolean> {
    const { client, namespace } = this.#options;
    const selection = { namespace, labelSelector: `${policyLabel}=${policyName}`, fieldSelector: `spec.nodeName=${nodeName}` };
    return (await client.list(pods, { ...selection, limit: 1, signal })).items.length > 0;
  }

  /** Only as it was counted: one that was made anew under the same name stays, and one that says more than was seen until that has been. */
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

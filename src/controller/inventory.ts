import { nodeCacheName } from '../api/names.ts';
import type { Clock } from '../kube/clock.ts';
import { systemClock } from '../kube/clock.ts';
import type { Store } from '../kube/store.ts';
import { Fleet } from '../policy/fleet.ts';
import type { PodRecord, ReportRecord } from './records.ts';
import { isAgentsOwn } from './records.ts';

/** The nodes of one policy. */
interface Nodes {
  readonly fleet: Fleet;
  readonly pods: Map<string, readonly PodRecord[]>;
  /** Reports of nodes without an agent's pod, and since when; the longest first. */
  readonly agentless: Map<string, { readonly report: ReportRecord; readonly sinceMs: number }>;
}

/** Reports and agents' pods, by the policy they belong to; counted as the stores tell, so that a look costs the same however many there are. */
export class Inventory {
  readonly #reports: Pick<Store<ReportRecord>, 'get' | 'subscribe'>;
  readonly #clock: Clock;
  readonly #nodes = new Map<string, Nodes>();
  readonly #subscriptions: readonly (() => void)[];

  constructor(reports: Pick<Store<ReportRecord>, 'get' | 'subscribe'>, pods: Pick<Store<PodRecord>, 'subscribe'>, onChange: (policyName: string) => void, clock: Clock = systemClock) {
    this.#reports = reports;
    this.#clock = clock;
    const report = (record: ReportRecord, change: (record: ReportRecord) => void) => {
      if (!isAgentsOwn(record)) return;
      change(record);
      onChange(record.policyName);
    };
    const put = (record: ReportRecord) => report(record, () => this.#putReport(record));
    const pod = (now: PodRecord | undefined, before: PodRecord | undefined) => {
      this.#putPod(now, before);
      onChange((now ?? before)?.policyName ?? '');
    };
    this.#subscriptions = [
      reports.subscribe({ added: put, updated: put, deleted: (record) => report(record, () => this.#removeReport(record)) }),
      pods.subscribe({ added: (now) => pod(now, undefined), updated: pod, deleted: (before) => pod(undefined, before) }),
    ];
  }

  end(): void {
    for (const unsubscribe of this.#subscriptions) unsubscribe();
  }

  /** Of how many policies anything is remembered. */
  get size(): number {
    return this.#nodes.size;
  }

  fleet(policyName: string): Fleet {
    return this.#nodesOf(policyName).fleet;
  }

  /** Reports of nodes that have had no agent for so long. */
  *agentless(policyName: string, forMs: number): Generator<ReportRecord> {
    const untilMs = this.#clock.monotonicMs() - forMs;
    for (const { report, sinceMs } of this.#nodesOf(policyName).agentless.values()) {
      if (sinceMs > untilMs) return;
      yield report;
    }
  }

  /** As if its node had lost its agent just now. */
  postpone(report: ReportRecord): void {
    if (this.#nodesOf(report.policyName).agentless.get(report.nodeName)?.report === report) this.#nowAgentless(report);
  }

  /** The policy is gone; to be called again when the last of its reports and pods has gone, too. */
  forget(policyName: string): void {
    const { fleet, pods } = this.#nodesOf(policyName);
    if (fleet.size === 0 && pods.size === 0) this.#nodes.delete(policyName);
  }

  #putReport(report: ReportRecord): void {
    const { policyName, nodeName, figures } = report;
    const { fleet, pods, agentless } = this.#nodesOf(policyName);
    fleet.setReport(nodeName, figures, this.#clock.wallMs());
    const known = agentless.get(nodeName);
    if (known?.report.metadata.uid === report.metadata.uid) agentless.set(nodeName, { report, sinceMs: known?.sinceMs ?? 0 });
    else if (agentOf(pods.get(nodeName)) === undefined) this.#nowAgentless(report);
  }

  #removeReport({ policyName, nodeName }: ReportRecord): void {
    const { fleet, agentless } = this.#nodesOf(policyName);
    fleet.setReport(nodeName, undefined, this.#clock.wallMs());
    agentless.delete(nodeName);
  }

  #putPod(now: PodRecord | undefined, before: PodRecord | undefined): void {
    const moved = before?.policyName !== now?.policyName || before?.agent?.nodeName !== now?.agent?.nodeName;
    if (before !== undefined && moved) this.#setPods(before, []);
    if (now !== undefined) this.#setPods(now, [now]);
  }

  /** Puts these in the place of the pod of the same name. */
  #setPods({ metadata: { name }, policyName, agent }: PodRecord, records: readonly PodRecord[]): void {
    if (agent === undefined) return;
    const { nodeName } = agent;
    const { pods } = this.#nodesOf(policyName);
    const others = (pods.get(nodeName) ?? []).filter((each) => each.metadata.name !== name);
    pods.set(nodeName, [...others, ...records]);
    if (others.length + records.length === 0) pods.delete(nodeName);
    this.#putAgent(policyName, nodeName);
  }

  #putAgent(policyName: string, nodeName: string): void {
    const { fleet, pods, agentless } = this.#nodesOf(policyName);
    const agent = agentOf(pods.get(nodeName));
    fleet.setAgent(nodeName, agent, this.#clock.wallMs());
    if (agent !== undefined) agentless.delete(nodeName);
    const report = this.#reports.get(nodeCacheName(policyName, nodeName));
    if (agent === undefined && report !== undefined) this.#nowAgentless(report);
  }

  /** Last in the order, which is that of time. */
  #nowAgentless(report: ReportRecord): void {
    const { agentless } = this.#nodesOf(report.policyName);
    agentless.delete(report.nodeName);
    agentless.set(report.nodeName, { report, sinceMs: this.#clock.monotonicMs() });
  }

  #nodesOf(policyName: string): Nodes {
    const known = this.#nodes.get(policyName);
    if (known !== undefined) return known;
    const made = { fleet: new Fleet(), pods: new Map(), agentless: new Map() };
    this.#nodes.set(policyName, made);
    return made;
  }
}

/** Of two pods on one node the one that stays counts: not the one that is ending, and of others the younger. */
function agentOf(pods: readonly PodRecord[] = []) {
  return [...pods].sort((a, b) => Number(a.ending) - Number(b.ending) || b.createdAt.localeCompare(a.createdAt))[0]?.agent;
}

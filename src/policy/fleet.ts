import { Foremost } from './foremost.ts';
import type { NodeFigures } from './node-figures.ts';
import { judge, lacksImage } from './node-verdict.ts';
import type { AgentPod, NodeVerdict, Vantage } from './node-verdict.ts';
import { byNodeName, ReportSums, saturated } from './report-sums.ts';

interface NodeState {
  readonly nodeName: string;
  report?: NodeFigures | undefined;
  agent?: AgentPod | undefined;
  /** How it is counted at present. */
  verdict?: NodeVerdict | undefined;
}

const secondMs = 1_000;
/** Between the clocks of a cluster that keeps time. */
const clockSkewMs = 60_000;

/**
 * The nodes of one policy, counted as they change: what a report costs does not grow with the cluster. Each node counts by its verdict; a change of the
 * node, or the end of the verdict's time, takes the old one out of the sums and puts the new one in.
 */
export class Fleet {
  readonly #nodes = new Map<string, NodeState>();
  /** Nodes by the second in which their verdict ends: a few hundred at most, however many nodes. */
  readonly #ending = new Map<number, Set<NodeState>>();
  #vantage: Vantage | undefined;
  #agents = 0;
  #settledAgents = 0;
  #evictedEntries = 0n;
  #evictedBytes = 0n;
  readonly #evictions = new Foremost(1, byLastEviction);
  /** Reports that count, and the last words of nodes between two agents. */
  readonly fresh = new ReportSums();
  readonly awaited = new ReportSums();
  readonly notStarted = new Foremost<AgentPod>(3, byNodeName);
  readonly withoutImage = new Foremost<AgentPod>(3, byNodeName);
  /** Nodes with an agent that has not reported, and those of which nothing fresh is known although it should be. */
  readonly notReporting = new Foremost<{ readonly nodeName: string }>(10, byNodeName);
  readonly stale = new Foremost<{ readonly nodeName: string }>(10, byNodeName);

  /** How many nodes have a report or a pod of an agent. */
  get size(): number {
    return this.#nodes.size;
  }

  /** How many nodes have a pod of an agent. */
  get agents(): number {
    return this.#agents;
  }

  /** Of those, pods that are so old that every count of nodes includes them. */
  get settledAgents(): number {
    return this.#settledAgents;
  }

  /** By all reports to this policy, fresh or not. */
  get evicted(): { readonly evictedEntries: number; readonly evictedBytes: number } {
    return { evictedEntries: saturated(this.#evictedEntries), evictedBytes: saturated(this.#evictedBytes) };
  }

  get lastEvictionTime(): string | undefined {
    return this.#evictions.first()[0]?.lastEvictionTime;
  }

  /** @param report undefined: there is none any more */
  setReport(nodeName: string, report: NodeFigures | undefined, nowMs: number): void {
    // Before anybody asks, the first report tells for whom to count: so that a list of many is counted as it comes.
    if (this.#vantage === undefined && report !== undefined) this.look({ policyUID: report.policyUID, podless: this.#agents === 0, nowMs });
    this.#change(nodeName, nowMs, (node) => (node.report = report));
  }

  /** @param agent undefined: there is none any more */
  setAgent(nodeName: string, agent: AgentPod | undefined, nowMs: number): void {
    this.#change(nodeName, nowMs, (node) => {
      this.#agents += Number(agent !== undefined) - Number(node.agent !== undefined);
      node.agent = agent;
    });
  }

  /** Brings the sums to what they are for this policy at this time. */
  look(vantage: Vantage): void {
    const before = this.#vantage;
    this.#vantage = vantage;
    if (before?.policyUID !== vantage.policyUID || before.podless !== vantage.podless || vantage.nowMs < before.nowMs) {
      for (const node of this.#nodes.values()) this.#judge(node, vantage);
      return;
    }
    for (const [second, nodes] of this.#ending) {
      if (second * secondMs > vantage.nowMs) continue;
      for (const node of nodes) if ((node.verdict?.untilMs ?? 0) <= vantage.nowMs) this.#judge(node, vantage);
    }
  }

  #change(nodeName: string, nowMs: number, change: (node: NodeState) => void): void {
    const node = this.#nodes.get(nodeName) ?? { nodeName };
    this.#takeOut(node);
    change(node);
    if (node.report === undefined && node.agent === undefined) {
      this.#nodes.delete(nodeName);
      return;
    }
    this.#nodes.set(nodeName, node);
    if (this.#vantage === undefined) return;
    if (nowMs > this.#vantage.nowMs) this.#vantage = { ...this.#vantage, nowMs };
    this.#judge(node, this.#vantage);
  }

  #judge(node: NodeState, vantage: Vantage): void {
    this.#takeOut(node);
    const verdict = judge(node.report, node.agent, vantage);
    node.verdict = verdict;
    this.#count(node, verdict, 1);
  }

  #takeOut(node: NodeState): void {
    if (node.verdict !== undefined) this.#count(node, node.verdict, -1);
    node.verdict = undefined;
  }

  #count(node: NodeState, verdict: NodeVerdict, sign: 1 | -1): void {
    const { report, agent } = node;
    const change = sign === 1 ? 'add' : 'remove';
    if (report !== undefined && verdict.reported) this.#countEvictions(report, sign);
    if (report !== undefined && verdict.report === 'Fresh') this.fresh[change](report);
    if (report !== undefined && verdict.report === 'Awaited') this.awaited[change](report);
    const each = sign === 1 ? 'add' : 'delete';
    if (agent !== undefined && verdict.notStarted) (lacksImage(agent) ? this.withoutImage : this.notStarted)[each](agent);
    if (agent !== undefined && verdict.report === 'None') this.notReporting[each](node);
    if (verdict.stale) this.stale[each](node);
    if (verdict.settledAgent) this.#settledAgents += sign;
    if (Number.isFinite(verdict.untilMs)) this.#countEnding(node, Math.floor(verdict.untilMs / secondMs), sign);
  }

  #countEvictions(report: NodeFigures, sign: 1 | -1): void {
    this.#evictedEntries += BigInt(sign * report.evictedEntries);
    this.#evictedBytes += BigInt(sign * report.evictedBytes);
    if (sign === -1) this.#evictions.delete(report);
    else if (isPast(report.lastEvictionTime, this.#vantage?.nowMs)) this.#evictions.add(report);
  }

  #countEnding(node: NodeState, second: number, sign: 1 | -1): void {
    const nodes = this.#ending.get(second) ?? new Set();
    if (sign === 1) this.#ending.set(second, nodes.add(node));
    else if (nodes.delete(node) && nodes.size === 0) this.#ending.delete(second);
  }
}

/** A node whose clock is ahead must not have the last word for as long as that is. */
export function isPast(time: string | undefined, nowMs = 0): boolean {
  return time !== undefined && Date.parse(time) <= nowMs + clockSkewMs;
}

function byLastEviction(a: NodeFigures, b: NodeFigures): number {
  const [timeA, timeB] = [a.lastEvictionTime ?? '', b.lastEvictionTime ?? ''];
  return timeA === timeB ? byNodeName(a, b) : timeA > timeB ? -1 : 1;
}

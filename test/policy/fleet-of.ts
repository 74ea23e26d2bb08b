import { Fleet } from '../../src/policy/fleet.ts';
import { nodeFigures } from '../../src/policy/node-figures.ts';
import type { AgentPod } from '../../src/policy/node-verdict.ts';
import type { Report } from './roll-up-model.ts';

/** A fleet that has been told of these, one after another. */
export function fleetOf(reports: readonly Report[], agents: ReadonlyMap<string, Omit<AgentPod, 'nodeName'>>, nowMs: number): Fleet {
  const fleet = new Fleet();
  for (const { nodeName, status } of reports) fleet.setReport(nodeName, nodeFigures(nodeName, status), nowMs);
  for (const [nodeName, agent] of agents) fleet.setAgent(nodeName, { ...agent, nodeName }, nowMs);
  return fleet;
}

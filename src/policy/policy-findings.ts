import type { Finding } from '../api/conditions.ts';
import { conditionReasons } from '../api/conditions.ts';
import type { CachePolicyStatus } from '../api/status.ts';
import type { Fleet } from './fleet.ts';
import type { Foremost } from './foremost.ts';
import type { NodeFigures } from './node-figures.ts';
import type { AgentPod } from './node-verdict.ts';
import type { ReportSums } from './report-sums.ts';
import { byNodeName, namedNodes } from './report-sums.ts';

/** What the conditions of a CachePolicy are made of. */
export interface FindingsInput {
  readonly policy: { readonly generation: number; readonly maxUnavailable: number | string };
  readonly accepted: Finding<'Accepted'>;
  /** Why the API server does not take the ConfigMap or the DaemonSet; undefined where it does. What does not last is no news. */
  readonly unapplied?: { readonly words: string; readonly lasts: boolean } | undefined;
  /** How the admission policies differ from what the controller goes by; undefined where they do not. */
  readonly admissionDifference?: string | undefined;
  /** Nodes that should run an agent; undefined while a DaemonSet that changed is not counted again. */
  readonly desired: number | undefined;
  /** Of those, nodes without an agent's pod, as Kubernetes counts them; and why the pods cannot be made, where that is known. */
  readonly lacking?: number | undefined;
  readonly unmade?: string | undefined;
  readonly fleet: Fleet;
  readonly previous: CachePolicyStatus | undefined;
}

type Nodes = { desired?: number; misscheduled: number; reporting: number; stale: number; overLimit: number; failing: number };

/** Some nodes: how many, and the first few by name. */
interface Named {
  readonly size: number;
  readonly first: readonly NodeFigures[];
}

/** The nodes that the conditions speak of. */
export interface Standing {
  readonly size: number;
  readonly outdated: Named;
  readonly failing: Named;
  readonly overLimit: Named;
  readonly unreachable: Named;
  readonly unreachableReasons: ReadonlySet<string>;
}

/** Those with a fresh report and, while there are fewer than there should be, those between two agents. */
export function standingOf({ fleet, policy, desired = 0 }: FindingsInput): Standing {
  const parts = fleet.fresh.size < desired ? [fleet.fresh, fleet.awaited] : [fleet.fresh];
  const named = (sets: (part: ReportSums) => readonly Foremost<NodeFigures>[]) => together(parts.flatMap(sets));
  return {
    size: parts.reduce((sum, part) => sum + part.size, 0),
    outdated: named((part) => [...part.generations].filter(([generation]) => generation !== policy.generation).map(([, nodes]) => nodes)),
    failing: named((part) => [part.failing]),
    overLimit: named((part) => [part.overLimit]),
    unreachable: named((part) => [part.unreachable]),
    unreachableReasons: new Set(parts.flatMap((part) => [...part.unreachableReasons.keys()])),
  };
}

function together(sets: readonly Foremost<NodeFigures>[]): Named {
  return {
    size: sets.reduce((sum, set) => sum + set.size, 0),
    first: sets.flatMap((set) => set.first()).sort(byNodeName).slice(0, namedNodes),
  };
}

/** All conditions of a CachePolicy. */
export function findings(input: FindingsInput, standing: Standing, nodes: Nodes): readonly Finding[] {
  const { failing, unreachable } = standing;
  const programmed = programmedFinding(input, standing);
  return [
    input.accepted,
    programmed,
    readyFinding(input, nodes, programmed, standing),
    ...degradedFinding(input, failing),
    ...(unreachable.size > 0
      ? [{ type: 'LimitUnreachable', status: 'True', reason: reasonOf(standing.unreachableReasons), message: naming(unreachable, (node) => node.unreachable?.message) } as const]
      : []),
    ...(nodes.stale > 0 ? [{ type: 'Stale', status: 'True', reason: 'AgentsSilent', message: `${count(nodes.stale, 'node')} without a fresh report, whose figures are left out: ${listed(named(input.fleet.stale))}` } as const] : []),
  ];
}

/** One sentence is shown: a cache that is not enforced comes before an installation that does not fit together. */
function degradedFinding({ admissionDifference }: FindingsInput, failing: Named): readonly Finding<'Degraded'>[] {
  if (failing.size > 0) return [{ type: 'Degraded', status: 'True', reason: 'NodesFailing', message: naming(failing, (node) => node.failing) }];
  if (admissionDifference !== undefined) return [{ type: 'Degraded', status: 'True', reason: 'AdmissionDiffers', message: admissionDifference }];
  return [];
}

function programmedFinding({ accepted, desired, unapplied, policy, previous }: FindingsInput, { size, outdated }: Standing): Finding<'Programmed'> {
  const at = <S extends 'True' | 'False' | 'Unknown'>(status: S, reason: Finding<'Programmed'>['reason'], message: string) => ({ type: 'Programmed' as const, status, reason, message });
  if (accepted.status !== 'True') return at('False', 'NotAccepted', `not in force: ${accepted.message}`);
  if (unapplied?.lasts) return at('False', 'ChildrenRefused', `the API server takes no agents for this policy: ${unapplied.words}`);
  if (desired === 0) return at('Unknown', 'NoMatchingNode', 'no node matches nodeSelector and tolerations');
  if (outdated.size > 0) return at('False', 'Progressing', `${count(outdated.size, 'node')} of ${size} not yet at this generation: ${listed(outdated)}`);
  if (size === 0) return at('False', 'NoReports', 'no node has reported yet');
  if (unapplied !== undefined && !wasProgrammed(previous, policy.generation)) return at('False', 'Progressing', `the API server has not taken the agents of this generation yet: ${unapplied.words}`);
  return at('True', 'Programmed', `${count(size, 'node')} at this generation`);
}

function wasProgrammed(previous: CachePolicyStatus | undefined, generation: number): boolean {
  return previous?.conditions?.some(({ type, status, observedGeneration }) => type === 'Programmed' && status === 'True' && observedGeneration === generation) === true;
}

function readyFinding(input: FindingsInput, nodes: Nodes, programmed: Finding<'Programmed'>, standing: Standing): Finding<'Ready'> {
  const { accepted, desired, policy } = input;
  const at = <S extends 'True' | 'False' | 'Unknown'>(status: S, reason: Finding<'Ready'>['reason'], message: string) => ({ type: 'Ready' as const, status, reason, message });
  if (accepted.status !== 'True') return at('False', 'NotAccepted', accepted.message);
  if (desired === 0 && programmed.status === 'Unknown') return at('Unknown', 'NoMatchingNode', programmed.message);
  const enough = desired !== undefined && standing.size >= desired - unavailableAllowed(policy.maxUnavailable, desired);
  const obstacle = obstacleOf(input);
  if (!enough && obstacle !== undefined) return at('False', obstacle.reason, obstacle.message);
  if (programmed.status !== 'True') return at('False', 'NotProgrammed', programmed.message);
  if (nodes.failing > 0) return at('False', 'NodesFailing', naming(standing.failing, (node) => node.failing));
  if (nodes.overLimit > 0) return at('False', 'OverLimit', naming(standing.overLimit, (node) => node.overLimit));
  const silent = notReporting(input);
  if (!enough) return at('False', 'NodesNotReporting', [`${nodes.reporting} of ${desired ?? 'an unknown number of'} nodes report`, ...silent].join('; '));
  const replaced = standing.size - nodes.reporting;
  const notes = [
    ...(replaced > 0 ? [`${count(replaced, 'agent')} being replaced`] : []),
    ...(obstacle === undefined ? silent : [obstacle.message]),
    ...(nodes.misscheduled > 0 ? [`${nodes.misscheduled} of them outside nodeSelector and tolerations`] : []),
  ];
  return at('True', 'Ready', [`${nodes.reporting} of ${desired} nodes report, each within its limits`, ...notes].join('; '));
}

/** What keeps agents from running: the first of what stands in the way of all that follows it. */
function obstacleOf({ fleet, lacking = 0, unmade }: FindingsInput): { readonly reason: 'AgentNotCreated' | 'ImageNotPulled' | 'AgentNotStarted'; readonly message: string } | undefined {
  if (lacking > 0 && unmade !== undefined) return { reason: 'AgentNotCreated', message: `the agent's pod cannot be made for ${count(lacking, 'node')}: ${unmade}` };
  const [withoutImage, waiting] = [named(fleet.withoutImage), named(fleet.notStarted)];
  if (withoutImage.first[0] !== undefined) return { reason: 'ImageNotPulled', message: `the agent's image cannot be pulled on ${listed(withoutImage)} (${imageWords(withoutImage.first[0])})` };
  const [first] = waiting.first;
  if (first === undefined) return undefined;
  const hint = first.waiting === 'ContainerCreating' ? '; does every allowed root exist there?' : '';
  return { reason: 'AgentNotStarted', message: `the agent has not started on ${listed(waiting)} (${[first.waiting, first.says].filter((words) => words !== undefined).join(': ')})${hint}` };
}

/** The pull and the wait for the next one take turns, and both say the same of the failure. */
function imageWords({ waiting, says = '' }: AgentPod): string {
  const failure = says.replace(/^Back-off pulling image "[^"]*"(: ErrImagePull: )?/, '');
  return failure === '' ? `${waiting}` : failure;
}

function notReporting({ fleet, lacking = 0 }: FindingsInput): string[] {
  return [
    ...(fleet.notReporting.size > 0 ? [`not reporting: ${listed(named(fleet.notReporting))}`] : []),
    ...(lacking > 0 ? [`${count(lacking, 'node')} without an agent's pod`] : []),
  ];
}

function named<T>(set: Foremost<T>): { readonly size: number; readonly first: readonly T[] } {
  return { size: set.size, first: set.first() };
}

/** A percentage is rounded down: of two nodes both have to report. */
function unavailableAllowed(maxUnavailable: number | string, desired: number): number {
  return typeof maxUnavailable === 'number' ? maxUnavailable : Math.floor((Number.parseInt(maxUnavailable, 10) / 100) * desired);
}

/** `2 nodes: node-1/rootfs: …; node-3/…` in the words of the nodes. */
function naming({ size, first }: Named, words: (node: NodeFigures) => string | undefined): string {
  return `${count(size, 'node')}: ${first.map((node) => `${node.nodeName}/${words(node)}`).join('; ')}${size > first.length ? '; …' : ''}`;
}

/** The first of the closed list that a node names. */
function reasonOf(reasons: ReadonlySet<string>) {
  return conditionReasons.LimitUnreachable.find((reason) => reasons.has(reason)) ?? 'HeldInUse';
}

function listed({ size, first }: { readonly size: number; readonly first: readonly { readonly nodeName: string }[] }): string {
  return first.map(({ nodeName }) => nodeName).join(', ') + (size > first.length ? ` and ${size - first.length} more` : '');
}

function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? '' : 's'}`;
}

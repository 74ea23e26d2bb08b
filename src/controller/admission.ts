import type { CachePolicy } from '../api/cachepolicy.gen.ts';
import type { Finding } from '../api/conditions.ts';
import { placeOf } from '../api/cache-place.ts';
import { allowedRootOf } from '../api/paths.ts';
import { OperatorError } from '../errors.ts';
import type { KubeObject } from '../kube/objects.ts';
import type { Refusal } from '../policy/acceptance.ts';
import { acceptanceNotes, refusals } from '../policy/acceptance.ts';
import { compilePolicy } from '../policy/compile.ts';
import type { CompiledPolicy } from '../policy/compiled.ts';
import { formatVersions } from '../policy/compiled.ts';
import { resolveConflicts } from '../policy/conflict.ts';

export type PolicyObject = CachePolicy & KubeObject;

/** What becomes of a policy among the others, from specs and allowed roots alone. */
export interface Admission {
  readonly accepted: Finding<'Accepted'>;
  readonly compiled: CompiledPolicy;
  /** The allowed roots its caches lie below, sorted. */
  readonly rootsInUse: readonly string[];
}

/**
 * @param all every policy whose claim to its directories counts, this one included: see `holdsItsPaths`
 *
 * Agents of a policy that is not accepted go on reporting and evict nothing. One that the API server took and nobody can read says so, too, instead
 * of leaving the one before it in force without a word.
 */
export async function admit(policy: PolicyObject, all: readonly PolicyObject[], allowedRoots: readonly string[], nowMs: number): Promise<Admission> {
  const accepted = await acceptance(policy, all, { allowedRoots, nowMs });
  const inForce = accepted.status === 'True';
  const roots = policy.spec.caches.flatMap((cache) => Object.values(placeOf(cache).paths).map((path) => allowedRootOf(path, allowedRoots)).filter((root) => root !== undefined));
  const rootsInUse = [...new Set(roots)].sort();
  const compiled = compiledOrUnreadable(policy, { accepted: inForce });
  if (compiled instanceof OperatorError) {
    return { accepted: { type: 'Accepted', status: 'False', reason: 'InvalidCaches', message: compiled.message }, compiled: nothingOf(policy), rootsInUse };
  }
  // A schedule that was refused must not reach an agent.
  return { accepted, compiled: inForce ? compiled : { ...compiled, schedule: null }, rootsInUse };
}

function compiledOrUnreadable(policy: PolicyObject, options: { accepted: boolean }): CompiledPolicy | OperatorError {
  try {
    return compilePolicy(policy, options);
  } catch (error) {
    if (error instanceof OperatorError && error.code === 'ERR_INPUT_INVALID') return error;
    throw error;
  }
}

function nothingOf({ metadata: { name, uid = '', generation = 0 }, spec: { mode } }: PolicyObject): CompiledPolicy {
  return { formatVersion: formatVersions.first, policy: { name, uid, generation }, accepted: false, mode, schedule: null, caches: [] };
}

async function acceptance(policy: PolicyObject, all: readonly PolicyObject[], { allowedRoots, nowMs }: { allowedRoots: readonly string[]; nowMs: number }): Promise<Finding<'Accepted'>> {
  const [refusal, ...more] = await refusals(policy, allowedRoots);
  if (refusal !== undefined) return { type: 'Accepted', status: 'False', reason: refusal.reason, message: [refusal, ...more].map(sentence).join('; ') };
  const winner = await winnerOver(policy, all, allowedRoots);
  if (winner !== undefined) return { type: 'Accepted', status: 'False', reason: 'Conflicted', message: conflictMessage(winner) };
  const notes = acceptanceNotes(policy, nowMs);
  return { type: 'Accepted', status: 'True', reason: 'Accepted', message: notes.length > 0 ? `in force; ${notes.join('; ')}` : 'in force' };
}

/** A policy under deletion, such as one with a finalizer of somebody else, keeps its directories until the last of its agents has ended. */
export function holdsItsPaths({ metadata }: PolicyObject, runningAgents: number): boolean {
  return metadata.deletionTimestamp === undefined || runningAgents > 0;
}

function conflictMessage({ metadata: { name, deletionTimestamp } }: PolicyObject): string {
  if (deletionTimestamp !== undefined) return `CachePolicy ${name} is being deleted, and its agents still govern a directory that this one names; this one comes into force when they have ended`;
  return `CachePolicy ${name} is older and governs a directory that this one names, on nodes that both may select; delete one or select other nodes`;
}

/** A policy that cannot be in force by itself stands in nobody's way. */
async function winnerOver(policy: PolicyObject, all: readonly PolicyObject[], allowedRoots: readonly string[]): Promise<PolicyObject | undefined> {
  const standing: PolicyObject[] = [];
  for (const each of all) {
    if ((await refusals(each, allowedRoots)).length === 0) standing.push(each);
  }
  const winner = resolveConflicts(standing.map(claimOf)).get(policy.metadata.name);
  return standing.find(({ metadata }) => metadata.name === winner);
}

function claimOf({ metadata, spec }: PolicyObject) {
  return {
    name: metadata.name,
    creationTimestamp: metadata.creationTimestamp ?? '',
    nodeSelector: spec.nodeSelector ?? {},
    territories: spec.caches.map(placeOf),
  };
}

function sentence({ field, message }: Refusal): string {
  return `${field}: ${message}`;
}

import type { CachePolicy } from '../api/cachepolicy.gen.ts';
import type { Finding } from '../api/conditions.ts';
import { placeOf } from '../api/cache-place.ts';
import { allowedRootOf } from '../api/paths.ts';
import type { KubeObject } from '../kube/objects.ts';
import type { Refusal } from '../policy/acceptance.ts';
import { acceptanceNotes, refusals } from '../policy/acceptance.ts';
import { compilePolicy } from '../policy/compile.ts';
import type { CompiledPolicy } from '../policy/compiled.ts';
import { resolveConflicts } from '../policy/conflict.ts';

export type PolicyObject = CachePolicy & KubeObject;

/** What becomes of a policy among the others, from specs and allowed roots alone. */
export interface Admission {
  readonly accepted: Finding<'Accepted'>;
  readonly compiled: CompiledPolicy;
  /** The allowed roots its caches lie below, sorted. */
  readonly rootsInUse: readonly string[];
}

/** Agents of a policy that is not accepted go on reporting and evict nothing. */
export async function admit(policy: PolicyObject, all: readonly PolicyObject[], allowedRoots: readonly string[], nowMs: number): Promise<Admission> {
  const accepted = await acceptance(policy, all, { allowedRoots, nowMs });
  const inForce = accepted.status === 'True';
  const compiled = compilePolicy(policy, { accepted: inForce });
  const roots = policy.spec.caches.flatMap((cache) => Object.values(placeOf(cache).paths).map((path) => allowedRootOf(path, allowedRoots)).filter((root) => root !== undefined));
  return {
    accepted,
    // A schedule that was refused must not reach an agent.
    compiled: inForce ? compiled : { ...compiled, schedule: null },
    rootsInUse: [...new Set(roots)].sort(),
  };
}

async function acceptance(policy: PolicyObject, all: readonly PolicyObject[], { allowedRoots, nowMs }: { allowedRoots: readonly string[]; nowMs: number }): Promise<Finding<'Accepted'>> {
  const [refusal, ...more] = await refusals(policy, allowedRoots);
  if (refusal !== undefined) return { type: 'Accepted', status: 'False', reason: refusal.reason, message: [refusal, ...more].map(sentence).join('; ') };
  const winner = await winnerOver(policy, all, allowedRoots);
  if (winner !== undefined) {
    const message = `CachePolicy ${winner} is older and governs a directory that this one names, on nodes that both may select; delete one or select other nodes`;
    return { type: 'Accepted', status: 'False', reason: 'Conflicted', message };
  }
  const notes = acceptanceNotes(policy, nowMs);
  return { type: 'Accepted', status: 'True', reason: 'Accepted', message: notes.length > 0 ? `in force; ${notes.join('; ')}` : 'in force' };
}

/** A policy that cannot be in force by itself stands in nobody's way. */
async function winnerOver(policy: PolicyObject, all: readonly PolicyObject[], allowedRoots: readonly string[]): Promise<string | undefined> {
  const standing: PolicyObject[] = [];
  for (const each of all) {
    if (each.metadata.deletionTimestamp === undefined && (await refusals(each, allowedRoots)).length === 0) standing.push(each);
  }
  return resolveConflicts(standing.map(claimOf)).get(policy.metadata.name);
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

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
import type { Claim } from '../policy/conflict.ts';

export type PolicyObject = CachePolicy & KubeObject;

/** A policy by itself, from its spec and the allowed roots alone. */
export interface Assessment {
  /** Why it cannot be in force, whatever the other policies say. */
  readonly refusal: Pick<Refusal, 'reason' | 'message'> | undefined;
  /** As it would be in force. */
  readonly compiled: CompiledPolicy;
  /** The allowed roots its caches lie below, sorted. */
  readonly rootsInUse: readonly string[];
}

/** A policy among the others. */
export interface Admission extends Pick<Assessment, 'compiled' | 'rootsInUse'> {
  readonly accepted: Finding<'Accepted'>;
}

/** @throws ERR_BUG where the spec is none that the schema lets through */
export async function assess(policy: PolicyObject, allowedRoots: readonly string[]): Promise<Assessment> {
  const roots = policy.spec.caches.flatMap((cache) => Object.values(placeOf(cache).paths).map((path) => allowedRootOf(path, allowedRoots)).filter((root) => root !== undefined));
  const rootsInUse = [...new Set(roots)].sort();
  const compiled = compiledOrUnreadable(policy);
  // Said, instead of leaving the generation before it in force without a word.
  if (compiled instanceof OperatorError) return { refusal: { reason: 'InvalidCaches', message: compiled.message }, compiled: nothingOf(policy), rootsInUse };
  const [refusal, ...more] = await refusals(policy, allowedRoots);
  return { refusal: refusal && { reason: refusal.reason, message: [refusal, ...more].map(sentence).join('; ') }, compiled, rootsInUse };
}

/**
 * Agents of a policy that is not accepted report and evict nothing.
 * @param winner the policy that governs in the place of this one
 */
export function admit(policy: PolicyObject, { refusal, compiled, rootsInUse }: Assessment, winner: PolicyObject | undefined, nowMs: number): Admission {
  const reason = refusal?.reason ?? (winner && 'Conflicted');
  // A schedule that was refused must not reach an agent.
  if (reason !== undefined) {
    const message = refusal?.message ?? (winner ? conflictMessage(winner) : '');
    return { accepted: { type: 'Accepted', status: 'False', reason, message }, compiled: { ...compiled, accepted: false, schedule: null }, rootsInUse };
  }
  const notes = acceptanceNotes(policy, nowMs);
  const message = notes.length > 0 ? `in force; ${notes.join('; ')}` : 'in force';
  return { accepted: { type: 'Accepted', status: 'True', reason: 'Accepted', message }, compiled, rootsInUse };
}

/** What a policy keeps from others; undefined where it keeps nothing, as one that cannot be in force by itself. */
export function claimOf(policy: PolicyObject, { refusal }: Assessment, runningAgents: number): Claim | undefined {
  const { name, creationTimestamp = '', deletionTimestamp } = policy.metadata;
  const ending = deletionTimestamp !== undefined;
  const keepsNothing = ending ? runningAgents === 0 || wasRefused(policy) : refusal !== undefined;
  if (keepsNothing) return undefined;
  return {
    name,
    // Nobody changes what agents of a policy under deletion do, such as one with a finalizer of somebody else: no older policy takes their directories from them before they have ended.
    creationTimestamp: ending ? '' : creationTimestamp,
    nodeSelector: policy.spec.nodeSelector ?? {},
    territories: policy.spec.caches.map(placeOf),
  };
}

function wasRefused({ status }: PolicyObject): boolean {
  return status?.conditions?.some(({ type, status: is }) => type === 'Accepted' && is === 'False') === true;
}

function compiledOrUnreadable(policy: PolicyObject): CompiledPolicy | OperatorError {
  try {
    return compilePolicy(policy, { accepted: true });
  } catch (error) {
    if (error instanceof OperatorError && error.code === 'ERR_INPUT_INVALID') return error;
    throw error;
  }
}

function nothingOf({ metadata: { name, uid = '', generation = 0 }, spec: { mode } }: PolicyObject): CompiledPolicy {
  return { formatVersion: formatVersions.first, policy: { name, uid, generation }, accepted: false, mode, schedule: null, caches: [] };
}

function conflictMessage({ metadata: { name, deletionTimestamp } }: PolicyObject): string {
  if (deletionTimestamp !== undefined) return `CachePolicy ${name} is being deleted, and its agents still govern a directory that this one names; this one comes into force when they have ended`;
  return `CachePolicy ${name} is older and governs a directory that this one names, on nodes that both may select; delete one or select other nodes`;
}

function sentence({ field, message }: Refusal): string {
  return `${field}: ${message}`;
}

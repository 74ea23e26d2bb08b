import { plainText } from './plain-text.ts';

/**
 * The conditions of CachePolicy and NodeCache with their closed lists of reasons.
 * Accepted, Programmed and Ready always stand; Degraded, LimitUnreachable and Stale only while they are True.
 * docs/conditions.md explains each reason to an admin; a test holds the two together.
 */

export const conditionReasons = {
  /** The spec is valid and in force. */
  Accepted: ['Accepted', 'InvalidSchedule', 'InvalidCaches', 'PathNotAllowed', 'Conflicted'],
  /** Every fresh report is of this generation. */
  Programmed: ['Programmed', 'Progressing', 'NotAccepted', 'ChildrenRefused', 'NoMatchingNode', 'NoReports'],
  /** Programmed, no node failing or over a limit, and enough nodes report. */
  Ready: ['Ready', 'NotAccepted', 'NotProgrammed', 'NodesFailing', 'OverLimit', 'NodesNotReporting', 'AgentNotCreated', 'ImageNotPulled', 'AgentNotStarted', 'NoMatchingNode', 'CacheFailing'],
  /** Some cache cannot be read or enforced, or the policy cannot be read; or the admission policies differ from what the controller goes by. */
  Degraded: ['NodesFailing', 'CacheFailing', 'PolicyFormat', 'PolicyGone', 'AdmissionDiffers'],
  /** A limit stays exceeded: what is over it is protected, or space is taken by something else than what may go. */
  LimitUnreachable: ['BeyondCapacity', 'HeldInUse', 'HeldKept', 'HeldRecent', 'NotReclaimable'],
  /** Agents are silent. */
  Stale: ['AgentsSilent'],
} as const satisfies Record<string, readonly string[]>;

export type ConditionType = keyof typeof conditionReasons;
export type ConditionStatus = 'True' | 'False' | 'Unknown';

export interface Condition {
  readonly type: ConditionType;
  readonly status: ConditionStatus;
  readonly observedGeneration: number;
  readonly lastTransitionTime: string;
  readonly reason: string;
  readonly message: string;
}

/** A condition before it is known since when it holds. */
export type Finding<T extends ConditionType = ConditionType> = {
  [K in T]: { readonly type: K; readonly status: ConditionStatus; readonly reason: (typeof conditionReasons)[K][number]; readonly message: string };
}[T];

/** The CRDs take no longer ones. */
const maxMessage = 1024;

/** Conditions with transition times: kept from `previous` where the status is unchanged, else `now`. Messages are plain text of at most 1,024 characters. */
export function settleConditions(findings: readonly Finding[], previous: readonly Partial<Condition>[], observedGeneration: number, now: string): Condition[] {
  return findings.map((finding) => {
    const before = previous.find((condition) => condition.type === finding.type);
    const lastTransitionTime = before?.status === finding.status && before.lastTransitionTime !== undefined ? before.lastTransitionTime : now;
    return { ...finding, message: plainText(finding.message, maxMessage), observedGeneration, lastTransitionTime };
  });
}

import { describe, expect, it } from 'vitest';
import type { ConditionType } from '../../src/api/conditions.ts';
import type { CachePolicyStatus } from '../../src/api/status.ts';
import { happeningsBetween } from '../../src/policy/happenings.ts';

const Gi = 2 ** 30;

/** `Accepted: 'False Conflicted: the words'`, each of the generation. */
function aStatus(conditions: Partial<Record<ConditionType, string>>, { generation = 1, ...rest }: CachePolicyStatus & { generation?: number } = {}): CachePolicyStatus {
  const parsed = Object.entries(conditions).map(([type, text]) => {
    const [, status, reason, message = ''] = /^(\w+) (\w+)(?:: (.*))?$/.exec(text) ?? [];
    return { type, status: status as 'True', reason: reason ?? '', message, observedGeneration: generation, lastTransitionTime: '2026-01-01T00:00:00Z' };
  });
  return { observedGeneration: generation, nodes: { reporting: 3 }, evictedEntries: 0, evictedBytes: 0, conditions: parsed, ...rest };
}

const waiting = { Accepted: 'True Accepted', Programmed: 'False NoReports', Ready: 'False NotProgrammed' } as const;
const inForce = { Accepted: 'True Accepted', Programmed: 'True Programmed', Ready: 'True Ready' } as const;
const conflicted = { Accepted: 'False Conflicted: a3s-box is older', Programmed: 'False NotAccepted', Ready: 'False NotAccepted' } as const;

const told = (before: CachePolicyStatus | undefined, now: CachePolicyStatus) => happeningsBetween(before, now).map(({ type, reason, message }) => `${type} ${reason}: ${message}`);

describe('what happened to a policy', () => {
  it('is nothing when it was just made, and nothing while it stays as it is', () => {
    expect(told(undefined, aStatus(waiting))).toEqual([]);
    expect(told(aStatus(inForce), aStatus(inForce, { evictedEntries: 0, size: '7Gi' }))).toEqual([]);
  });

  it('is its first enforcement', () => {
    expect(told(aStatus(waiting), aStatus(inForce))).toEqual(['Normal Programmed: generation 1 is in force on 3 nodes']);
    expect(told(undefined, aStatus(inForce, { nodes: { reporting: 1 } }))).toEqual(['Normal Programmed: generation 1 is in force on 1 node']);
  });

  it('is a new generation in force, even if no status between the two was published', () => {
    expect(told(aStatus(inForce), aStatus({ ...inForce, Programmed: 'False Progressing' }, { generation: 2 }))).toEqual([]);
    expect(told(aStatus(inForce), aStatus(inForce, { generation: 2 }))).toEqual(['Normal Programmed: generation 2 is in force on 3 nodes']);
  });

  it('is what all nodes evicted, in one sum, with the sum so far', () => {
    const before = aStatus(inForce, { evictedEntries: 419, evictedBytes: 38 * Gi });
    const now = aStatus(inForce, { evictedEntries: 431, evictedBytes: 41.1 * Gi });
    expect(told(before, now)).toEqual(['Normal Evicted: evicted 12 entries, 3.1Gi, on all nodes; 431 entries, 41.1Gi so far']);
    expect(told(undefined, aStatus(inForce, { evictedEntries: 1, evictedBytes: 0 }))).toContain('Normal Evicted: evicted 1 entry, 0, on all nodes; 1 entry, 0 so far');
  });

  it.each(['Conflicted', 'PathNotAllowed', 'InvalidSchedule', 'InvalidCaches'])('is that it is refused: %s', (reason) => {
    const now = aStatus({ ...conflicted, Accepted: `False ${reason}: the words` });
    expect(told(aStatus(inForce), now)).toEqual([`Warning ${reason}: the words`]);
    expect(told(undefined, now)).toEqual([`Warning ${reason}: the words`]);
    expect(told(now, now)).toEqual([]);
  });

  it('is that it is refused for something else', () => {
    expect(told(aStatus(conflicted), aStatus({ ...conflicted, Accepted: 'False Conflicted: models is older' }))).toEqual(['Warning Conflicted: models is older']);
    expect(told(aStatus(conflicted), aStatus(inForce))).toEqual(['Normal Programmed: generation 1 is in force on 3 nodes']);
  });

  it('is that nodes fail and that a limit cannot be reached: once when it begins, again when it begins again', () => {
    const failing = aStatus({ ...inForce, Degraded: 'True NodesFailing: 1 node: b/rootfs: gone', LimitUnreachable: 'True HeldInUse: 2 nodes: 9 in use' });
    const both = ['Warning Degraded: 1 node: b/rootfs: gone', 'Warning LimitUnreachable: 2 nodes: 9 in use'];
    expect(told(aStatus(inForce), failing)).toEqual(both);
    expect(told(failing, aStatus({ ...inForce, Degraded: 'True NodesFailing: 2 nodes', LimitUnreachable: 'True HeldRecent: 1 node' }))).toEqual([]);
    expect(told(failing, aStatus(inForce))).toEqual([]);
    expect(told(aStatus(inForce), failing)).toEqual(both);
  });
});

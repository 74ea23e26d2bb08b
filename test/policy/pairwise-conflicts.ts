import { overlap } from '../../src/api/paths.ts';
import type { Claim } from '../../src/policy/conflict.ts';

/** The rule as a sentence: from the oldest on, each claim against each that has won so far. @returns loser → winner, by name */
export function pairwiseConflicts(claims: readonly Claim[]): ReadonlyMap<string, string> {
  const winners: Claim[] = [];
  const lost = new Map<string, string>();
  for (const claim of claims.toSorted((a, b) => compare(a.creationTimestamp, b.creationTimestamp) || compare(a.name, b.name))) {
    const winner = winners.find((other) => meet(claim, other));
    if (winner === undefined) winners.push(claim);
    else lost.set(claim.name, winner.name);
  }
  return lost;
}

function meet(a: Claim, b: Claim): boolean {
  const mayShareNode = Object.entries(a.nodeSelector).every(([label, value]) => !Object.hasOwn(b.nodeSelector, label) || b.nodeSelector[label] === value);
  return mayShareNode && a.territories.some((one) => b.territories.some((other) => overlap(one, other)));
}

function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

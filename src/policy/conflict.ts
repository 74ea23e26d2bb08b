import type { Territory } from '../api/paths.ts';
import { overlap } from '../api/paths.ts';

/** What a policy lays claim to, from its spec alone. */
export interface Claim {
  readonly name: string;
  /** RFC 3339 as Kubernetes writes it, in whole seconds of UTC: older sorts first. */
  readonly creationTimestamp: string;
  readonly nodeSelector: Readonly<Record<string, string>>;
  readonly territories: readonly Territory[];
}

/**
 * Of policies that meet, the older wins whole (ties by name). One that has lost stands in nobody else's way.
 * @returns loser → winner, by name.
 */
export function resolveConflicts(claims: readonly Claim[]): ReadonlyMap<string, string> {
  const winners: Claim[] = [];
  const lost = new Map<string, string>();
  for (const claim of claims.toSorted(byAge)) {
    const winner = winners.find((other) => meet(claim, other));
    if (winner === undefined) winners.push(claim);
    else lost.set(claim.name, winner.name);
  }
  return lost;
}

/** Two policies meet when one directory could be under both on one node, or what one evicts be the home of the other's runtime. */
function meet(a: Claim, b: Claim): boolean {
  return mayShareNode(a.nodeSelector, b.nodeSelector) && a.territories.some((one) => b.territories.some((other) => overlap(one, other)));
}

function mayShareNode(a: Claim['nodeSelector'], b: Claim['nodeSelector']): boolean {
  return Object.entries(a).every(([label, value]) => !Object.hasOwn(b, label) || b[label] === value);
}

function byAge(a: Claim, b: Claim): number {
  return compare(a.creationTimestamp, b.creationTimestamp) || compare(a.name, b.name);
}

function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

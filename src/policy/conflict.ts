import { contains } from '../api/paths.ts';

/** What a policy lays claim to, from its spec alone. */
export interface Claim {
  readonly name: string;
  /** RFC 3339 as Kubernetes writes it, in whole seconds of UTC: older sorts first. */
  readonly creationTimestamp: string;
  readonly nodeSelector: Readonly<Record<string, string>>;
  /** The directories whose children are the entries. */
  readonly roots: readonly string[];
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

/** Two policies meet when one directory could be under both on one node. */
function meet(a: Claim, b: Claim): boolean {
  return mayShareNode(a.nodeSelector, b.nodeSelector) && a.roots.some((one) => b.roots.some((other) => contains(one, other) || contains(other, one)));
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

/** The Lease object, and what is written into it. Pure. */
import type { KubeObject } from './objects.ts';
import { leases } from './resource.ts';

export interface Lease extends KubeObject {
  spec?: {
    holderIdentity?: string;
    leaseDurationSeconds?: number;
    /** RFC 3339 with exactly six decimals; anything else is refused. */
    acquireTime?: string;
    renewTime?: string;
    leaseTransitions?: number;
  };
}

export interface LeaseClaim {
  readonly namespace: string;
  readonly name: string;
  readonly identity: string;
  readonly leaseDurationMs: number;
}

/** The lease as this process would hold it, made from what is there, so that a write over anything newer is refused. */
export function claimed(previous: Lease | undefined, claim: LeaseClaim, wallMs: number): Lease {
  const now = microTime(wallMs);
  const held = previous?.spec?.holderIdentity === claim.identity;
  return {
    ...(previous ?? { apiVersion: leases.apiVersion, kind: leases.kind, metadata: { name: claim.name, namespace: claim.namespace } }),
    spec: {
      ...previous?.spec,
      holderIdentity: claim.identity,
      leaseDurationSeconds: claim.leaseDurationMs / 1000,
      acquireTime: (held ? previous?.spec?.acquireTime : undefined) ?? now,
      renewTime: now,
      leaseTransitions: (previous?.spec?.leaseTransitions ?? 0) + (held || previous === undefined ? 0 : 1),
    },
  };
}

/** The lease as it is left behind: free at once for whoever sees it. */
export function released(lease: Lease, wallMs: number): Lease {
  return { ...lease, spec: { ...lease.spec, holderIdentity: '', leaseDurationSeconds: 1, renewTime: microTime(wallMs) } };
}

function microTime(wallMs: number): string {
  return new Date(wallMs).toISOString().replace('Z', '000Z');
}

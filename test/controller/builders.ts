import { policyLabel } from '../../src/api/names.ts';
import type { PolicyObject } from '../../src/controller/admission.ts';
import type { NodeCacheObject, Pod } from '../../src/controller/records.ts';

type Spec = PolicyObject['spec'];
export type CacheSpec = Spec['caches'][number];

export const allowedRoots = ['/var/lib/a3s-box', '/var/cache'];

/** At most eight entries in the Rootfs store of the usual home. */
export function aCacheSpec(but: Partial<CacheSpec> = {}): CacheSpec {
  return { name: 'rootfs', a3sBox: { home: '/var/lib/a3s-box/home', store: 'Rootfs' }, limits: { maxEntries: 8 }, protect: { minIdle: '60s' }, ...but };
}

/** At most eight entries in /var/cache/models. */
export function aDirectorySpec({ name = 'models', path = '/var/cache/models' }: { name?: string; path?: string } = {}): CacheSpec {
  return { name, directory: { path }, limits: { maxEntries: 8 }, protect: { minIdle: '60s' } };
}

/** The policy a3s-box in its first generation, as the API server serves it: with defaults. */
export function aPolicy(spec: Partial<Spec> = {}, metadata: Partial<PolicyObject['metadata']> = {}): PolicyObject {
  return {
    apiVersion: 'cache.a3s.dev/v1alpha1',
    kind: 'CachePolicy',
    metadata: { name: 'a3s-box', uid: 'policy-uid', generation: 1, creationTimestamp: '2026-01-01T00:00:00Z', resourceVersion: '1', ...metadata },
    spec: { mode: 'Enforce', caches: [aCacheSpec()], rollout: { maxUnavailable: '10%' }, ...spec },
  };
}

/** The agent's pod on a node: named and known by it, ready for long. */
export function aPod(nodeName: string, but: { ready?: boolean; uid?: string; policy?: string; metadata?: Partial<Pod['metadata']>; status?: Pod['status'] } = {}): Pod {
  const { ready = true, uid = `pod-${nodeName}`, policy = 'a3s-box', metadata, status } = but;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: `cachepolicy-${policy}-${uid}`, namespace: 'cachepolicy-system', uid, resourceVersion: '1', creationTimestamp: '2025-12-31T00:00:00Z',
      labels: { [policyLabel]: policy }, ...metadata,
    },
    spec: { nodeName },
    status: status ?? { conditions: [{ type: 'Ready', status: ready ? 'True' : 'False', lastTransitionTime: '2025-12-31T00:00:10Z' }] },
  };
}

/** What a node reports within its limits: four entries of 1Ki, two evicted so far. */
export function aNodeCache(nodeName: string, status: Partial<NonNullable<NodeCacheObject['status']>> = {}, metadata: Partial<NodeCacheObject['metadata']> = {}): NodeCacheObject {
  return {
    apiVersion: 'cache.a3s.dev/v1alpha1',
    kind: 'NodeCache',
    metadata: { name: `a3s-box.${nodeName}`, uid: `report-${nodeName}`, resourceVersion: '1', labels: { [policyLabel]: 'a3s-box' }, ...metadata },
    spec: { policyName: 'a3s-box', nodeName },
    status: {
      observedGeneration: 1, policyUID: 'policy-uid', nodeUID: `node-${nodeName}`, podUID: `pod-${nodeName}`, reportTime: '2026-01-01T00:00:00Z',
      evictedEntries: 2, evictedBytes: 2048,
      caches: [{
        name: 'rootfs', stats: { entryCount: 4, totalBytes: 4096 }, usage: '50%', overLimit: false,
        totals: { evictedEntries: 2, evictedBytes: 2048, revived: 0, raced: 0 }, wouldEvict: { entries: 0, bytes: 0 },
      }],
      conditions: [{ type: 'Ready', status: 'True', reason: 'Ready', message: 'fine', lastTransitionTime: '2026-01-01T00:00:00Z' }],
      ...status,
    },
  };
}

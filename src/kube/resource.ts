/** Where the objects of one kind are found in the API. */
import { apiVersion } from '../api/names.ts';

export interface Resource {
  /** `v1`, or `group/version`. */
  readonly apiVersion: string;
  readonly kind: string;
  /** As it stands in the path: `cachepolicies`. */
  readonly plural: string;
  readonly namespaced: boolean;
}

export interface Place {
  /** Absent for what is cluster-scoped, and in a list over all namespaces. */
  readonly namespace?: string | undefined;
  readonly name?: string | undefined;
  readonly subresource?: string | undefined;
}

export type Query = Readonly<Record<string, string | number | boolean | undefined>>;

export const configMaps: Resource = { apiVersion: 'v1', kind: 'ConfigMap', plural: 'configmaps', namespaced: true };
export const pods: Resource = { apiVersion: 'v1', kind: 'Pod', plural: 'pods', namespaced: true };
export const nodes: Resource = { apiVersion: 'v1', kind: 'Node', plural: 'nodes', namespaced: false };
export const events: Resource = { apiVersion: 'v1', kind: 'Event', plural: 'events', namespaced: true };
export const daemonSets: Resource = { apiVersion: 'apps/v1', kind: 'DaemonSet', plural: 'daemonsets', namespaced: true };
export const deployments: Resource = { apiVersion: 'apps/v1', kind: 'Deployment', plural: 'deployments', namespaced: true };
export const leases: Resource = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', plural: 'leases', namespaced: true };
export const cachePolicies: Resource = { apiVersion, kind: 'CachePolicy', plural: 'cachepolicies', namespaced: false };
export const nodeCaches: Resource = { apiVersion, kind: 'NodeCache', plural: 'nodecaches', namespaced: false };

/** The path of a collection, an object or a subresource, with its query. */
export function pathOf(resource: Resource, place: Place, query: Query = {}): string {
  const parts = [resource.apiVersion.includes('/') ? 'apis' : 'api', resource.apiVersion];
  if (resource.namespaced && place.namespace !== undefined) parts.push('namespaces', encodeURIComponent(place.namespace));
  parts.push(resource.plural);
  if (place.name !== undefined) parts.push(encodeURIComponent(place.name));
  if (place.subresource !== undefined) parts.push(place.subresource);

  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== undefined) parameters.set(name, String(value));
  return `/${parts.join('/')}${parameters.size > 0 ? `?${parameters}` : ''}`;
}

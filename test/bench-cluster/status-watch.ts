import type { PolicyObject } from '../../src/controller/admission.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import { cachePolicies } from '../../src/kube/resource.ts';
import { policyName, readPolicy } from './stage.ts';

export interface Sighting {
  readonly atMs: number;
  readonly status: NonNullable<PolicyObject['status']>;
}

/** Follows the policy's status as a person with `kubectl get -w` would, from now until the signal. */
export async function watchStatus(admin: KubeClient, signal: AbortSignal): Promise<readonly Sighting[]> {
  const { metadata, status = {} } = await readPolicy(admin);
  const sightings: Sighting[] = [{ atMs: performance.now(), status }];
  const options = { fieldSelector: `metadata.name=${policyName}`, resourceVersion: metadata.resourceVersion ?? '', timeoutSeconds: 3_600, signal };
  const events = await admin.watch<PolicyObject>(cachePolicies, options);
  void (async () => {
    for await (const event of events) {
      if (event.type === 'MODIFIED') sightings.push({ atMs: performance.now(), status: event.object.status ?? {} });
    }
  })().catch((error: unknown) => {
    if (!signal.aborted) throw error;
  });
  return sightings;
}

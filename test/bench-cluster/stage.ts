/**
 * The embedded control plane without its controllers, with the operator's objects of deploy/ on it: what the controllers of Kubernetes would make of
 * thousands of nodes, the bench makes itself (pods, their readiness, the count of the DaemonSet).
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { apiVersion, childName } from '../../src/api/names.ts';
import type { PolicyObject } from '../../src/controller/admission.ts';
import { KubeClient } from '../../src/kube/client.ts';
import type { Connection } from '../../src/kube/connection.ts';
import type { KubeObject } from '../../src/kube/objects.ts';
import { cachePolicies, daemonSets } from '../../src/kube/resource.ts';
import type { TransportOptions } from '../../src/kube/transport.ts';
import { Transport } from '../../src/kube/transport.ts';
import { eventually as tryUntil } from '../cluster/eventually.ts';
import type { ControlPlane } from '../cluster/control-plane.ts';
import { startControlPlane } from '../cluster/control-plane.ts';
import type { Log } from '../cluster/log.ts';

export const namespace = 'cachepolicy-system';
export const policyName = 'bench';
const root = join(import.meta.dirname, '..', '..');
/** How many requests the bench itself has on their way at once, as an administrator. */
const width = 48;

export interface Stage extends AsyncDisposable {
  readonly controlPlane: ControlPlane;
  readonly admin: KubeClient;
  connection(token: string): Connection;
  transport(token: string, options?: TransportOptions): Transport;
  /** A token of one of the operator's accounts, bound to a pod where one is named. */
  token(account: string, pod?: { readonly name: string; readonly uid: string }): Promise<string>;
}

export async function openStage(log: Log): Promise<Stage> {
  const controlPlane = await startControlPlane({ components: ['etcd', 'kube-apiserver'], log });
  const ca = readFileSync(controlPlane.caFile, 'utf8');
  const connection = (token: string) => ({ server: new URL(controlPlane.server), namespace, credentials: async () => ({ authorization: `Bearer ${token}`, ca }) });
  const transport = (token: string, options?: TransportOptions) => new Transport(connection(token), options);
  const adminTransport = transport(controlPlane.adminToken, { maxSockets: width });
  const admin = new KubeClient(adminTransport);
  try {
    await installOperator(controlPlane);
  } catch (error) {
    await controlPlane.stop();
    throw error;
  }
  return {
    controlPlane, admin, connection, transport,
    token: async (account, pod) => {
      const boundObjectRef = pod && { kind: 'Pod', apiVersion: 'v1', ...pod };
      const body = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: { audiences: ['https://kubernetes.default.svc'], expirationSeconds: 7200, boundObjectRef } };
      const answer = await adminTransport.request<{ status: { token: string } }>({ method: 'POST', path: `/api/v1/namespaces/${namespace}/serviceaccounts/${account}/token`, body, repeatable: true });
      return answer.status.token;
    },
    [Symbol.asyncDispose]: async () => {
      adminTransport.close();
      await controlPlane.stop();
    },
  };
}

/** Everything of deploy/; its admission policies take effect a moment after they are made. */
async function installOperator(controlPlane: ControlPlane): Promise<void> {
  await controlPlane.kubectl(['apply', '-k', join(root, 'deploy')]);
  const beyond = JSON.stringify({ ...aPolicy(), spec: { caches: [{ ...aPolicy().spec.caches[0], a3sBox: { home: '/etc/not-allowed', store: 'Rootfs' } }] } });
  await eventually(async () => {
    const refusal = await controlPlane.kubectl(['create', '--dry-run=server', '-f', '-'], { input: beyond }).then(() => '', (error: Error) => error.message);
    if (!refusal.includes('not strictly below an allowed root')) throw new Error(`admission is not in force: ${refusal}`);
  });
}

/** Two caches on every node. */
export function aPolicy(maxEntries = 8): PolicyObject {
  const a3sBox = { home: '/var/lib/a3s-box/home' };
  const limits = { maxEntries, maxBytes: '8Gi' };
  const caches = [{ name: 'rootfs', a3sBox: { ...a3sBox, store: 'Rootfs' }, limits }, { name: 'layers', a3sBox: { ...a3sBox, store: 'Layers' }, limits }];
  return { apiVersion, kind: 'CachePolicy', metadata: { name: policyName }, spec: { caches } } as PolicyObject;
}

export function readPolicy(admin: KubeClient): Promise<PolicyObject> {
  return admin.get<PolicyObject>(cachePolicies, { name: policyName });
}

/** Says how many nodes should run an agent, as the DaemonSet controller does. */
export async function countDaemonSet(admin: KubeClient, desired: number): Promise<void> {
  const place = { namespace, name: childName(policyName) };
  const { metadata } = await eventually(() => admin.get<KubeObject>(daemonSets, place), 60_000);
  const status = { observedGeneration: metadata.generation, desiredNumberScheduled: desired, currentNumberScheduled: desired, numberReady: desired, numberMisscheduled: 0 };
  await admin.patch(daemonSets, { ...place, subresource: 'status' }, { type: 'merge', body: { status } });
}

/** Acts on each, so many at once; of those that fail the first is thrown. */
export async function onEach<T>(items: readonly T[], act: (item: T) => Promise<unknown>): Promise<void> {
  const rest = items.values();
  await Promise.all(Array.from({ length: width }, async () => {
    for (const item of rest) await act(item);
  }));
}

/** Asks more often than tests do: some of what is measured ends with such an answer. */
export function eventually<T>(attempt: () => Promise<T> | T, withinMs?: number, pauseMs = 100): Promise<T> {
  return tryUntil(attempt, withinMs, pauseMs);
}

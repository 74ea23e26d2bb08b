/** What the integration tests share: a client as anybody, the operator's objects, tokens that are bound to a pod. */
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { promisify } from 'node:util';
import { inject } from 'vitest';
import { apiVersion } from '../../src/api/names.ts';
import { KubeClient } from '../../src/kube/client.ts';
import type { KubeObject } from '../../src/kube/objects.ts';
import type { Resource } from '../../src/kube/resource.ts';
import { nodes, pods } from '../../src/kube/resource.ts';
import { KubeStatusError } from '../../src/kube/status-error.ts';
import { Transport } from '../../src/kube/transport.ts';
import { eventually } from '../cluster/eventually.ts';
import type { SharedControlPlane } from '../cluster/vitest-setup.ts';

export { eventually };

export const namespace = 'cachepolicy-system';
export const root = new URL('../..', import.meta.url).pathname;

/** The one that is this file's alone while it runs. */
export function controlPlane(): SharedControlPlane {
  const mine = inject('controlPlanes')[Number(process.env['VITEST_POOL_ID']) - 1];
  if (mine === undefined) throw new Error(`no control plane was started for worker ${process.env['VITEST_POOL_ID']}`);
  return mine;
}

export function clientWithToken(token: string): KubeClient {
  return new KubeClient(transportWithToken(token));
}

/** For requests that no client of the operator makes. */
export function transportWithToken(token: string): Transport {
  const { server, caFile } = controlPlane();
  const ca = readFileSync(caFile, 'utf8');
  return new Transport({ server: new URL(server), namespace, credentials: async () => ({ authorization: `Bearer ${token}`, ca }) });
}

export function admin(): KubeClient {
  return clientWithToken(controlPlane().adminToken);
}

/** @returns standard output; what kubectl says on failure is thrown */
export async function kubectl(args: readonly string[], input?: string): Promise<string> {
  const { kubectlPath, kubeconfigPath } = controlPlane();
  const running = promisify(execFile)(kubectlPath, ['--kubeconfig', kubeconfigPath, ...args]);
  if (input !== undefined) running.child.stdin?.end(input);
  return (await running).stdout;
}

/** Everything of deploy/, and the wait until its admission policies are in force: they take effect a moment after they are made. */
export async function installOperator(): Promise<void> {
  await kubectl(['apply', '-k', `${root}deploy`]);
  const beyond = JSON.stringify(aPolicy({ name: 'not-allowed', home: '/etc/not-allowed' }));
  await eventually(async () => {
    const refusal = await kubectl(['create', '--dry-run=server', '-f', '-'], beyond).then(() => '', (error: Error) => error.message);
    if (!refusal.includes('not strictly below an allowed root')) throw new Error(`admission is not in force yet: ${refusal}`);
  });
}

/** What somebody's own kustomization changes of deploy/; see examples/own. */
export interface Own {
  readonly roots?: readonly string[];
  /** `name:tag` */
  readonly image?: string;
}

/** A folder with a kustomization on top of deploy/, removed at the end of the scope. */
export function ownKustomization({ roots, image }: Own): Disposable & { readonly dir: string } {
  const scratch = mkdtempSync(join(tmpdir(), 'cachepolicy-kustomize-'));
  const dir = join(scratch, 'own');
  const deploy = relative(dir, `${root}deploy`);
  const [newName, newTag] = image?.split(':') ?? [];
  const patch = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'cachepolicy-allowed-roots', namespace }, data: { roots: roots?.join('\n') } };
  const kustomization = {
    apiVersion: 'kustomize.config.k8s.io/v1beta1', kind: 'Kustomization', resources: [deploy],
    ...(image !== undefined && { images: [{ name: 'cachepolicy-operator', newName, newTag }] }),
    ...(roots !== undefined && { patches: [{ patch: JSON.stringify(patch) }], transformers: [`${deploy}/render`] }),
  };
  mkdirSync(dir);
  writeFileSync(join(dir, 'kustomization.yaml'), JSON.stringify(kustomization));
  return { dir, [Symbol.dispose]: () => rmSync(scratch, { recursive: true }) };
}

export function aPolicy({ name = 'a3s-box', home = '/var/lib/a3s-box/home', limits = { maxEntries: 8 } as object, ...spec } = {}): KubeObject & { spec: object } {
  return { apiVersion, kind: 'CachePolicy', metadata: { name }, spec: { caches: [{ name: 'rootfs', a3sBox: { home, store: 'Rootfs' }, limits }], ...spec } };
}

/** A pod of the agents' account on a node, neither of which runs anywhere, and its token. */
export async function tokenOfAgent(podName: string, nodeName: string, account = 'cachepolicy-agent'): Promise<string> {
  const client = admin();
  await create(client, nodes, { apiVersion: 'v1', kind: 'Node', metadata: { name: nodeName } });
  const spec = { nodeName, serviceAccountName: account, containers: [{ name: 'agent', image: 'none' }], tolerations: [{ operator: 'Exists' }] };
  await create(client, pods, { apiVersion: 'v1', kind: 'Pod', metadata: { name: podName, namespace }, spec } as KubeObject);
  return (await kubectl(['create', 'token', account, '-n', namespace, '--bound-object-kind=Pod', `--bound-object-name=${podName}`])).trim();
}

async function create(client: KubeClient, resource: Resource, object: KubeObject): Promise<void> {
  try {
    await client.create(resource, object);
  } catch (error) {
    if (!(error instanceof KubeStatusError) || error.status !== 409) throw error;
  }
}

/** The calls of a kubelet, as far as process nodes make them. */
import { arch } from 'node:os';

import type { Connection } from '../../src/kube/connection.ts';
import type { KubeObject } from '../../src/kube/objects.ts';
import { configMaps, leases, nodes, pathOf, pods, type Resource } from '../../src/kube/resource.ts';
import { isConflict, isNotFound } from '../../src/kube/status-error.ts';
import { Transport } from '../../src/kube/transport.ts';
import { kubernetesVersion } from './binary-sources.ts';
import type { Pod, PodStatus } from './pod.ts';

const LEASE_SECONDS = 40;
const serviceAccounts: Resource = { apiVersion: 'v1', kind: 'ServiceAccount', plural: 'serviceaccounts', namespaced: true };
const apply = { method: 'PATCH', contentType: 'application/apply-patch+yaml', repeatable: true } as const;
const manager = { fieldManager: 'process-node', force: true };

export class NodeApi {
  readonly #transport: Transport;

  constructor(connection: Connection) {
    this.#transport = new Transport(connection, { userAgent: 'process-node' });
  }

  /** Makes the Node, or takes it over, and says that it is Ready. */
  async registerNode(name: string, labels: Readonly<Record<string, string>>, address: string): Promise<void> {
    const standard = { 'kubernetes.io/hostname': name, 'kubernetes.io/os': 'linux', 'kubernetes.io/arch': arch() === 'x64' ? 'amd64' : arch() };
    const node = { apiVersion: 'v1', kind: 'Node', metadata: { name, labels: { ...standard, ...labels } } };
    await this.#transport.request({ ...apply, path: pathOf(nodes, { name }, manager), body: node });
    const now = new Date().toISOString();
    const condition = (type: string, status: string) => ({ type, status, lastHeartbeatTime: now, lastTransitionTime: now, reason: 'ProcessNode' });
    const resources = { cpu: '8', memory: '32Gi', pods: '110', 'ephemeral-storage': '100Gi' };
    const status = {
      capacity: resources,
      allocatable: resources,
      addresses: [
        { type: 'InternalIP', address },
        { type: 'Hostname', address: name },
      ],
      conditions: [
        condition('Ready', 'True'),
        ...['MemoryPressure', 'DiskPressure', 'PIDPressure'].map((pressure) => condition(pressure, 'False')),
      ],
      nodeInfo: { kubeletVersion: kubernetesVersion, osImage: 'process node', operatingSystem: 'linux', architecture: standard['kubernetes.io/arch'], containerRuntimeVersion: 'process://1' },
    };
    await this.#merge(pathOf(nodes, { name, subresource: 'status' }), { status });
  }

  /** The heartbeat. A Node whose lease is older than 40 s turns NotReady. */
  async renewLease(nodeName: string): Promise<void> {
    const place = { namespace: 'kube-node-lease', name: nodeName };
    const spec = { holderIdentity: nodeName, leaseDurationSeconds: LEASE_SECONDS, renewTime: new Date().toISOString().replace('Z', '000Z') };
    const lease = { apiVersion: leases.apiVersion, kind: leases.kind, metadata: place, spec };
    await this.#transport.request({ ...apply, path: pathOf(leases, place, manager), body: lease });
  }

  async writeStatus({ metadata }: Pod, status: PodStatus): Promise<void> {
    const path = pathOf(pods, { namespace: metadata.namespace, name: metadata.name, subresource: 'status' });
    // A pod made again under the same name refuses the status of the one before.
    await this.#merge(path, { metadata: { uid: metadata.uid }, status });
  }

  /** A token that holds as long as the pod exists. */
  async podToken({ metadata, spec }: Pod, audience: string | undefined, expirationSeconds: number): Promise<string> {
    const place = { namespace: metadata.namespace, name: spec.serviceAccountName ?? 'default', subresource: 'token' };
    const boundObjectRef = { apiVersion: 'v1', kind: 'Pod', name: metadata.name, uid: metadata.uid };
    const body = {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenRequest',
      spec: { audiences: audience === undefined ? [] : [audience], expirationSeconds, boundObjectRef },
    };
    const path = pathOf(serviceAccounts, place);
    const { status } = await this.#transport.request<{ status: { token: string } }>({ method: 'POST', path, body, repeatable: true });
    return status.token;
  }

  /** @returns undefined where there is no such ConfigMap. */
  async configMapData(namespace: string, name: string): Promise<Record<string, string> | undefined> {
    try {
      const path = pathOf(configMaps, { namespace, name });
      const configMap = await this.#transport.request<KubeObject & { data?: Record<string, string> }>({ method: 'GET', path, repeatable: true });
      return configMap.data ?? {};
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  /** The last step of a pod's end: the object goes. It may be gone already. */
  async removePod({ metadata }: Pod): Promise<void> {
    const body = { apiVersion: 'v1', kind: 'DeleteOptions', gracePeriodSeconds: 0, preconditions: { uid: metadata.uid } };
    await this.#delete(pathOf(pods, { namespace: metadata.namespace, name: metadata.name }), body);
  }

  async removeNode(name: string): Promise<void> {
    await this.#delete(pathOf(nodes, { name }), { apiVersion: 'v1', kind: 'DeleteOptions' });
    await this.#delete(pathOf(leases, { namespace: 'kube-node-lease', name }), { apiVersion: 'v1', kind: 'DeleteOptions' });
  }

  close(): void {
    this.#transport.close();
  }

  get transport(): Transport {
    return this.#transport;
  }

  async #merge(path: string, body: object): Promise<void> {
    await this.#transport.request({ method: 'PATCH', contentType: 'application/merge-patch+json', path, body, repeatable: true });
  }

  async #delete(path: string, body: object): Promise<void> {
    try {
      await this.#transport.request({ method: 'DELETE', path, body, repeatable: true });
    } catch (error) {
      if (!isNotFound(error) && !isConflict(error)) throw error;
    }
  }
}

import { createHash } from 'node:crypto';
import {
  agentComponent, agentServiceAccount, apiVersion, childName, compiledPolicyKey, compiledPolicyMountPath, componentLabel, group,
  managedByLabel, nameLabel, operatorName, policyLabel,
} from '../api/names.ts';
import type { CachePolicy } from '../api/cachepolicy.gen.ts';
import type { CompiledPolicy } from '../policy/compiled.ts';
import { formatCapabilities } from '../policy/compiled.ts';
import type { KubeObject } from '../kube/objects.ts';

/** Says which desired state an object was last applied from, so that an unchanged one is not written again. */
export const appliedHashAnnotation = `${group}/applied-hash`;

type Child = KubeObject & { readonly data?: Record<string, string>; readonly spec?: object };

export interface ChildrenInput {
  readonly policy: CachePolicy & KubeObject;
  readonly compiled: CompiledPolicy;
  /** The allowed roots that the policy's caches lie below; these and no other directory are mounted. */
  readonly rootsInUse: readonly string[];
  readonly namespace: string;
  readonly image: string;
  /** Where the agents run, if not where the policy says. */
  readonly placement?: Placement | undefined;
}

/** The agents of a policy, as far as they are looked at. */
export interface DaemonSet extends KubeObject {
  spec?: { template?: { spec?: Placement } };
  status?: { observedGeneration?: number; desiredNumberScheduled?: number; currentNumberScheduled?: number; numberMisscheduled?: number };
}

export type Placement = Pick<CachePolicy['spec'], 'nodeSelector' | 'tolerations'>;

/** The two objects a policy needs: its compiled form for the agents to watch, and the agents. */
export function desiredChildren(input: ChildrenInput): readonly KubeObject[] {
  return [configMap(input), daemonSet(input)].map(withHash);
}

function configMap({ policy, compiled, namespace }: ChildrenInput): Child {
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: childMetadata(policy, namespace),
    data: { [compiledPolicyKey]: `${JSON.stringify(compiled)}\n` },
  };
}

/** Nothing in here depends on limits, mode, schedule or on paths below the same roots: changing those restarts no agent. The first `directory` cache of a policy does, and the last. */
function daemonSet({ policy, compiled, rootsInUse, namespace, image, placement = policy.spec }: ChildrenInput): Child {
  const capabilities = new Set(compiled.caches.flatMap(({ format }) => formatCapabilities[format]));
  const name = childName(policy.metadata.name);
  const labels = childLabels(policy.metadata.name);
  const spec = policy.spec;
  return {
    apiVersion: 'apps/v1',
    kind: 'DaemonSet',
    metadata: childMetadata(policy, namespace),
    spec: {
      selector: { matchLabels: { [policyLabel]: policy.metadata.name, [componentLabel]: agentComponent } },
      updateStrategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: spec.rollout?.maxUnavailable ?? '10%' } },
      template: {
        metadata: { labels },
        spec: {
          serviceAccountName: agentServiceAccount,
          // A policy that asks for nodes of another system must not come to all the others.
          nodeSelector: { 'kubernetes.io/os': 'linux', ...placement.nodeSelector },
          tolerations: placement.tolerations ?? [],
          // Kubelet refuses every other class while the node is under DiskPressure, whatever it tolerates.
          priorityClassName: 'system-node-critical',
          terminationGracePeriodSeconds: 30,
          securityContext: { runAsUser: 0, runAsGroup: 0, seccompProfile: { type: 'RuntimeDefault' } },
          containers: [
            {
              name: 'agent',
              image,
              // Memory: one thread, no optimising compilers (agent/compiler.ts turns one on where it pays) and a small heap; measured by `make bench`.
              command: ['/nodejs/bin/node', '--single-threaded', '--no-turbofan', '--no-maglev', '--max-semi-space-size=1', '--max-old-space-size=48', '/app/agent.cjs'],
              args: [
                `--policy=${policy.metadata.name}`,
                `--config=${compiledPolicyMountPath}/${compiledPolicyKey}`,
                '--listen=$(POD_IP):8080',
                ...rootsInUse.map((root) => `--allowed-root=${root}`),
              ],
              env: [
                fieldEnv('NODE_NAME', 'spec.nodeName'),
                fieldEnv('POD_NAME', 'metadata.name'),
                fieldEnv('POD_NAMESPACE', 'metadata.namespace'),
                fieldEnv('POD_UID', 'metadata.uid'),
                fieldEnv('POD_IP', 'status.podIP'),
                // glibc raises its own threshold with use, and then keeps what was freed: 9 MiB of the columns of 100,000 entries.
                { name: 'MALLOC_MMAP_THRESHOLD_', value: '131072' },
              ],
              ports: [{ name: 'health', containerPort: 8080 }],
              livenessProbe: { httpGet: { path: '/livez', port: 'health' }, periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 6 },
              readinessProbe: { httpGet: { path: '/readyz', port: 'health' }, periodSeconds: 5, timeoutSeconds: 5 },
              securityContext: {
                allowPrivilegeEscalation: false,
                readOnlyRootFilesystem: true,
                capabilities: { drop: ['ALL'], add: ['DAC_OVERRIDE', 'FOWNER', ...capabilities] },
              },
              resources: { requests: { cpu: '10m', memory: '80Mi' }, limits: { cpu: '500m', memory: '160Mi' } },
              volumeMounts: [
                { name: 'policy', mountPath: compiledPolicyMountPath, readOnly: true },
                ...rootsInUse.map((root, index) => ({ name: `root-${index}`, mountPath: root, mountPropagation: 'HostToContainer' })),
              ],
            },
          ],
          volumes: [
            { name: 'policy', configMap: { name, optional: true } },
            // A root that is missing on a node keeps the pod from starting, and the controller says so; never created by us.
            ...rootsInUse.map((root, index) => ({ name: `root-${index}`, hostPath: { path: root, type: 'Directory' } })),
          ],
        },
      },
    },
  };
}

function fieldEnv(name: string, fieldPath: string): object {
  return { name, valueFrom: { fieldRef: { fieldPath } } };
}

function childLabels(policyName: string): Record<string, string> {
  return { [nameLabel]: operatorName, [componentLabel]: agentComponent, [managedByLabel]: operatorName, [policyLabel]: policyName };
}

function childMetadata(policy: KubeObject, namespace: string): KubeObject['metadata'] {
  return {
    name: childName(policy.metadata.name),
    namespace,
    labels: childLabels(policy.metadata.name),
    // Deleting the policy deletes them; no finalizer stands in the way of a removal.
    ownerReferences: [{ apiVersion, kind: 'CachePolicy', name: policy.metadata.name, uid: policy.metadata.uid ?? '', controller: true }],
  };
}

function withHash(object: KubeObject): KubeObject {
  const hash = createHash('sha256').update(JSON.stringify(object)).digest('hex').slice(0, 16);
  return { ...object, metadata: { ...object.metadata, annotations: { [appliedHashAnnotation]: hash } } };
}

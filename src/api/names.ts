/** Every name that the parts of the operator share: groups, labels, accounts, objects. */

export const group = 'cache.a3s.dev';
export const version = 'v1alpha1';
export const apiVersion = `${group}/${version}`;

/** The namespace that the operator, its agents and their ConfigMaps live in, unless POD_NAMESPACE says otherwise. */
export const defaultNamespace = 'cachepolicy-system';

export const policyLabel = `${group}/policy`;
export const nameLabel = 'app.kubernetes.io/name';
export const componentLabel = 'app.kubernetes.io/component';
export const managedByLabel = 'app.kubernetes.io/managed-by';
export const operatorName = 'cachepolicy-operator';
export const agentComponent = 'agent';

export const agentServiceAccount = 'cachepolicy-agent';

/** Field managers of server-side apply: one writer an object. */
export const controllerFieldManager = 'cachepolicy-controller';
export const agentFieldManager = 'cachepolicy-agent';

/** Of its Deployment and its lease. */
export const controllerName = 'cachepolicy-controller';
export const leaseName = controllerName;
export const allowedRootsConfigMap = 'cachepolicy-allowed-roots';
export const defaultAllowedRoots: readonly string[] = ['/var/lib/a3s-box', '/var/cache'];

/** Name of a policy's ConfigMap and DaemonSet, and so the prefix of its pods. */
export function childName(policyName: string): string {
  return `cachepolicy-${policyName}`;
}

/** Key of the compiled policy in its ConfigMap, and name of the mounted file. */
export const compiledPolicyKey = 'policy.json';
export const compiledPolicyMountPath = '/etc/cachepolicy';

export function nodeCacheName(policyName: string, nodeName: string): string {
  return `${policyName}.${nodeName}`;
}

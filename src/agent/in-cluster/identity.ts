import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { OperatorError } from '../../errors.ts';

/** Who this agent is, as its environment and its token say. */
export interface Identity {
  readonly nodeName: string;
  readonly nodeUID: string;
  readonly podName: string;
  readonly podUID: string;
  readonly namespace: string;
}

/**
 * Reads the identity. The node's uid stands in no environment variable, but in the pod-bound token (Kubernetes 1.32 and later);
 * the agent has no right to read nodes.
 * @throws ERR_KUBE_CONFIG where this is no agent's pod
 */
export function readIdentity(env: NodeJS.ProcessEnv, serviceAccountDir: string): Identity {
  const field = (name: string) => {
    const value = env[name];
    if (value === undefined || value === '') throw new OperatorError('ERR_KUBE_CONFIG', `${name} is not set: this is no agent's pod; outside a cluster use agent -f policy.yaml`);
    return value;
  };
  return {
    nodeName: field('NODE_NAME'), podName: field('POD_NAME'), podUID: field('POD_UID'), namespace: field('POD_NAMESPACE'),
    nodeUID: nodeUIDOf(readFileSync(join(serviceAccountDir, 'token'), 'utf8')),
  };
}

function nodeUIDOf(token: string): string {
  try {
    const claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8')) as { 'kubernetes.io'?: { node?: { uid?: string } } };
    const uid = claims['kubernetes.io']?.node?.uid;
    if (uid !== undefined) return uid;
  } catch (error) {
    throw new OperatorError('ERR_KUBE_CONFIG', 'the service account token cannot be read as a JSON Web Token', { cause: error });
  }
  throw new OperatorError('ERR_KUBE_CONFIG', 'the service account token is not bound to a node; Kubernetes 1.32 or later is needed');
}

/** The connection of a process in a pod. */
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';

import { messageOf, OperatorError } from '../errors.ts';
import type { Connection } from './connection.ts';

/** Where the service account's token lies: kubelet's place, or CACHEPOLICY_SERVICE_ACCOUNT_DIR where the process shares its filesystem with others. */
export function serviceAccountDirOf(env: NodeJS.ProcessEnv): string {
  return env['CACHEPOLICY_SERVICE_ACCOUNT_DIR'] || '/var/run/secrets/kubernetes.io/serviceaccount';
}

/** True where the environment is that of a pod. */
export function isInCluster(env: NodeJS.ProcessEnv = process.env): boolean {
  return (env['KUBERNETES_SERVICE_HOST'] ?? '') !== '';
}

/**
 * Reads where the API server is from KUBERNETES_SERVICE_HOST and _PORT, and who we are from the service account's directory.
 * @throws ERR_KUBE_CONFIG
 */
export function inClusterConnection(env: NodeJS.ProcessEnv = process.env): Connection {
  const host = env['KUBERNETES_SERVICE_HOST'] ?? '';
  const port = env['KUBERNETES_SERVICE_PORT'] || '443';
  const dir = serviceAccountDirOf(env);
  if (host === '') throw new OperatorError('ERR_KUBE_CONFIG', 'KUBERNETES_SERVICE_HOST is not set, so this is not a pod');
  const server = URL.parse(`https://${host.includes(':') ? `[${host}]` : host}:${port}`);
  if (server === null) throw new OperatorError('ERR_KUBE_CONFIG', `KUBERNETES_SERVICE_HOST ${host} and _PORT ${port} are no address`);
  try {
    return {
      server,
      namespace: readFileSync(path.join(dir, 'namespace'), 'utf8').trim(),
      credentials: () => readCredentials(dir),
    };
  } catch (cause) {
    throw new OperatorError('ERR_KUBE_CONFIG', `the service account cannot be read: ${messageOf(cause)}`, { cause });
  }
}

async function readCredentials(dir: string) {
  try {
    const [token, ca] = await Promise.all([readFile(path.join(dir, 'token'), 'utf8'), readFile(path.join(dir, 'ca.crt'), 'utf8')]);
    return { authorization: `Bearer ${token.trim()}`, ca };
  } catch (cause) {
    throw new OperatorError('ERR_KUBE_CONFIG', `the service account cannot be read: ${messageOf(cause)}`, { cause });
  }
}

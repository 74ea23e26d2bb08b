/** The connection of a process outside a cluster, from a kubeconfig. Loads the whole client library (60 MiB): never to be reached from the agent. */
import { existsSync } from 'node:fs';
import type https from 'node:https';
import { homedir } from 'node:os';
import path from 'node:path';

import type { KubeConfig } from '@kubernetes/client-node';

import { messageOf, OperatorError } from '../errors.ts';
import type { Connection, Credentials } from './connection.ts';

export interface KubeconfigOptions {
  /** Default: the files in KUBECONFIG, then ~/.kube/config. */
  readonly file?: string | undefined;
  /** Default: the current context of the file. */
  readonly context?: string | undefined;
}

/**
 * Loads a kubeconfig with all it may hold: tokens, certificates, exec plug-ins, OIDC.
 * @throws ERR_KUBE_CONFIG
 */
export async function kubeconfigConnection(options: KubeconfigOptions = {}): Promise<Connection> {
  const config = await load(options.file);
  if (options.context !== undefined) config.setCurrentContext(options.context);
  const context = config.getContextObject(config.getCurrentContext());
  const cluster = config.getCurrentCluster();
  if (context === null || cluster === null) {
    throw new OperatorError('ERR_KUBE_CONFIG', `the kubeconfig has no context ${JSON.stringify(config.getCurrentContext() ?? '')} with a cluster`);
  }
  if (cluster.proxyUrl !== undefined) throw new OperatorError('ERR_KUBE_CONFIG', `cluster ${cluster.name}: proxy-url is not supported`);
  const server = URL.parse(cluster.server);
  if (server === null) throw new OperatorError('ERR_KUBE_CONFIG', `cluster ${cluster.name}: server ${cluster.server} is no URL`);
  return { server, namespace: context.namespace ?? 'default', credentials: () => credentialsOf(config) };
}

async function load(file: string | undefined): Promise<KubeConfig> {
  const { KubeConfig } = await import('@kubernetes/client-node');
  const config = new KubeConfig();
  const standard = process.env['KUBECONFIG'] || path.join(homedir(), '.kube', 'config');
  try {
    if (file !== undefined) config.loadFromFile(file);
    // Without this the library would go on to a server on localhost:8080.
    else if (!standard.split(path.delimiter).some((name) => existsSync(name))) throw new Error(`${standard} does not exist`);
    else config.loadFromDefault();
  } catch (cause) {
    throw new OperatorError('ERR_KUBE_CONFIG', `the kubeconfig cannot be read: ${messageOf(cause)}`, { cause });
  }
  return config;
}

async function credentialsOf(config: KubeConfig): Promise<Credentials> {
  const options: https.RequestOptions & { headers: Record<string, string> } = { headers: {} };
  try {
    await config.applyToHTTPSOptions(options);
  } catch (cause) {
    throw new OperatorError('ERR_KUBE_CONFIG', `the kubeconfig gives no credentials: ${messageOf(cause)}`, { cause });
  }
  const { ca, cert, key, servername, auth } = options;
  const authorization = typeof auth === 'string' ? `Basic ${Buffer.from(auth).toString('base64')}` : options.headers['Authorization'];
  return {
    ...(authorization !== undefined && { authorization }),
    ...(ca !== undefined && { ca: String(ca) }),
    ...(cert !== undefined && { cert: String(cert) }),
    ...(key !== undefined && { key: String(key) }),
    ...(servername !== undefined && { serverName: servername }),
    ...(options.rejectUnauthorized === false && { insecure: true }),
  };
}

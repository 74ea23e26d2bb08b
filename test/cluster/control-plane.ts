/** A real control plane as child processes: etcd, kube-apiserver, kube-controller-manager, kube-scheduler. */
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { findBinaries } from './binaries.ts';
import type { OtherKubernetes } from './binary-sources.ts';
import { startChild, type Child } from './child.ts';
import { freePort } from './free-port.ts';
import { writeKubeconfig } from './kubeconfig.ts';
import { silent, type Log } from './log.ts';
import { run } from './run.ts';
import { createRunDir, removeAbandonedRuns, type RunDir } from './run-dir.ts';

export type Component = 'etcd' | 'kube-apiserver' | 'kube-controller-manager' | 'kube-scheduler';

/** In the order in which they start. They stop in the opposite one: an apiserver without its etcd hangs. */
const startOrder: readonly Component[] = ['etcd', 'kube-apiserver', 'kube-controller-manager', 'kube-scheduler'];

const READY_DEADLINE_MS = 120_000;
const READY_POLL_MS = 100;
// The apiserver waits for its open watches; nothing is lost when it is killed.
const STOP_DEADLINE_MS = 3_000;
const PORT_ATTEMPTS = 3;
const KUBELET_CLIENT = 'kubelet-client';

/** The address of the API inside pods of real nodes: the first of the service range. */
export const serviceAddress = '10.96.0.1';
const SERVICE_RANGE = '10.96.0.0/16';

/** A user who may sign in with a static token. */
export interface User {
  readonly name: string;
  readonly groups: readonly string[];
  readonly token: string;
}

export interface ControlPlaneOptions {
  /** Default: all four. */
  readonly components?: readonly Component[];
  /** The API server is of another version than go.mod names. */
  readonly kubernetes?: OtherKubernetes;
  /** Besides the administrator. */
  readonly users?: readonly User[];
  /** The apiserver gets a certificate for its calls to kubelets (logs, exec). Needs openssl. */
  readonly kubeletClient?: boolean;
  /** Flags after ours, such as `{'kube-controller-manager': ['--node-monitor-grace-period=20s']}`. */
  readonly extraFlags?: Partial<Record<Component, readonly string[]>>;
  /** Ends the start: what was started is stopped again. */
  readonly signal?: AbortSignal | undefined;
  readonly log?: Log;
}

export interface ControlPlane extends AsyncDisposable {
  /** For an administrator, with a token. */
  readonly kubeconfigPath: string;
  /** Such as `https://127.0.0.1:34567`. */
  readonly server: string;
  readonly caFile: string;
  readonly adminToken: string;
  /** PEM: the certificate with which the apiserver calls kubelets, where it has one. It is its own authority. */
  readonly kubeletClientFile: string;
  readonly kubectlPath: string;
  readonly runDir: RunDir;
  /** @returns standard output. @throws with what kubectl said when it fails. */
  kubectl(args: readonly string[], options?: { readonly input?: string }): Promise<string>;
  /** Ends one component, for tests of outages. */
  stopComponent(component: Component): Promise<void>;
  /** Starts it again, on the same port and data, and waits until it is ready. */
  startComponent(component: Component): Promise<void>;
  stop(): Promise<void>;
}

/** Starts a control plane and waits until it is ready. It ends with this process. @throws with the end of the log of what failed. */
export async function startControlPlane(options: ControlPlaneOptions = {}): Promise<ControlPlane> {
  const log = options.log ?? silent;
  const components = startOrder.filter((component) => options.components?.includes(component) ?? true);
  const binaries = await findPrograms(components, options, log);
  removeAbandonedRuns(log);
  for (let attempt = 1; ; attempt++) {
    try {
      return await startOnce(options, components, binaries, log);
    } catch (error) {
      // Between picking a port and binding it, another process may take it.
      if (attempt === PORT_ATTEMPTS || !/address already in use/.test((error as Error).message)) throw error;
      log('a port was taken meanwhile; trying again with others');
    }
  }
}

async function findPrograms(components: readonly Component[], { kubernetes, signal }: ControlPlaneOptions, log: Log): Promise<Readonly<Record<string, string>>> {
  const apiserver = kubernetes === undefined ? 'kube-apiserver' : (`kube-apiserver@${kubernetes}` as const);
  const binaries: Readonly<Record<string, string>> = await findBinaries([...components.map((each) => (each === 'kube-apiserver' ? apiserver : each)), 'kubectl'], log, signal);
  return { ...binaries, 'kube-apiserver': binaries[apiserver] ?? '' };
}

async function startOnce(
  options: ControlPlaneOptions,
  components: readonly Component[],
  binaries: Readonly<Record<string, string>>,
  log: Log,
): Promise<ControlPlane> {
  const runDir = createRunDir();
  const dir = runDir.dir('control-plane');
  const port = await freePort();
  const server = `https://127.0.0.1:${port}`;
  const adminToken = randomBytes(24).toString('base64url');
  const certDir = runDir.dir('control-plane', 'certificates');
  // The apiserver writes this file itself, for 127.0.0.1, localhost, kubernetes.default.svc and the service address.
  const caFile = join(certDir, 'apiserver.crt');
  const kubeconfigPath = join(dir, 'admin.kubeconfig');
  const flags = componentFlags({ dir, port, certDir, caFile, kubeconfigPath, options });
  writeTokens(dir, [{ name: 'admin', groups: ['system:masters'], token: adminToken }, ...(options.users ?? [])]);
  writeServiceAccountKeys(dir);
  if (options.kubeletClient) await createKubeletClient(dir);
  writeKubeconfig(kubeconfigPath, { server, caFile, token: adminToken });

  const children = new Map<Component, Child>();
  const api = { server, caFile, adminToken };
  const start = async (component: Component): Promise<void> => {
    const args = [...flags[component], ...(options.extraFlags?.[component] ?? [])];
    const logFile = join(runDir.dir('logs'), `${component}.log`);
    const child = await startChild(binaries[component] as string, args, { logFile, stopDeadlineMs: STOP_DEADLINE_MS });
    children.set(component, child);
    await waitUntil(child, readiness(component, api, join(dir, 'etcd.sock')), options.signal);
  };
  const controlPlane: ControlPlane = {
    kubeconfigPath,
    ...api,
    kubeletClientFile: join(dir, `${KUBELET_CLIENT}.crt`),
    kubectlPath: binaries['kubectl'] as string,
    runDir,
    kubectl: (args, { input } = {}) => {
      const env = { PATH: process.env['PATH'], HOME: dir, KUBECONFIG: kubeconfigPath };
      return run(binaries['kubectl'] as string, args, { env, ...(input === undefined ? {} : { input }) });
    },
    stopComponent: async (component) => {
      await children.get(component)?.stop();
    },
    startComponent: start,
    stop: async () => {
      for (const component of components.toReversed()) await children.get(component)?.stop();
      runDir.remove();
    },
    [Symbol.asyncDispose]: () => controlPlane.stop(),
  };
  try {
    for (const component of components) {
      log(`starting ${component}`);
      options.signal?.throwIfAborted();
      await start(component);
    }
  } catch (error) {
    await controlPlane.stop();
    throw error;
  }
  log(`the control plane is ready at ${server}`);
  return controlPlane;
}

interface FlagInputs {
  readonly dir: string;
  readonly port: number;
  readonly certDir: string;
  readonly caFile: string;
  readonly kubeconfigPath: string;
  readonly options: ControlPlaneOptions;
}

function componentFlags({ dir, port, certDir, caFile, kubeconfigPath, options }: FlagInputs): Record<Component, string[]> {
  const etcdUrl = `unix://${join(dir, 'etcd.sock')}`;
  // etcd wants to advertise hosts and ports. Nobody asks a single member for them, so nothing listens there.
  const advertised = 'http://127.0.0.1:2379';
  const signingKey = join(dir, 'service-account.key');
  return {
    etcd: [
      `--data-dir=${join(dir, 'etcd')}`,
      `--listen-client-urls=${etcdUrl}`,
      `--advertise-client-urls=${advertised}`,
      `--listen-peer-urls=unix://${join(dir, 'etcd-peer.sock')}`,
      `--initial-advertise-peer-urls=${advertised}`,
      `--initial-cluster=default=${advertised}`,
      '--log-level=warn',
      // The data lives as long as the test.
      '--unsafe-no-fsync',
    ],
    'kube-apiserver': [
      `--etcd-servers=${etcdUrl}`,
      '--bind-address=127.0.0.1',
      `--secure-port=${port}`,
      `--cert-dir=${certDir}`,
      `--token-auth-file=${join(dir, 'tokens.csv')}`,
      '--authorization-mode=Node,RBAC',
      '--enable-admission-plugins=NodeRestriction',
      '--allow-privileged=true',
      '--service-account-issuer=https://kubernetes.default.svc',
      `--service-account-key-file=${signingKey}`,
      `--service-account-signing-key-file=${signingKey}`,
      `--service-cluster-ip-range=${SERVICE_RANGE}`,
      '--kubelet-preferred-address-types=InternalIP',
      // Nothing routes to the service: process nodes use 127.0.0.1, real nodes listen on the service address themselves.
      '--advertise-address=127.0.0.1',
      '--endpoint-reconciler-type=none',
      '--profiling=false',
      ...(options.kubeletClient
        ? [`--kubelet-client-certificate=${join(dir, KUBELET_CLIENT)}.crt`, `--kubelet-client-key=${join(dir, KUBELET_CLIENT)}.key`]
        : []),
    ],
    'kube-controller-manager': [
      `--kubeconfig=${kubeconfigPath}`,
      `--service-account-private-key-file=${signingKey}`,
      `--root-ca-file=${caFile}`,
      '--leader-elect=false',
      '--secure-port=0',
      '--kube-api-qps=200',
      '--kube-api-burst=400',
    ],
    'kube-scheduler': [`--kubeconfig=${kubeconfigPath}`, '--leader-elect=false', '--secure-port=0'],
  };
}

function writeTokens(dir: string, users: readonly User[]): void {
  const lines = users.map(({ name, groups, token }) => `${token},${name},${name},"${groups.join(',')}"\n`);
  writeFileSync(join(dir, 'tokens.csv'), lines.join(''), { mode: 0o600 });
}

function writeServiceAccountKeys(dir: string): void {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  writeFileSync(join(dir, 'service-account.key'), privateKey.export({ type: 'pkcs1', format: 'pem' }), { mode: 0o600 });
}

async function createKubeletClient(dir: string): Promise<void> {
  const [certificate, key] = [join(dir, `${KUBELET_CLIENT}.crt`), join(dir, `${KUBELET_CLIENT}.key`)];
  const subject = '/O=system:masters/CN=kube-apiserver-kubelet-client';
  const keyType = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-noenc'];
  const usage = ['-addext', 'extendedKeyUsage=clientAuth', '-days', '30'];
  await run('openssl', ['req', '-x509', ...keyType, ...usage, '-subj', subject, '-keyout', key, '-out', certificate]);
}

interface Api {
  readonly server: string;
  readonly caFile: string;
  readonly adminToken: string;
}

/** What tells that a component works; all have to be there before the next starts. */
function readiness(component: Component, api: Api, etcdSocket: string): () => Promise<boolean> {
  switch (component) {
    case 'etcd':
      return async () => existsSync(etcdSocket);
    case 'kube-apiserver':
      return () => answersOk(api, '/readyz');
    case 'kube-controller-manager':
      // Pods are refused before their service account is there, and cannot be mounted before the certificate is.
      return async () =>
        (await answersOk(api, '/api/v1/namespaces/default/serviceaccounts/default')) &&
        (await answersOk(api, '/api/v1/namespaces/default/configmaps/kube-root-ca.crt'));
    case 'kube-scheduler':
      return async () => true;
  }
}

/** Whether a GET is answered with 200. */
async function answersOk({ server, caFile, adminToken }: Api, path: string): Promise<boolean> {
  if (!existsSync(caFile)) return false;
  return new Promise((resolve) => {
    const attempt = request(`${server}${path}`, {
      ca: readFileSync(caFile),
      headers: { authorization: `Bearer ${adminToken}` },
      agent: false,
      timeout: 5_000,
    });
    attempt.once('response', (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    attempt.once('timeout', () => attempt.destroy());
    attempt.once('error', () => resolve(false));
    attempt.end();
  });
}

async function waitUntil(child: Child, ready: () => Promise<boolean>, signal?: AbortSignal): Promise<void> {
  const deadline = performance.now() + READY_DEADLINE_MS;
  while (!(await ready())) {
    signal?.throwIfAborted();
    const trouble =
      child.exit !== undefined
        ? `ended with ${child.exit.signal ?? `status ${child.exit.code}`}`
        : performance.now() > deadline
          ? `is not ready after ${READY_DEADLINE_MS / 1000} s`
          : undefined;
    if (trouble !== undefined) throw new Error(`${child.name} ${trouble}; the end of ${child.logFile}:\n${child.tail()}`);
    await delay(READY_POLL_MS);
  }
}

/**
 * Inside a real node: mounts, addresses, containerd, kubelet. Started by real-nodes.ts in new mount, pid, network, IPC and UTS
 * namespaces. When it ends, the kernel ends every process of the node and takes mounts and links away.
 *
 * Takes commands on standard input, one word a line: `start-kubelet`, `stop-kubelet`. The end of standard input is the end of the node.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';

import { startChild, type Child } from './child.ts';
import { cniConfig, cniConfigDir, containerdConfig, containerdSocket, pauseImage, type NodePaths } from './real-node-config.ts';

export interface NodeSpec extends NodePaths {
  readonly name: string;
  /** On the machine's disk; `var/lib`, `var/cache` and `var/log` below it become the node's own. */
  readonly dir: string;
  readonly logDir: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly podSubnet: string;
  /** The node's end of the link to the machine. */
  readonly address: string;
  readonly prefixLength: number;
  /** Where the pods find the API. */
  readonly serviceAddress: string;
  /** A Unix socket on the machine that leads to the API: it needs no route and passes every firewall. */
  readonly apiSocket: string;
  readonly kubeconfigPath: string;
  readonly kubeletConfigPath: string;
  readonly pauseArchive: string;
  readonly binaries: Readonly<Record<'containerd' | 'containerd-shim-runc-v2' | 'ctr' | 'kubelet', string>>;
}

/** Folders that every Linux machine has. Each node has its own: nothing of a node is ever written to the machine's. */
export const ownFolders = ['/var/lib', '/var/cache', '/var/log'] as const;

/** Told on standard output when kubelet was started first, and after each command. */
export const DONE = 'done';

const DEADLINE_MS = 60_000;
const POLL_MS = 50;

async function main(spec: NodeSpec): Promise<void> {
  mountOwnFolders(spec);
  await configureNetwork(spec);
  await serveApi(spec);
  const containerd = await startContainerd(spec);
  void containerd.exited.then(() => fail(containerd));

  let kubelet: Child | undefined;
  const commands = {
    'start-kubelet': async () => {
      const started = await startKubelet(spec);
      kubelet = started;
      void started.exited.then(() => kubelet === started && fail(started));
    },
    'stop-kubelet': async () => {
      const stopped = kubelet;
      kubelet = undefined;
      await stopped?.stop();
    },
  };
  await commands['start-kubelet']();
  process.stdout.write(`${DONE}\n`);
  for await (const line of createInterface({ input: process.stdin })) {
    await commands[line as keyof typeof commands]();
    process.stdout.write(`${DONE}\n`);
  }
  process.exit(0);
}

function fail(child: Child): void {
  process.stderr.write(`${child.name} ended; the end of ${child.logFile}:\n${child.tail()}\n`);
  process.exit(1);
}

function mountOwnFolders({ dir, name }: NodeSpec): void {
  // HostToContainer in a pod needs a shared root. The namespace is new, so nothing of this reaches the machine.
  must('mount', ['--make-rshared', '/']);
  for (const folder of ownFolders) {
    const own = join(dir, folder);
    mkdirSync(own, { recursive: true });
    must('mount', ['--bind', own, folder]);
  }
  must('mount', ['-t', 'tmpfs', '-o', 'mode=755', 'tmpfs', '/run']);
  must('hostname', [name]);
}

async function configureNetwork(spec: NodeSpec): Promise<void> {
  must('ip', ['link', 'set', 'lo', 'up']);
  must('ip', ['address', 'add', `${spec.serviceAddress}/32`, 'dev', 'lo']);
  // The machine moves the other end of the link in here.
  await until('the link to the machine', () => existsSync('/proc/sys/net/ipv4/conf/eth0'));
  must('ip', ['address', 'add', `${spec.address}/${spec.prefixLength}`, 'dev', 'eth0']);
  must('ip', ['link', 'set', 'eth0', 'up']);
  // The pods' default route leads here; without one here, kubelet and plug-ins see no address of the node.
  must('ip', ['route', 'add', 'default', 'dev', 'eth0']);
  writeFileSync('/proc/sys/net/ipv4/ip_forward', '1');
}

/** The service address of the API leads to the apiserver of the machine. */
async function serveApi({ serviceAddress, apiSocket }: NodeSpec): Promise<void> {
  const server = createServer((client) => {
    const api = connect(apiSocket);
    client.pipe(api).pipe(client);
    client.on('error', () => api.destroy()).on('close', () => api.destroy());
    api.on('error', () => client.destroy()).on('close', () => client.destroy());
  });
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(443, serviceAddress, resolve));
}

async function startContainerd(spec: NodeSpec): Promise<Child> {
  mkdirSync(cniConfigDir, { recursive: true });
  writeFileSync(join(cniConfigDir, '10-pods.conflist'), JSON.stringify(cniConfig(spec.podSubnet)));
  const config = '/run/cachepolicy-test/containerd.toml';
  writeFileSync(config, containerdConfig(spec));
  const containerd = await startChild(spec.binaries.containerd, ['--config', config], {
    logFile: join(spec.logDir, `${spec.name}-containerd.log`),
    // It looks for its shim on PATH.
    env: { ...process.env, PATH: `${dirname(spec.binaries['containerd-shim-runc-v2'])}:${process.env['PATH']}` },
  });
  await until('containerd', () => {
    if (containerd.exit !== undefined) fail(containerd);
    return spawnSync(spec.binaries.ctr, ['--address', containerdSocket, 'version'], { stdio: 'ignore' }).status === 0;
  });
  const ctr = ['--address', containerdSocket, '--namespace', 'k8s.io', 'images'];
  must(spec.binaries.ctr, [...ctr, 'import', spec.pauseArchive]);
  must(spec.binaries.ctr, [...ctr, 'label', pauseImage, 'io.cri-containerd.pinned=pinned']);
  return containerd;
}

function startKubelet(spec: NodeSpec): Promise<Child> {
  const labels = Object.entries(spec.labels).map(([name, value]) => `${name}=${value}`);
  const args = [
    `--config=${spec.kubeletConfigPath}`,
    `--kubeconfig=${spec.kubeconfigPath}`,
    `--hostname-override=${spec.name}`,
    `--node-ip=${spec.address}`,
    `--node-labels=${labels.join(',')}`,
  ];
  return startChild(spec.binaries.kubelet, args, { logFile: join(spec.logDir, `${spec.name}-kubelet.log`) });
}

function must(command: string, args: readonly string[]): void {
  const { status, error, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${[command, ...args].join(' ')}: ${error?.message ?? stderr.trim()}`);
}

async function until(what: string, holds: () => boolean): Promise<void> {
  const deadline = performance.now() + DEADLINE_MS;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`no sign of ${what} after ${DEADLINE_MS / 1000} s`);
    await delay(POLL_MS);
  }
}

if (import.meta.main) await main(JSON.parse(readFileSync(process.argv[2] as string, 'utf8')) as NodeSpec);

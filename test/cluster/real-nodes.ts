/**
 * Real nodes on this machine: kubelet, containerd, runc and CNI, each node in namespaces of its own (mount, pid, network, IPC, UTS).
 * Each has its own /var/lib, /var/cache, /var/log and /run, so the same hostPath shows each node's own data, and nothing is
 * written to the machine's. Needs Linux and root.
 */
import { spawnSync } from 'node:child_process';
import { randomBytes, randomInt } from 'node:crypto';
import { copyFile, rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { homedir, networkInterfaces } from 'node:os';
import { join } from 'node:path';

import { findBinaries } from './binaries.ts';
import { cgroupMounts, removeCgroups } from './cgroups.ts';
import { serviceAddress, startControlPlane, type ControlPlane } from './control-plane.ts';
import { writeImageArchive } from './image-archive.ts';
import { silent, type Log } from './log.ts';
import { ownFolders } from './node-init.ts';
import { findProgram, isExecutable } from './program.ts';
import { pauseImage } from './real-node-config.ts';
import { startRealNode, type RealNode } from './real-node.ts';
import { linkName } from './teardown-check.ts';

const programs = ['unshare', 'nsenter', 'setpriv', 'mount', 'hostname', 'ip', 'tar', 'openssl', 'runc'] as const;
const cniPlugins = ['bridge', 'host-local', 'loopback'] as const;
const cniBinDirs = ['/opt/cni/bin', '/usr/lib/cni', '/usr/libexec/cni'] as const;

/** Why real nodes cannot run on this machine, in one sentence; undefined where they can. */
export function canRun(): string | undefined {
  if (process.platform !== 'linux') return 'real nodes need Linux';
  if (process.getuid?.() !== 0) return 'real nodes need root';
  const missing = programs.filter((program) => findProgram(program) === undefined);
  if (missing.length > 0) return `real nodes need ${missing.join(', ')} on PATH (Debian: util-linux, iproute2, openssl, runc)`;
  if (findCniBinDir() === undefined) return `real nodes need the CNI plug-ins ${cniPlugins.join(', ')} (Debian: containernetworking-plugins)`;
  if (cgroupMounts().length === 0) return 'real nodes need a mounted cgroup filesystem';
  for (const path of [import.meta.dirname, process.execPath, homedir()]) {
    const hidden = [...ownFolders, '/run'].find((folder) => path.startsWith(`${folder}/`));
    if (hidden !== undefined) return `real nodes hide ${hidden} of this machine, and ${path} lies below it`;
  }
  const namespaces = ['--mount', '--pid', '--net', '--ipc', '--uts', '--fork', '--kill-child', '--mount-proc'];
  const { status, stderr } = spawnSync('unshare', [...namespaces, 'ip', 'link', 'add', 'type', 'veth'], { encoding: 'utf8' });
  return status === 0 ? undefined : `real nodes need new namespaces with a veth link: ${stderr.trim()}`;
}

export interface RealClusterOptions {
  /** Default: `node-1` and `node-2`. */
  readonly nodes?: readonly string[];
  /** On every node, besides those that kubelet sets. */
  readonly labels?: Readonly<Record<string, string>>;
  /** Image archives to import into every node. Use them with `imagePullPolicy: Never`. */
  readonly images?: readonly string[];
  /** Ends the start: what was started is stopped again. */
  readonly signal?: AbortSignal | undefined;
  readonly log?: Log;
}

export interface RealCluster extends AsyncDisposable {
  readonly controlPlane: ControlPlane;
  readonly nodes: readonly RealNode[];
  stop(): Promise<void>;
}

/** Starts a control plane and real nodes, and waits until the nodes are Ready. @throws with what canRun says, or the log of what failed. */
export async function startRealCluster(options: RealClusterOptions = {}): Promise<RealCluster> {
  const reason = canRun();
  if (reason !== undefined) throw new Error(reason);
  const log = options.log ?? silent;
  const accounts = (options.nodes ?? ['node-1', 'node-2']).map((name) => ({ name, token: randomBytes(24).toString('base64url') }));
  const users = accounts.map(({ name, token }) => ({ name: `system:node:${name}`, groups: ['system:nodes'], token }));
  const binaries = await findBinaries(['containerd', 'containerd-shim-runc-v2', 'ctr', 'kubelet', 'pause'], log, options.signal);

  // What was started is stopped in the opposite order, also when something below fails.
  await using started = new AsyncDisposableStack();
  const controlPlane = started.use(await startControlPlane({ log, users, kubeletClient: true, signal: options.signal }));
  const { runDir } = controlPlane;
  // The kernel ends the nodes a moment after this process; until then their folders are in use.
  runDir.leaveOnExit();
  started.defer(() => removeCgroups(runDir.name));
  const apiSocket = join(runDir.path, 'api.sock');
  started.use(await forwardSocket(apiSocket, Number(new URL(controlPlane.server).port)));
  const pauseArchive = join(runDir.dir('images'), 'pause.tar');
  await writePauseArchive(pauseArchive, runDir.dir('images', 'pause'), binaries.pause);

  const network = freeNetwork();
  const nodes: RealNode[] = [];
  for (const [index, { name, token }] of accounts.entries()) {
    options.signal?.throwIfAborted();
    const node = await startRealNode({
      name,
      token,
      controlPlane,
      labels: options.labels ?? {},
      log,
      link: {
        machineName: linkName(runDir.name, index + 1),
        // Four addresses a node: the network, the machine's end, the node's end, broadcast.
        machineAddress: `${network}.${4 * index + 1}`,
        nodeAddress: `${network}.${4 * index + 2}`,
        prefixLength: 30,
      },
      podSubnet: `10.244.${index + 1}.0/24`,
      serviceAddress,
      apiSocket,
      pauseArchive,
      cniBinDir: findCniBinDir() as string,
      runcPath: findProgram('runc') as string,
      binaries,
    });
    nodes.push(started.use(node));
  }
  await Promise.all(
    nodes.map(async (node) => {
      for (const archive of options.images ?? []) await node.importImage(archive);
      await node.waitReady();
      log(`${node.name} is Ready`);
    }),
  );
  const stack = started.move();
  return { controlPlane, nodes, stop: () => stack.disposeAsync(), [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

/** Connections to the Unix socket go to the port on 127.0.0.1: a node has no route to the machine's loopback, but shares its files. */
async function forwardSocket(path: string, port: number): Promise<AsyncDisposable> {
  const server = createServer((client) => {
    const target = connect(port, '127.0.0.1');
    client.pipe(target).pipe(client);
    client.on('error', () => target.destroy()).on('close', () => target.destroy());
    target.on('error', () => client.destroy()).on('close', () => client.destroy());
  });
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(path, resolve));
  return { [Symbol.asyncDispose]: () => new Promise<void>((resolve) => server.close(() => resolve())) };
}

async function writePauseArchive(archive: string, rootDir: string, binary: string): Promise<void> {
  await copyFile(binary, join(rootDir, 'pause'));
  await writeImageArchive(archive, { reference: pauseImage, rootDir, entrypoint: ['/pause'] });
  await rm(rootDir, { recursive: true });
}

/** The first three numbers of a /24 for the links, from the range for benchmarks (198.18.0.0/15), that no interface uses. */
function freeNetwork(): string {
  const used = Object.values(networkInterfaces()).flatMap((addresses) => addresses?.map(({ address }) => address) ?? []);
  for (;;) {
    const network = `198.18.${randomInt(256)}`;
    if (!used.some((address) => address.startsWith(`${network}.`))) return network;
  }
}

function findCniBinDir(): string | undefined {
  return cniBinDirs.find((folder) => cniPlugins.every((plugin) => isExecutable(join(folder, plugin))));
}

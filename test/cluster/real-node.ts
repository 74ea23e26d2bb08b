/** One real node, seen from the machine: its namespaces, its link, its kubelet. What runs inside is node-init.ts. */
import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { closeSync, existsSync, openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';

import { createCgroup } from './cgroups.ts';
import type { ControlPlane } from './control-plane.ts';
import { writeKubeconfig } from './kubeconfig.ts';
import type { Log } from './log.ts';
import { DONE, ownFolders, type NodeSpec } from './node-init.ts';
import { containerdSocket, kubeletConfig } from './real-node-config.ts';
import { run } from './run.ts';

const CONDITION_TIMEOUT = '--timeout=120s';
const STOP_DEADLINE_MS = 10_000;
const LINK_GONE_DEADLINE_MS = 10_000;
const POLL_MS = 20;

export interface RealNode extends AsyncDisposable {
  readonly name: string;
  /** Where a path below /var/lib, /var/cache or /var/log of the node lies on this machine. @throws for other paths. */
  hostPath(path: string): string;
  /** Runs a program of this machine inside the node's namespaces. @returns its standard output. @throws with what it said. */
  exec(command: string, args: readonly string[]): Promise<string>;
  /** Imports an image archive, and keeps its images from kubelet's garbage collection. */
  importImage(archive: string): Promise<void>;
  waitReady(): Promise<void>;
  /** Makes kubelet say that its disk is nearly full, or not any more, and waits until the Node says so too. */
  setDiskPressure(on: boolean): Promise<void>;
  /** As when kubelet dies: the pods go on running. */
  stopKubelet(): Promise<void>;
  startKubelet(): Promise<void>;
  /** As when the power fails. The Node object stays. */
  stop(): Promise<void>;
}

export interface Link {
  /** At most 15 characters. */
  readonly machineName: string;
  readonly machineAddress: string;
  readonly nodeAddress: string;
  readonly prefixLength: number;
}

type FromSpec = 'name' | 'labels' | 'podSubnet' | 'serviceAddress' | 'apiSocket' | 'pauseArchive' | 'cniBinDir' | 'runcPath' | 'binaries';

export interface RealNodeOptions extends Pick<NodeSpec, FromSpec> {
  readonly controlPlane: ControlPlane;
  /** Of the user `system:node:<name>`. */
  readonly token: string;
  readonly link: Link;
  readonly log: Log;
}

/** Starts the node as far as its kubelet; `waitReady` waits for the rest. @throws with the log of what failed. */
export async function startRealNode(options: RealNodeOptions): Promise<RealNode> {
  const { name, controlPlane, token, link, log, ...shared } = options;
  const { runDir } = controlPlane;
  log(`starting ${name}`);
  const dir = runDir.dir('nodes', name);
  const spec: NodeSpec = {
    ...shared,
    name,
    dir,
    logDir: runDir.dir('logs'),
    address: link.nodeAddress,
    prefixLength: link.prefixLength,
    kubeconfigPath: join(dir, 'kubelet.kubeconfig'),
    kubeletConfigPath: join(dir, 'kubelet.json'),
  };
  const cgroup = `${runDir.name}/${name}`;
  const configureKubelet = (diskPressure: boolean) => {
    const config = kubeletConfig({ cgroup, clientCaFile: controlPlane.kubeletClientFile, diskPressure });
    writeFileSync(spec.kubeletConfigPath, JSON.stringify(config, undefined, 2));
  };
  createCgroup(cgroup);
  writeKubeconfig(spec.kubeconfigPath, { server: `https://${spec.serviceAddress}:443`, caFile: controlPlane.caFile, token });
  configureKubelet(false);
  writeFileSync(join(dir, 'spec.json'), JSON.stringify(spec, undefined, 2));

  const init = await startInit(join(dir, 'spec.json'), join(spec.logDir, `${name}-init.log`));
  const node: RealNode = {
    name,
    hostPath: (path) => {
      if (!ownFolders.some((folder) => path.startsWith(`${folder}/`))) throw new Error(`${path} is not below ${ownFolders.join(', ')}`);
      return join(dir, path);
    },
    exec: async (command, args) => run('nsenter', ['--target', String(init.pid), '--all', '--', command, ...args]),
    importImage: async (archive) => {
      const images = ['--address', containerdSocket, '--namespace', 'k8s.io', 'images'];
      await node.exec(spec.binaries.ctr, [...images, 'import', archive]);
      const references = (await node.exec(spec.binaries.ctr, [...images, 'list', '--quiet'])).trim().split('\n');
      for (const reference of references.filter((text) => !text.startsWith('sha256:'))) {
        await node.exec(spec.binaries.ctr, [...images, 'label', reference, 'io.cri-containerd.pinned=pinned']);
      }
    },
    waitReady: async () => {
      const wait = async (condition: string) => controlPlane.kubectl(['wait', `--for=${condition}`, `node/${name}`, CONDITION_TIMEOUT]);
      const ready = wait('create').then(() => wait('condition=Ready'));
      await Promise.race([ready, init.failed]).catch((error: Error) => {
        const kubeletLog = join(spec.logDir, `${name}-kubelet.log`);
        throw new Error(`${name} is not Ready: ${error.message}; the end of ${kubeletLog}:\n${tailOf(kubeletLog)}`);
      });
    },
    setDiskPressure: async (on) => {
      configureKubelet(on);
      await init.command('stop-kubelet');
      await init.command('start-kubelet');
      await controlPlane.kubectl(['wait', `--for=condition=DiskPressure=${on}`, `node/${name}`, CONDITION_TIMEOUT]);
    },
    stopKubelet: () => init.command('stop-kubelet'),
    startKubelet: () => init.command('start-kubelet'),
    stop: async () => {
      await init.stop();
      await untilLinkGone(link.machineName);
    },
    [Symbol.asyncDispose]: () => node.stop(),
  };
  try {
    await addLink(link, init.pid);
    await init.done();
    return node;
  } catch (error) {
    await node.stop();
    throw error;
  }
}

interface Init {
  /** Of the first process of the node, as the machine numbers it. */
  readonly pid: number;
  /** Rejects when the node ends without having been stopped. */
  readonly failed: Promise<never>;
  /** Settles when the node has said that it has done what it was last told. */
  done(): Promise<void>;
  command(word: 'start-kubelet' | 'stop-kubelet'): Promise<void>;
  /** Settles when no process of the node is left. */
  stop(): Promise<void>;
}

async function startInit(specPath: string, logFile: string): Promise<Init> {
  const log = openSync(logFile, 'a');
  const namespaces = ['--mount', '--propagation', 'private', '--pid', '--net', '--ipc', '--uts', '--mount-proc'];
  // If this process is killed, the kernel kills unshare, then the node's first process, and with it all of the node.
  const guard = ['--pdeathsig', 'KILL', '--', 'unshare', ...namespaces, '--fork', '--kill-child=KILL'];
  // The first process inherits orphans, such as the shims of ended containers. A shell that waits takes note when they end.
  const program = ['sh', '-c', '"$@"; exit $?', 'node-init', process.execPath, join(import.meta.dirname, 'node-init.ts'), specPath];
  const stdio = ['pipe', 'pipe', log] as const;
  const child = spawn('setpriv', [...guard, ...program], { stdio: [...stdio], detached: true }) as ChildProcessByStdio<Writable, Readable, null>;
  closeSync(log);
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()).once('error', () => resolve()));
  const failed = ended.then(() => {
    throw new Error(`the node ended; the end of ${logFile}:\n${tailOf(logFile)}`);
  });
  // It is looked at only by those who wait for something.
  failed.catch(() => {});
  const replies = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const init: Init = {
    pid: await Promise.race([firstChildOf(child.pid), failed]),
    failed,
    done: async () => {
      const reply = await Promise.race([replies.next(), failed]);
      if (reply.value !== DONE) await failed;
    },
    command: async (word) => {
      child.stdin.write(`${word}\n`);
      await init.done();
    },
    stop: async () => {
      child.stdin.end();
      const deadline = setTimeout(() => child.kill('SIGKILL'), STOP_DEADLINE_MS);
      await ended;
      clearTimeout(deadline);
    },
  };
  return init;
}

/** unshare starts one child: the first process of the new pid namespace. */
async function firstChildOf(parent: number | undefined): Promise<number> {
  for (;;) {
    for (const name of readdirSync('/proc').filter((text) => /^\d+$/.test(text))) {
      const stat = readIfPresent(`/proc/${name}/stat`);
      // After the name in parentheses come the state and the parent.
      if (stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1] === String(parent)) return Number(name);
    }
    await delay(POLL_MS);
  }
}

async function addLink(link: Link, pid: number): Promise<void> {
  const { machineName, machineAddress, prefixLength } = link;
  await run('ip', ['link', 'add', machineName, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', String(pid)]);
  await run('ip', ['address', 'add', `${machineAddress}/${prefixLength}`, 'dev', machineName]);
  await run('ip', ['link', 'set', machineName, 'up']);
}

/** The kernel removes a link some time after the last process of its other end. */
async function untilLinkGone(name: string): Promise<void> {
  const deadline = performance.now() + LINK_GONE_DEADLINE_MS;
  while (existsSync(`/sys/class/net/${name}`)) {
    if (performance.now() > deadline) throw new Error(`the link ${name} is still there`);
    await delay(POLL_MS);
  }
}

function tailOf(path: string): string {
  return readIfPresent(path).trimEnd().split('\n').slice(-15).join('\n');
}

function readIfPresent(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

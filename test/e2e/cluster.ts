/**
 * The cluster that the end-to-end tests drive: two real nodes of our own, or any cluster by E2E_KUBECONFIG (kind, for one), with
 * E2E_NODE_EXEC as the command that runs a program on a node, such as `docker exec -i {node}`.
 */
import { execFile, spawn } from 'node:child_process';
import { createReadStream } from 'node:fs';
import { promisify } from 'node:util';
import { findBinaries } from '../cluster/binaries.ts';
import { buildOperatorImage } from '../cluster/image.ts';
import { silent, stderrLog } from '../cluster/log.ts';
import { startRealCluster } from '../cluster/real-nodes.ts';

export interface E2eNode {
  readonly name: string;
  /** Runs a shell script as root on the node. @returns standard output. @throws with what it said */
  sh(script: string): Promise<string>;
  /** Unpacks a tar.gz of this machine into a folder of the node, which is made. */
  unpack(archive: string, dir: string): Promise<void>;
  /** Only where the nodes are ours. */
  readonly setDiskPressure?: (on: boolean) => Promise<void>;
}

export interface E2eCluster extends AsyncDisposable {
  readonly nodes: readonly E2eNode[];
  kubectl(args: readonly string[], input?: string): Promise<string>;
}

export const runtimeLabel = 'a3s-box.io/runtime';

export async function openCluster(): Promise<E2eCluster> {
  const kubeconfig = process.env['E2E_KUBECONFIG'];
  return kubeconfig === undefined ? ownNodes() : foreignCluster(kubeconfig);
}

async function ownNodes(): Promise<E2eCluster> {
  const image = await buildOperatorImage(stderrLog);
  const cluster = await startRealCluster({ labels: { [runtimeLabel]: 'true' }, images: [image], log: stderrLog });
  const nodes = cluster.nodes.map((node): E2eNode => ({
    name: node.name,
    sh: (script) => node.exec('sh', ['-ec', script]),
    // The node shares the machine's files, but for the folders that are its own.
    unpack: async (archive, dir) => void (await node.exec('sh', ['-ec', `mkdir -p ${dir}; tar --numeric-owner -xpzf ${archive} -C ${dir}`])),
    setDiskPressure: (on) => node.setDiskPressure(on),
  }));
  return {
    nodes,
    kubectl: (args, input) => cluster.controlPlane.kubectl(args, input === undefined ? {} : { input }),
    [Symbol.asyncDispose]: () => cluster.stop(),
  };
}

async function foreignCluster(kubeconfig: string): Promise<E2eCluster> {
  const { kubectl: program } = await findBinaries(['kubectl'], silent);
  const kubectl = async (args: readonly string[], input?: string) => {
    const running = promisify(execFile)(program, ['--kubeconfig', kubeconfig, ...args], { maxBuffer: 2 ** 26 });
    if (input !== undefined) running.child.stdin?.end(input);
    return (await running).stdout;
  };
  const names = (await kubectl(['get', 'nodes', '-l', `${runtimeLabel}=true`, '-o', 'jsonpath={.items[*].metadata.name}'])).split(' ').filter(Boolean);
  if (names.length !== 2) throw new Error(`the tests want two nodes with the label ${runtimeLabel}=true; there are ${names.length}`);
  const [command = 'docker', ...args] = (process.env['E2E_NODE_EXEC'] ?? 'docker exec -i {node}').split(' ');
  const nodes = names.map((name): E2eNode => {
    const on = args.map((arg) => arg.replace('{node}', name));
    return {
      name,
      sh: async (script) => (await promisify(execFile)(command, [...on, 'sh', '-ec', script])).stdout,
      unpack: (archive, dir) => piped(archive, command, [...on, 'sh', '-ec', `mkdir -p ${dir}; tar --numeric-owner -xpzf - -C ${dir}`]),
    };
  });
  return { nodes, kubectl, [Symbol.asyncDispose]: async () => undefined };
}

function piped(file: string, command: string, args: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['pipe', 'ignore', 'inherit'] });
    child.on('error', reject);
    child.on('close', (code) => (code === 0 ? resolve() : reject(new Error(`${command} ${args.join(' ')} ended with ${code}`))));
    createReadStream(file).pipe(child.stdin);
  });
}

import { messageOf } from '../src/errors.ts';
import { findBinaries } from './cluster/binaries.ts';
import type { BinaryName } from './cluster/binary-sources.ts';
import { stderrLog } from './cluster/log.ts';
import { canBuildImage } from './cluster/image.ts';
import { canRun as realNodes } from './cluster/real-nodes.ts';

export interface Suite {
  readonly name: 'unit' | 'integration' | 'e2e';
  /** Why it cannot run on this machine; undefined where it can. */
  readonly obstacle: () => Promise<string | undefined>;
}

const controlPlane = ['etcd', 'kube-apiserver', 'kube-controller-manager', 'kube-scheduler', 'kubectl'] as const;
const otherVersions = ['kube-apiserver@oldest', 'kube-apiserver@newest'] as const;
const nodes = [...controlPlane, 'kubelet', 'containerd', 'containerd-shim-runc-v2', 'ctr', 'pause'] as const;

/** Finds the binaries, or downloads or builds them, with progress. */
async function lacks(names: readonly BinaryName[]): Promise<string | undefined> {
  try {
    await findBinaries(names, stderrLog);
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

export const suites: readonly Suite[] = [
  { name: 'unit', obstacle: async () => (process.platform === 'linux' ? undefined : 'the engine needs Linux') },
  { name: 'integration', obstacle: () => lacks([...controlPlane, ...otherVersions]) },
  { name: 'e2e', obstacle: async () => realNodes() ?? canBuildImage() ?? (await lacks(nodes)) },
];

/** Every program of the test clusters: which version, where its release lies, and how to build it. Versions are those of go.mod. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export type BinaryName =
  | 'etcd'
  | 'kube-apiserver'
  | 'kube-controller-manager'
  | 'kube-scheduler'
  | 'kubectl'
  | 'kubelet'
  | 'containerd'
  | 'containerd-shim-runc-v2'
  | 'ctr'
  | 'pause'
  | 'kube-apiserver@oldest'
  | 'kube-apiserver@newest';

/** Besides the version of go.mod, whose whole control plane the tests run: the ends of what README.md supports, of which only the API server is tried. */
export type OtherKubernetes = 'oldest' | 'newest';

/** One file of an official release. */
export interface Release {
  readonly url: string;
  /** A file whose line for the release starts with its SHA-256 in hex. */
  readonly checksumUrl: string;
  /** The program's path inside, where the release is a .tar.gz. */
  readonly member?: string;
}

export interface BinarySource {
  /** Of the file. */
  readonly name: string;
  /** Folder in the cache, such as `kubernetes-v1.36.3`. */
  readonly cacheFolder: string;
  /** Absent: it has no release and is always built. */
  readonly release?: Release;
  /** `go build` runs here. */
  readonly moduleDir: string;
  readonly buildArgs: readonly string[];
}

const here = import.meta.dirname;
const architecture = process.arch === 'x64' ? 'amd64' : process.arch;

function pinnedVersion(moduleDir: string, module: string): string {
  const line = readFileSync(join(moduleDir, 'go.mod'), 'utf8')
    .split('\n')
    .map((text) => text.trim().split(' '))
    .find(([name, version]) => name === module && version?.startsWith('v'));
  if (line?.[1] === undefined) throw new Error(`${moduleDir}/go.mod requires no version of ${module}`);
  return line[1];
}

export const kubernetesVersion: string = pinnedVersion(here, 'k8s.io/kubernetes');
const etcdVersion = pinnedVersion(here, 'go.etcd.io/etcd/server/v3');
const containerdDir = join(here, 'containerd');
const containerdVersion = pinnedVersion(containerdDir, 'github.com/containerd/containerd/v2');

function kubernetes(name: string, moduleDir: string): BinarySource {
  const gitVersion = pinnedVersion(moduleDir, 'k8s.io/kubernetes');
  const [major, minor] = gitVersion.slice(1).split('.');
  const version = 'k8s.io/component-base/version';
  const stamps = { gitVersion, gitMajor: major, gitMinor: minor };
  const flags = Object.entries(stamps).map(([key, value]) => `-X ${version}.${key}=${value}`);
  const url = `https://dl.k8s.io/release/${gitVersion}/bin/linux/${architecture}/${name}`;
  return {
    name,
    cacheFolder: `kubernetes-${gitVersion}`,
    release: { url, checksumUrl: `${url}.sha256` },
    moduleDir,
    buildArgs: ['-ldflags', ['-s -w', ...flags].join(' '), `k8s.io/kubernetes/cmd/${name}`],
  };
}

function etcd(): BinarySource {
  const folder = `etcd-${etcdVersion}-linux-${architecture}`;
  const releases = `https://github.com/etcd-io/etcd/releases/download/${etcdVersion}`;
  return {
    name: 'etcd',
    cacheFolder: `etcd-${etcdVersion}`,
    release: { url: `${releases}/${folder}.tar.gz`, checksumUrl: `${releases}/SHA256SUMS`, member: `${folder}/etcd` },
    moduleDir: here,
    buildArgs: ['-ldflags', '-s -w', 'go.etcd.io/etcd/server/v3'],
  };
}

function containerd(name: string): BinarySource {
  const releases = `https://github.com/containerd/containerd/releases/download/${containerdVersion}`;
  const url = `${releases}/containerd-${containerdVersion.slice(1)}-linux-${architecture}.tar.gz`;
  return {
    name,
    cacheFolder: `containerd-${containerdVersion}`,
    release: { url, checksumUrl: `${url}.sha256sum`, member: `bin/${name}` },
    moduleDir: containerdDir,
    buildArgs: ['-tags', 'no_btrfs no_zfs', '-ldflags', '-s -w', `github.com/containerd/containerd/v2/cmd/${name}`],
  };
}

const pause: BinarySource = {
  name: 'pause',
  cacheFolder: 'pause-v1',
  moduleDir: join(here, 'pause'),
  buildArgs: ['-ldflags', '-s -w', '.'],
};

export function sourceOf(name: BinaryName): BinarySource {
  switch (name) {
    case 'etcd':
      return etcd();
    case 'containerd':
    case 'containerd-shim-runc-v2':
    case 'ctr':
      return containerd(name);
    case 'pause':
      return pause;
    case 'kube-apiserver@oldest':
      return kubernetes('kube-apiserver', join(here, 'kubernetes-oldest'));
    case 'kube-apiserver@newest':
      return kubernetes('kube-apiserver', join(here, 'kubernetes-newest'));
    default:
      return kubernetes(name, here);
  }
}

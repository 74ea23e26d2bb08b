/** What kubelet, containerd and the network plug-ins of a real node are told. All paths are those the node itself sees. */

export interface NodePaths {
  /** Folder of the CNI plug-ins on this machine. */
  readonly cniBinDir: string;
  readonly runcPath: string;
}

export const pauseImage = 'localhost/cachepolicy-test/pause:v1';
export const containerdSocket = '/run/containerd/containerd.sock';
export const cniConfigDir = '/run/cachepolicy-test/cni';

export function containerdConfig({ cniBinDir, runcPath }: NodePaths): string {
  return `version = 3
root = "/var/lib/containerd"
state = "/run/containerd"

[grpc]
  address = "${containerdSocket}"

[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "${pauseImage}"

[plugins."io.containerd.cri.v1.runtime"]
  # Where CAP_SYS_RESOURCE is missing, a pod's wish to be killed later than others would keep it from starting.
  restrict_oom_score_adj = true

[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["${cniBinDir}"]
  conf_dir = "${cniConfigDir}"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  BinaryName = "${runcPath}"
  SystemdCgroup = false
`;
}

/** @param subnet the pods' addresses, such as `10.244.1.0/24`. */
export function cniConfig(subnet: string): object {
  return {
    cniVersion: '1.0.0',
    name: 'pods',
    plugins: [
      {
        type: 'bridge',
        bridge: 'cni0',
        isGateway: true,
        ipMasq: false,
        hairpinMode: true,
        ipam: { type: 'host-local', ranges: [[{ subnet }]], routes: [{ dst: '0.0.0.0/0' }] },
      },
    ],
  };
}

export interface KubeletInputs {
  /** Below the root of every cgroup hierarchy. */
  readonly cgroup: string;
  /** PEM file: the certificate with which the apiserver calls. */
  readonly clientCaFile: string;
  /** True: the node says that its disk is nearly full, whatever there is. */
  readonly diskPressure: boolean;
}

export function kubeletConfig({ cgroup, clientCaFile, diskPressure }: KubeletInputs): object {
  return {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    authentication: { anonymous: { enabled: false }, webhook: { enabled: true }, x509: { clientCAFile: clientCaFile } },
    authorization: { mode: 'Webhook' },
    cgroupDriver: 'cgroupfs',
    cgroupRoot: `/${cgroup}`,
    containerRuntimeEndpoint: `unix://${containerdSocket}`,
    // The machine may have cgroup v1 and swap; neither matters to a test.
    failCgroupV1: false,
    failSwapOn: false,
    resolvConf: '',
    volumePluginDir: '/var/lib/kubelet/volume-plugins',
    // The machine's own disk must not decide whether a test passes, except where a test asks for it.
    evictionHard: { 'memory.available': '50Mi', 'nodefs.available': diskPressure ? '99.99%' : '1Mi', 'imagefs.available': '1Mi' },
    evictionPressureTransitionPeriod: '5s',
    imageGCHighThresholdPercent: 100,
    nodeStatusUpdateFrequency: '5s',
    shutdownGracePeriod: '0s',
  };
}

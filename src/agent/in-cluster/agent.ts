import { messageOf } from '../../errors.ts';
import { KubeClient } from '../../kube/client.ts';
import { inClusterConnection, serviceAccountDirOf } from '../../kube/config.ts';
import { countRequests } from '../../kube/metrics.ts';
import { Transport } from '../../kube/transport.ts';
import { loopDelayCheck, serveHealth } from '../../observe/health.ts';
import { parseListenAddress } from '../../observe/listen-address.ts';
import type { Log } from '../../observe/log.ts';
import { Metrics, timeLoop } from '../../observe/metrics.ts';
import type { ReportSink } from '../loop.ts';
import { runLoop } from '../loop.ts';
import { AgentMetrics } from '../metrics.ts';
import { belowHostRoot } from './host-root.ts';
import { ConfigMapSource } from './config-map-source.ts';
import { readIdentity } from './identity.ts';
import { NodeCacheSink } from './node-cache-sink.ts';

export interface InClusterOptions {
  readonly policyName: string;
  /** The compiled policy as kubelet mounts it. */
  readonly mountedFile: string;
  readonly allowedRoots: readonly string[];
  /** `address:port` for health and metrics. */
  readonly listen: string;
  readonly agentVersion: string;
  readonly log: Log;
}

/** The agent of one policy on one node, until the signal comes. A part that fails ends the others: the pod starts anew. */
export async function runInCluster(options: InClusterOptions, signal: AbortSignal): Promise<void> {
  const ending = new AbortController();
  try {
    await serve(options, AbortSignal.any([signal, ending.signal]));
  } finally {
    ending.abort();
  }
}

async function serve(options: InClusterOptions, signal: AbortSignal): Promise<void> {
  const { log, policyName } = options;
  const identity = readIdentity(process.env, serviceAccountDirOf(process.env));
  const metrics = new Metrics();
  metrics.registry.setDefaultLabels({ policy: policyName });
  const client = new KubeClient(new Transport(inClusterConnection(), { userAgent: `cachepolicy-agent/${options.agentVersion}`, ...countRequests(metrics) }));
  const sink = new NodeCacheSink({ client, identity, agentVersion: options.agentVersion, log });
  const source = new ConfigMapSource({ client, namespace: identity.namespace, policyName, mountedFile: options.mountedFile, log, onRefusal: (refusal) => sink.refuse(refusal) });
  await serveHealth({
    ...parseListenAddress(options.listen), metrics, signal,
    live: { loop: loopDelayCheck(signal, { onDelay: timeLoop(metrics) }) },
    ready: { reported: () => (sink.hasReported ? undefined : 'no report has been delivered yet') },
  });
  const introduced = async (policy: Parameters<NodeCacheSink['introduce']>[0]) => {
    try {
      return await sink.introduce(policy, AbortSignal.any([signal, AbortSignal.timeout(5_000)]));
    } catch (error) {
      log.warn({ err: error }, `the node's earlier report cannot be read, totals start from what the disk knows: ${messageOf(error)}`);
      return new Map();
    }
  };
  const agentMetrics = new AgentMetrics(metrics);
  const told: ReportSink = {
    report: (policy, states) => {
      agentMetrics.report(policy, states);
      sink.report(policy, states);
    },
  };
  await Promise.all([
    sink.run(signal),
    runLoop(source, told, signal, { witness: agentMetrics, allowedRoots: options.allowedRoots.map((root) => belowHostRoot(root)), log, nodeName: identity.nodeName, knownTotals: introduced }),
  ]);
}

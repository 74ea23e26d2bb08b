import { defaultNamespace } from '../api/names.ts';
import { runController } from '../controller/run.ts';
import { inClusterConnection, isInCluster } from '../kube/config.ts';
import { kubeconfigConnection } from '../kube/kubeconfig.ts';
import { createLog } from '../observe/log.ts';
import { version } from '../version.ts';
import type { ExitCode } from './exit.ts';
import { exitCodes } from './exit.ts';
import type { Io } from './io.ts';

export interface ControllerCommandOptions {
  readonly listen: string;
  readonly image?: string;
  readonly namespace?: string;
  readonly kubeconfig?: string;
  readonly context?: string;
}

/** The controller, until it is told to stop. */
export async function controller({ listen, image, namespace, kubeconfig, context }: ControllerCommandOptions, io: Io): Promise<ExitCode> {
  const outside = kubeconfig !== undefined || context !== undefined || !isInCluster();
  const connection = outside ? await kubeconfigConnection({ file: kubeconfig, context }) : inClusterConnection();
  const ownNamespace = namespace ?? process.env['POD_NAMESPACE'] ?? (outside ? defaultNamespace : connection.namespace);
  await runController({ connection, namespace: ownNamespace, image, listen, version, log: createLog() }, io.stopSignal());
  return exitCodes.done;
}
